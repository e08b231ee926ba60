// Memory that nobody owns is made known to AddressSanitizer, so that a kernel that leaves its block is reported and
// does not meet the neighbour's bytes unseen. Without it these functions do nothing.
//
// For the files of this folder alone, which are compiled with CRISP_POISON where the rest has the sanitizer's checks;
// arena.cpp and allocator.cpp read what they have poisoned, so they are compiled without them
// (engine/cpu/CMakeLists.txt).
#pragma once

#include <cstddef>
#include <cstring>

#if defined(CRISP_POISON)
#include <sanitizer/asan_interface.h>
#endif

namespace crisp {

#if defined(CRISP_POISON)
constexpr bool poisoning = true;
inline void poison(const void* begin, size_t bytes) noexcept { __asan_poison_memory_region(begin, bytes); }
inline void unpoison(const void* begin, size_t bytes) noexcept { __asan_unpoison_memory_region(begin, bytes); }
#else
constexpr bool poisoning = false;
inline void poison(const void*, size_t) noexcept {}
inline void unpoison(const void*, size_t) noexcept {}
#endif

/// Zeros in memory that stays poisoned.
inline void clear_poisoned(void* begin, size_t bytes) noexcept {
  unpoison(begin, bytes);
  std::memset(begin, 0, bytes);
  poison(begin, bytes);
}

}  // namespace crisp
