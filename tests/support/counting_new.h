// Replaces the global operator new of a test program by one that keeps count. Include it in exactly one source of the
// program: the standard allows one replacement, and none that is inline.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace crisp::test {

struct NewCounts {
  std::atomic<int64_t> calls{0};
  std::atomic<size_t> largest{0}, total{0};  // bytes
  std::atomic<int64_t> live{0};              // blocks
  std::atomic<int64_t> allowed{-1};          // calls until one fails; below 0: all are allowed
};
inline NewCounts new_counts;

}  // namespace crisp::test

// Not inlined: GCC 14 would see one half of a pair alone and take it for a mistake.
[[gnu::noinline]] void* operator new(size_t n, const std::nothrow_t&) noexcept {
  auto& counts = crisp::test::new_counts;
  if (counts.allowed >= 0 && counts.allowed.fetch_sub(1) == 0) return nullptr;
  ++counts.calls;
  counts.total += n;
  for (size_t seen = counts.largest; seen < n && !counts.largest.compare_exchange_weak(seen, n);) {
  }
  void* const p = std::malloc(std::max<size_t>(n, 1));
  counts.live += p != nullptr;
  return p;
}
[[gnu::noinline]] void* operator new(size_t n) {
  if (void* p = operator new(n, std::nothrow)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new[](size_t n) { return operator new(n); }
[[gnu::noinline]] void* operator new[](size_t n, const std::nothrow_t&) noexcept {
  return operator new(n, std::nothrow);
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  crisp::test::new_counts.live -= p != nullptr;
  std::free(p);
}
[[gnu::noinline]] void operator delete[](void* p) noexcept { operator delete(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { operator delete(p); }
[[gnu::noinline]] void operator delete[](void* p, size_t) noexcept { operator delete(p); }
