// The host's memory, from a cache (engine/cpu/memory/allocator.h): what a training step allocates again and again, it
// does not ask the system for.
#pragma once

#include <cstddef>
#include <new>
#include <optional>

#include "engine/checked.h"

namespace crisp {

/// A block of at least `bytes` bytes, 64-byte aligned, uninitialised. Thread-safe. Throws Error when memory runs out.
void* cached_allocate(size_t bytes);
/// The same, filled with zeros; free of charge where the system has just given the memory.
void* cached_allocate_zeroed(size_t bytes);
/// Of a block that holds zeros: its memory goes back to the system, page by page, and each page gets memory again when
/// it is first written. For large arrays of which little is ever used. Until the block is freed; thread-safe.
void take_memory_as_written(void* zeros) noexcept;
/// Gives a block back to the cache; null is allowed.
void cached_free(void* block) noexcept;

/// The cache in the form that the standard library takes.
template <class T>
struct CachedAlloc {
  using value_type = T;
  CachedAlloc() = default;
  template <class U>
  CachedAlloc(const CachedAlloc<U>&) {}
  T* allocate(size_t n) {
    const std::optional<int64_t> bytes = checked_product(n, sizeof(T));
    if (!bytes) throw std::bad_array_new_length();
    return static_cast<T*>(cached_allocate(static_cast<size_t>(*bytes)));
  }
  void deallocate(T* p, size_t) noexcept { cached_free(p); }
  friend bool operator==(CachedAlloc, CachedAlloc) { return true; }
};

}  // namespace crisp
