// The blocks that the C interface hands out (crisp/crisp.h), from the allocator of a context.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

#include "train/door/crisp/crisp.h"

namespace crisp::door {

struct Allocator {
  crisp_allocate allocate = nullptr;  // null: malloc
  crisp_release release = nullptr;
  void* user = nullptr;

  /// At least `size` bytes, aligned as malloc's. Throws std::bad_alloc.
  void* take(size_t size) const;
  void give_back(void* block) const noexcept;
};

/// A handle in a block of its own.
template <class T, class... Args>
T* make_handle(const Allocator& allocator, Args&&... args) {
  static_assert(alignof(T) <= alignof(std::max_align_t));
  void* const block = allocator.take(sizeof(T));
  try {
    return new (block) T(allocator, std::forward<Args>(args)...);
  } catch (...) {
    allocator.give_back(block);
    throw;
  }
}

template <class T>
void free_handle(T* handle) noexcept {
  if (!handle) return;
  const Allocator allocator = handle->allocator;
  handle->~T();
  allocator.give_back(handle);
}

/// One block with all of a result in it, and in front of it who takes it back. What is put into it is laid out in two
/// passes of the same code: the first counts, the second writes.
class Result {
 public:
  explicit Result(const Allocator& allocator) : allocator_(allocator) {}
  ~Result();
  Result(const Result&) = delete;
  Result& operator=(const Result&) = delete;

  /// Calls fill(*this) twice.
  template <class F>
  void lay_out(F&& fill) {
    fill(*this);
    allocate();
    fill(*this);
  }
  /// Room for n elements, nullptr in the first pass.
  template <class T>
  T* room(size_t n) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= alignof(std::max_align_t));
    return static_cast<T*>(room_of_bytes(n * sizeof(T), alignof(T)));
  }
  /// A copy of the text with a NUL behind it.
  const char* text(std::string_view from) {
    char* const to = room<char>(from.size() + 1);
    if (to) {
      std::memcpy(to, from.data(), from.size());
      to[from.size()] = '\0';
    }
    return to;
  }
  /// What was laid out first, for the caller to keep.
  void* hand_over() { return std::exchange(content_, nullptr); }

  /// What crisp_free() does.
  static void free(void* content) noexcept;

 private:
  void allocate();
  void* room_of_bytes(size_t bytes, size_t alignment);

  const Allocator allocator_;
  size_t used_ = 0;
  char* content_ = nullptr;
};

}  // namespace crisp::door
