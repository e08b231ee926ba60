// With what a caller computes: how many threads, which numbers matrix products multiply, and the scratch memory of its
// kernels. A tape carries one, forward and backward, so nothing that happens elsewhere in the process changes a result.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/kernels.h"

namespace crisp {

class Workspace;  // engine/allocator.h

/// Belongs to the caller and outlives the tapes that were given it. Its settings stay as they are. Several threads may
/// use one at the same time; what scratch memory they needed is kept for the next and given back with the context.
class Context {
 public:
  struct Settings {
    int threads = 0;  // of loops; 0: default_num_threads(). Results do not depend on it, bit for bit.
    MatmulPrecision products = MatmulPrecision::f32;  // of f32 tensors: what products_for() says; f64's are always f64
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
  Workspace* take_workspace() const;
  void give_back(Workspace* workspace) const noexcept;

  Settings settings_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_;
  mutable size_t workspaces_ = 0;
};

/// While it lives, the kernels that this thread calls use the context. run() (engine/op.h) makes one for each call, and
/// around many calls one more saves them the change; who calls kernels without run() makes one himself.
class Context::Use {
 public:
  explicit Use(const Context& context) : context_(context), outer_(current_) {
    // Where the same context is in use already, so is its workspace.
    if (!outer_ || &outer_->context_ != &context) current_ = this;
  }
  ~Use() {
    if (workspace_) context_.give_back(workspace_);
    current_ = outer_;
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  friend Workspace& workspace_in_use();
  friend int num_threads();
  Workspace& workspace();

  static constinit inline thread_local Use* current_ = nullptr;

  const Context& context_;
  Use* const outer_;
  Workspace* workspace_ = nullptr;  // since a kernel has asked for one
};

/// How many threads loops of this thread use: those of the context in use, else of the standard one.
int num_threads();
/// The scratch memory of the kernel that this thread runs. Throws Error where no context is in use.
Workspace& workspace_in_use();

}  // namespace crisp
