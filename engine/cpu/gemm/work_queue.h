// Tasks for the threads of a parallel region. Each begins with neighbours of its own and takes them from the front; who
// has none left helps another from the back. Who does what is chance: results must not depend on it.
#pragma once

#include "engine/cpu/cpu_kernels.h"

namespace crisp::CRISP_ISA {

class WorkQueue {
 public:
  /// One thread's tasks, begin in the upper and end in the lower half; a cache line of its own.
  struct alignas(64) Part {
    uint64_t range;
  };

  /// `parts` is memory for `threads` parts.
  WorkQueue(Part* parts, int threads) : parts_(parts), threads_(threads) {}

  /// Deals out the tasks 0..n-1 (n < 2^32). To be called by one thread, with a barrier before the first take().
  void fill(int64_t n) {
    for (int t = 0; t < threads_; ++t) parts_[t].range = pack(n * t / threads_, n * (t + 1) / threads_);
  }

  /// Tasks first..last for thread `me`, or false when none are left. Of its own first..end it takes wanted(first, end).
  template <class F>
  [[gnu::always_inline]] inline bool take(int me, F wanted, int64_t& first, int64_t& last) {
    for (int i = 0; i < threads_; ++i) {
      uint64_t& range = parts_[(me + i) % threads_].range;
      uint64_t seen = __atomic_load_n(&range, __ATOMIC_RELAXED);
      while (begin(seen) < end(seen)) {
        first = i == 0 ? begin(seen) : end(seen) - 1;
        last = i == 0 ? first + wanted(first, end(seen)) : end(seen);
        const uint64_t left = i == 0 ? pack(last, end(seen)) : pack(begin(seen), first);
        if (__atomic_compare_exchange_n(&range, &seen, left, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return true;
      }
    }
    return false;
  }

 private:
  [[gnu::always_inline]] static inline uint64_t pack(int64_t begin, int64_t end) {
    return static_cast<uint64_t>(begin) << 32 | static_cast<uint64_t>(end);
  }
  [[gnu::always_inline]] static inline int64_t begin(uint64_t range) { return static_cast<int64_t>(range >> 32); }
  [[gnu::always_inline]] static inline int64_t end(uint64_t range) { return static_cast<int64_t>(range & 0xffffffffu); }

  Part* parts_;
  int threads_;
};

}  // namespace crisp::CRISP_ISA
