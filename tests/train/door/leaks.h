// For test programs that count memory, each of one source: what f leaves behind, f with each of its allocations
// failing.
#pragma once

#include <exception>
#include <tuple>
#include <utility>

#include "engine/cpu/memory/allocator.h"
#include "tests/support/counting_new.h"
#include "tests/support/mappings.h"
#include "tests/train/door/door.h"

namespace crisp::test {

inline size_t open_descriptors() { return names_in("/proc/self/fd").size(); }

/// What is left of the second and third time that f runs: the first may make what the process keeps.
template <class F>
void check_leaves_nothing(F&& f) {
  f();
  const int64_t blocks = new_counts.live;
  const size_t descriptors = open_descriptors();
  const int64_t tensors = allocator_stats().bytes_in_use;
  for (int i = 0; i < 2; ++i) {
    f();
    CHECK(new_counts.live == blocks);
    CHECK(allocator_stats().bytes_in_use == tensors);
  }
  CHECK(open_descriptors() == descriptors);
  CHECK(mappings_of(".safetensors") == 0);
}

/// f(prepare()) with f's first allocation failing, then its second alone, and so on, to the first time that none is
/// left
// to fail; each followed by check(what was prepared). How many of them ended it, and how many it could do without.
struct Failures {
  int ended = 0, done_without = 0;
};
template <class Prepare, class F, class Check>
Failures fail_each_allocation(Prepare&& prepare, F&& f, Check&& check) {
  const auto once = [&](int64_t allowed) {
    auto prepared = prepare();
    bool thrown = false;
    new_counts.allowed = allowed;
    try {
      f(prepared);
    } catch (const std::exception&) {
      thrown = true;
    }
    const bool reached = allowed >= 0 && new_counts.allowed < 0;
    new_counts.allowed = -1;
    check(prepared);
    return std::pair(reached, thrown);
  };
  once(-1);
  once(-1);
  const int64_t blocks = new_counts.live, tensors = allocator_stats().bytes_in_use;
  const size_t descriptors = open_descriptors();
  Failures failures;
  int leaks = 0;
  for (bool reached = true; reached;) {
    bool thrown = false;
    std::tie(reached, thrown) = once(failures.ended + failures.done_without);
    if (reached) ++(thrown ? failures.ended : failures.done_without);
    if (!reached) CHECK_FALSE(thrown);
    leaks += new_counts.live != blocks || allocator_stats().bytes_in_use != tensors;
  }
  CHECK(leaks == 0);
  CHECK(open_descriptors() == descriptors);
  CHECK(mappings_of(".safetensors") == 0);
  return failures;
}
template <class F>
Failures fail_each_allocation(F&& f) {
  const auto nothing = [](int) {};
  return fail_each_allocation([] { return 0; }, [&](int) { f(); }, nothing);
}

}  // namespace crisp::test
