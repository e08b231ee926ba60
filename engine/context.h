// With what a caller computes: how many threads, which numbers matrix products multiply, and the scratch memory of its
// kernels. A tape carries one, forward and backward, so nothing that happens elsewhere in the process changes a result.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "engine/kernels.h"
#include "engine/system.h"

namespace crisp {

/// What a backend keeps from one kernel to the next, for one thread at a time: scratch memory, a library's handle.
struct Scratch {
  virtual ~Scratch() = default;
};
/// Makes what one backend keeps, and tells it from that of others.
using MakeScratch = std::unique_ptr<Scratch> (*)();

/// As many threads as the system, its container and its user allow this process to have work for, at least 1
/// (engine/cpu/threads/default_threads.h).
int default_num_threads();

/// Belongs to the caller and outlives the tapes that were given it. Its settings stay as they are. Several threads may
/// use one at the same time; what scratch memory they needed is kept for the next and given back with the context.
class Context {
 public:
  struct Settings {
    int threads = 0;  // of loops; 0: default_num_threads(). Results do not depend on it, bit for bit.
    MatmulPrecision products = MatmulPrecision::f32;  // of f32 tensors; those of f64 tensors are always f64
  };
  /// Throws UsageError when the number of threads is negative.
  explicit Context(const Settings& settings);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  int threads() const { return settings_.threads; }
  MatmulPrecision products() const { return settings_.products; }

  /// Of who was given none: default_num_threads() threads, f32 products.
  static const Context& standard();

  class Use;

 private:
  struct Kept {
    MakeScratch made_by = nullptr;
    std::unique_ptr<Scratch> scratch;
  };
  Kept take(MakeScratch make) const;
  void give_back(Kept kept) const noexcept;

  Settings settings_;
  mutable os::BriefMutex mutex_;
  mutable std::vector<Kept> idle_;
  mutable size_t made_ = 0;
};

/// While it lives, the kernels that this thread calls use the context. run() (engine/op.h) makes one for each call, and
/// around many calls one more saves them the change; who calls kernels without run() makes one himself.
class Context::Use {
 public:
  explicit Use(const Context& context) : context_(context), outer_(current_) {
    // Where the same context is in use already, so is its scratch memory.
    if (!outer_ || &outer_->context_ != &context) current_ = this;
  }
  ~Use() {
    if (kept_.scratch) context_.give_back(std::move(kept_));
    current_ = outer_;
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  friend Scratch& scratch_in_use(MakeScratch make);
  friend int num_threads();
  Scratch& scratch(MakeScratch make);

  static constinit inline thread_local Use* current_ = nullptr;

  const Context& context_;
  Use* const outer_;
  Kept kept_;  // since a kernel has asked for it
};

/// How many threads loops of this thread use: those of the context in use, else of the standard one.
int num_threads();
/// What `make` has made for the kernels that this thread runs in the context in use. Throws Error where none is.
Scratch& scratch_in_use(MakeScratch make);

}  // namespace crisp
