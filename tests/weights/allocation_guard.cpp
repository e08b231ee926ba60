// Replaces the global operator new of this test program by one that keeps count, so that a test can show that a
// hostile file was refused without allocating what it claims.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/weights/support.h"

namespace {
std::atomic<size_t> largest{0};
std::atomic<size_t> total{0};
}  // namespace

void* operator new(size_t n, const std::nothrow_t&) noexcept {
  total += n;
  for (size_t seen = largest; seen < n && !largest.compare_exchange_weak(seen, n);) {
  }
  return std::malloc(std::max<size_t>(n, 1));
}
void* operator new(size_t n) {
  if (void* p = operator new(n, std::nothrow)) return p;
  throw std::bad_alloc();
}
void* operator new[](size_t n) { return operator new(n); }
void* operator new[](size_t n, const std::nothrow_t&) noexcept { return operator new(n, std::nothrow); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }

namespace crisp::test {
void reset_allocation_guard() {
  largest = 0;
  total = 0;
}
uint64_t largest_allocation() { return largest; }
uint64_t total_allocation() { return total; }
}  // namespace crisp::test
