// A node's backward function, and the memory in which a tape keeps all of them: once it is there, recording a step asks
// the system for nothing.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace crisp {

class Context;
class Tensor;

/// Any callable f(context, dy), as std::function would hold it, but in memory of the arena below. It destroys f, and
/// with it what f captured.
class BackwardFunction {
 public:
  BackwardFunction() = default;
  template <class F>
  BackwardFunction(void* place, F&& f)
      : closure_(new (place) F(std::move(f)), [](void* closure) { static_cast<F*>(closure)->~F(); }),
        call_([](void* closure, const Context& context, const Tensor& dy) {
          (*static_cast<F*>(closure))(context, dy);
        }) {}

  void operator()(const Context& context, const Tensor& dy) const { call_(closure_.get(), context, dy); }

 private:
  std::unique_ptr<void, void (*)(void*)> closure_{nullptr, nullptr};
  void (*call_)(void*, const Context&, const Tensor&) = nullptr;
};

/// Memory that is handed out piece by piece and taken back as a whole.
class ClosureArena {
 public:
  /// Moves f here.
  template <class F>
  BackwardFunction keep(F&& f) {
    static_assert(alignof(F) <= alignof(std::max_align_t) && sizeof(F) <= block_bytes);
    return {take(sizeof(F)), std::move(f)};
  }
  /// All functions that were kept must be gone. The blocks stay for the next ones.
  void reset() { block_ = used_ = 0; }

 private:
  static constexpr size_t block_bytes = size_t{64} << 10;

  void* take(size_t bytes) {
    constexpr size_t align = alignof(std::max_align_t);
    bytes = (bytes + align - 1) / align * align;
    if (used_ + bytes > block_bytes) {
      ++block_;
      used_ = 0;
    }
    if (block_ == blocks_.size()) blocks_.push_back(std::make_unique<std::byte[]>(block_bytes));
    void* place = blocks_[block_].get() + used_;
    used_ += bytes;
    return place;
  }

  std::vector<std::unique_ptr<std::byte[]>> blocks_;
  size_t block_ = 0, used_ = 0;  // the block that is being filled, and how much of it is taken
};

}  // namespace crisp
