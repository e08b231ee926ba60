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
};
inline NewCounts new_counts;

}  // namespace crisp::test

// Not inlined: GCC 14 would see one half of a pair alone and take it for a mistake.
[[gnu::noinline]] void* operator new(size_t n, const std::nothrow_t&) noexcept {
  auto& counts = crisp::test::new_counts;
  ++counts.calls;
  counts.total += n;
  for (size_t seen = counts.largest; seen < n && !counts.largest.compare_exchange_weak(seen, n);) {
  }
  return std::malloc(std::max<size_t>(n, 1));
}
[[gnu::noinline]] void* operator new(size_t n) {
  if (void* p = operator new(n, std::nothrow)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new[](size_t n) { return operator new(n); }
[[gnu::noinline]] void* operator new[](size_t n, const std::nothrow_t&) noexcept {
  return operator new(n, std::nothrow);
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, size_t) noexcept { std::free(p); }
