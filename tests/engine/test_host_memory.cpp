// Memory that is taken page by page (engine/host_memory.h), as the system counts it.
#include "engine/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/cpu/memory/allocator.h"
#include "engine/system.h"
#include "tests/engine/helpers.h"
#include "tests/support/sanitizers.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("zeros that take memory as they are written take little, and are an ordinary block once freed", "[system]") {
  release_cached_memory();
  constexpr size_t mib = size_t{1} << 20, bytes = 64 * mib;
  // Of the whole pages of a block.
  const auto resident = [](char* block) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t before = (page - reinterpret_cast<uintptr_t>(block) % page) % page;
    std::vector<unsigned char> pages((bytes - before) / page);
    CHECK(mincore(block + before, pages.size() * page, pages.data()) == 0);
    return page * static_cast<size_t>(std::count_if(pages.begin(), pages.end(), [](auto p) { return p & 1; }));
  };
  const bool counted = !sanitizer && os::bytes_to_reserve() > 0;  // elsewhere it stays an ordinary block
  auto* const first = static_cast<char*>(cached_allocate(bytes));
  std::memset(first, 7, bytes);
  cached_free(first);
  for (const bool again : {false, true}) {  // memory that was used, and the same once more
    auto* const block = static_cast<char*>(cached_allocate_zeroed(bytes));
    REQUIRE(block == first);
    take_memory_as_written(block);
    INFO("again " << again);
    if (counted) CHECK(resident(block) < mib);
    for (size_t i = 0; i < bytes; i += mib) block[i] = 1;
    if (counted) CHECK(resident(block) < mib);  // 64 small pages, no huge ones
    size_t ones = 0, others = 0;
    for (size_t i = 0; i < bytes; ++i) {
      ones += block[i] == 1;
      others += block[i] != 0 && block[i] != 1;
    }
    CHECK(ones == 64);
    CHECK(others == 0);
    std::memset(block, 9, bytes);
    CHECK(std::all_of(block, block + bytes, [](char x) { return x == 9; }));
    cached_free(block);
  }
  void* const small = cached_allocate_zeroed(100);  // shares a page with others: stays as it is
  take_memory_as_written(small);
  CHECK(*static_cast<char*>(small) == 0);
  cached_free(small);
  release_cached_memory();
}
