// The caching allocator and the arena below it, against a plain model of who owns which bytes.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <thread>
#include <tuple>
#include <vector>

#include "engine/cpu/memory/allocator.h"
#include "engine/cpu/memory/arena.h"
#include "engine/random.h"
#include "tests/engine/helpers.h"
#include "tests/support/sanitizers.h"

namespace crisp {

/// Walks over all of an arena.
struct ArenaWalk {
  /// False when a rule of the structure is broken. Reads what is poisoned.
  __attribute__((no_sanitize("address"), noinline)) static bool consistent(const Arena& arena) {
    const auto place = [](const BlockHeader* b) __attribute__((no_sanitize("address"))) {
      const auto total = b->total;  // copies: a tuple's functions have the sanitizer's checks
      const auto range = b->range;
      return std::tuple(total, range, b);
    };
    size_t in_tree = 0, free_blocks = 0;
    std::vector<const BlockHeader*> stack;
    if (arena.root_) stack.push_back(arena.root_);
    while (!stack.empty()) {
      const BlockHeader* block = stack.back();
      stack.pop_back();
      ++in_tree;
      if (!block->free) return false;
      for (const BlockHeader* child : {block->left, block->right}) {
        if (!child) continue;
        if (child->priority > block->priority || (place(child) < place(block)) != (child == block->left)) return false;
        stack.push_back(child);
      }
    }
    for (size_t i = 0; i < arena.ranges_.size(); ++i) {
      const Arena::Range& range = arena.ranges_[i];
      if (range.usable == 0) continue;
      const BlockHeader* previous = nullptr;
      for (const char* at = range.begin;;) {
        const auto* const block = reinterpret_cast<const BlockHeader*>(at);
        if (block->previous != previous || block->range != i) return false;
        if (block == range.end()) break;
        if (block->total == 0 || block->total % BlockHeader::size != 0) return false;
        if (block->free && previous && previous->free) return false;
        if (!block->free && block->bytes + BlockHeader::size > block->total) return false;
        if (block->free && block->zero)
          for (const char* p = at + BlockHeader::size; p < at + block->total; ++p)
            if (*p != 0) return false;
        free_blocks += block->free;
        previous = block;
        at += block->total;
      }
    }
    return in_tree == free_blocks;
  }
};

}  // namespace crisp

using namespace crisp;
using namespace crisp::test;

namespace {

constexpr size_t kib = size_t{1} << 10, mib = size_t{1} << 20;

// Blocks in use by address; each is filled with a byte of its own.
class Model {
 public:
  void add(void* data, size_t bytes, unsigned char mark) {
    auto* const begin = static_cast<unsigned char*>(data);
    const auto after = blocks_.lower_bound(begin);
    REQUIRE((after == blocks_.end() || begin + bytes <= after->first));
    REQUIRE((after == blocks_.begin() || std::prev(after)->first + std::prev(after)->second.bytes <= begin));
    blocks_[begin] = {bytes, mark};
    std::memset(data, mark, bytes);
  }
  // Takes out the n-th block; its bytes must be as they were.
  void* remove(size_t n) {
    const auto at = std::next(blocks_.begin(), static_cast<std::ptrdiff_t>(n));
    const auto [begin, block] = *at;
    REQUIRE(std::all_of(begin, begin + block.bytes, [mark = block.mark](unsigned char c) { return c == mark; }));
    blocks_.erase(at);
    return begin;
  }
  size_t size() const { return blocks_.size(); }

 private:
  struct Block {
    size_t bytes;
    unsigned char mark;
  };
  std::map<unsigned char*, Block> blocks_;
};

// A header under AddressSanitizer can be read by code without its checks alone.
#define CRISP_UNCHECKED __attribute__((no_sanitize("address"), noinline))
CRISP_UNCHECKED size_t bytes_of(const BlockHeader* block) { return block->bytes; }
CRISP_UNCHECKED bool known_zero(const BlockHeader* block) { return block->zero; }

struct Dice {
  uint64_t rolls = 0;
  uint64_t seed;
  size_t operator()(size_t sides) {
    return random_word({.seed = seed, .stream = Stream::init}, rolls++) % static_cast<uint32_t>(sides);
  }
};

}  // namespace

TEST_CASE("an arena's blocks never overlap, whatever is taken and given back", "[system]") {
  for (const uint64_t seed : {1, 2, 3}) {
    // A small reservation: further ranges are needed.
    Arena arena(seed == 1 ? 0 : 2 * mib);
    Model model;
    Dice dice{.seed = seed};
    for (int i = 0; i < 3000; ++i) {
      // Grows for a while, then shrinks.
      if (model.size() == 0 || dice(10) < (i / 500 % 2 == 0 ? 6u : 4u)) {
        const size_t scale = size_t{1} << dice(22), bytes = dice(20) == 0 ? scale : 1 + dice(scale);
        BlockHeader* const block = arena.allocate(bytes);
        REQUIRE(bytes_of(block) >= bytes);
        REQUIRE(reinterpret_cast<uintptr_t>(block->data()) % 64 == 0);
        if (known_zero(block))
          REQUIRE(std::all_of(block->data(), block->data() + bytes_of(block), [](char c) { return c == 0; }));
        model.add(block->data(), bytes_of(block), static_cast<unsigned char>(1 + i % 255));
      } else {
        arena.free(BlockHeader::of(model.remove(dice(model.size()))));
      }
      if (i % 700 == 699) arena.release();
      if (i % 100 == 0) REQUIRE(ArenaWalk::consistent(arena));
    }
    while (model.size() > 0) arena.free(BlockHeader::of(model.remove(dice(model.size()))));
    CHECK(ArenaWalk::consistent(arena));
    arena.release();
    CHECK(ArenaWalk::consistent(arena));
    CHECK(arena.usable_bytes() == 0);  // all neighbours were merged, so that the ranges could be given up
  }
}

TEST_CASE("an arena takes the smallest block that fits, the lowest of equals, and splits it", "[system]") {
  Arena arena;
  BlockHeader* const blocks[] = {arena.allocate(300 * kib), arena.allocate(10 * kib),  arena.allocate(100 * kib),
                                 arena.allocate(10 * kib),  arena.allocate(100 * kib), arena.allocate(10 * kib)};
  for (const int i : {0, 2, 4}) arena.free(blocks[i]);
  CHECK(arena.allocate(100 * kib) == blocks[2]);
  CHECK(arena.allocate(80 * kib) == blocks[4]);
  CHECK(arena.allocate(200 * kib) == blocks[0]);
  BlockHeader* const rest = arena.allocate(90 * kib);  // of what was blocks[0]
  CHECK(rest->data() == blocks[0]->data() + 200 * kib + BlockHeader::size);
  // Free neighbours are one block again.
  arena.free(blocks[0]);
  arena.free(rest);
  arena.free(blocks[1]);
  arena.free(blocks[2]);
  CHECK(arena.allocate(410 * kib) == blocks[0]);
  CHECK(ArenaWalk::consistent(arena));
}

TEST_CASE("the same calls give the same layout, and a repeated pattern stays where it is") {
  const auto offsets = [](Arena& arena, int rounds) {
    std::vector<std::ptrdiff_t> result;
    char* first = nullptr;
    Dice dice{.seed = 5};
    for (int round = 0; round < rounds; ++round) {
      std::vector<BlockHeader*> blocks;
      for (int i = 0; i < 200; ++i) {
        blocks.push_back(arena.allocate(kib + dice(2 * mib)));
        if (!first) first = blocks[0]->data();
        result.push_back(blocks.back()->data() - first);
        if (i % 3 == 2) {
          const size_t n = dice(blocks.size());
          arena.free(blocks[n]);
          blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(n));
        }
      }
      for (BlockHeader* block : blocks) arena.free(block);
    }
    return result;
  };
  Arena a, b;
  CHECK(offsets(a, 3) == offsets(b, 3));
  const int64_t growths = a.growths();
  offsets(a, 3);
  CHECK(a.growths() == growths);
}

TEST_CASE("large blocks of equal length lie no power of two apart") {
  Arena arena;
  for (const size_t bytes : {mib, 2 * mib, size_t{768} * 768 * 4, 32 * mib}) {
    std::vector<char*> places;
    for (int i = 0; i < 4; ++i) places.push_back(arena.allocate(bytes)->data());
    for (size_t i = 0; i < 4; ++i)
      for (size_t j = 0; j < i; ++j) {
        const auto apart = static_cast<size_t>(std::abs(places[i] - places[j])) % 4096;
        INFO(bytes << " " << i << " " << j);
        CHECK(std::min(apart, 4096 - apart) >= 512);
      }
  }
}

TEST_CASE("memory that the system has just given is known to be zero, used memory is not", "[system]") {
  Arena arena;
  BlockHeader* block = arena.allocate(3 * mib);
  CHECK(known_zero(block));
  BlockHeader* const other = arena.allocate(mib);
  CHECK(known_zero(other));
  std::memset(block->data(), 1, bytes_of(block));
  arena.free(block);
  CHECK(!known_zero(arena.allocate(2 * mib)));
  auto* zeros = static_cast<char*>(cached_allocate(3 * mib));
  std::memset(zeros, 1, 3 * mib);
  cached_free(zeros);
  for (const size_t bytes : {size_t{1}, size_t{100}, 8 * kib, 3 * mib, 40 * mib}) {
    zeros = static_cast<char*>(cached_allocate_zeroed(bytes));
    CHECK(std::all_of(zeros, zeros + bytes, [](char c) { return c == 0; }));
    std::memset(zeros, 1, bytes);
    cached_free(zeros);
    zeros = static_cast<char*>(cached_allocate_zeroed(bytes));
    CHECK(std::all_of(zeros, zeros + bytes, [](char c) { return c == 0; }));
    cached_free(zeros);
  }
}

TEST_CASE("released memory goes back to the system, and comes back as zeros") {
  const auto resident = [](void* begin, size_t bytes) {
    std::vector<unsigned char> pages(bytes / 4096);
    REQUIRE(mincore(begin, bytes / 4096 * 4096, pages.data()) == 0);
    return static_cast<size_t>(std::count_if(pages.begin(), pages.end(), [](unsigned char p) { return p & 1; }));
  };
  Arena arena;
  BlockHeader* const a = arena.allocate(8 * mib);
  BlockHeader* const b = arena.allocate(8 * mib);
  BlockHeader* const c = arena.allocate(8 * mib);
  for (BlockHeader* block : {a, b, c}) std::memset(block->data(), 7, bytes_of(block));
  char* const inside = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(a->data()) + 4095) / 4096 * 4096);
  CHECK(resident(inside, 7 * mib) == 7 * mib / 4096);
  arena.free(a);
  arena.free(c);
  const size_t before = arena.usable_bytes();
  arena.release();
  CHECK(resident(inside, 7 * mib) == 0);
  CHECK(ArenaWalk::consistent(arena));  // reads what should be zero
  CHECK(arena.usable_bytes() <= before - 8 * mib);
  CHECK(std::all_of(b->data(), b->data() + bytes_of(b), [](char x) { return x == 7; }));
  BlockHeader* const again = arena.allocate(30 * mib);
  CHECK(known_zero(again));
  CHECK(std::all_of(again->data(), again->data() + bytes_of(again), [](char x) { return x == 0; }));
  CHECK(arena.allocate(8 * mib) == a);
  CHECK(ArenaWalk::consistent(arena));
}

TEST_CASE("an arena works under a limit on addresses, and says when there is no more", "[system]") {
  if (sanitizer) CRISP_SKIP("the sanitizer needs more addresses than any limit");
  // The limit holds for a process: a child has it alone.
  std::fflush(nullptr);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // What the process has already (the first number there, in pages) and 4 GiB.
    std::ifstream file("/proc/self/statm");
    size_t pages = 0;
    if (!(file >> pages)) _exit(8);
    const rlim_t bytes = pages * static_cast<size_t>(sysconf(_SC_PAGESIZE)) + 4096 * mib;
    const rlimit limit{bytes, bytes};
    if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(9);
    Arena arena;
    size_t blocks = 0;
    try {
      for (; blocks < 1000; ++blocks) arena.allocate(16 * mib);
      _exit(2);
    } catch (const Error&) {
    }
    _exit(blocks > 3072 / 16 && blocks <= 4096 / 16 ? 0 : 3);  // most of what was allowed could be had
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("the allocator aligns, counts and hands blocks out again", "[system]") {
  release_cached_memory();
  const AllocatorStats start = allocator_stats();
  for (const size_t bytes : {size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{1000}, size_t{4097}, size_t{1} << 20,
                             (size_t{2} << 20) + 1, size_t{9} << 20}) {
    INFO(bytes);
    const AllocatorStats before = allocator_stats();
    void* block = cached_allocate(bytes);
    CHECK(reinterpret_cast<uintptr_t>(block) % 64 == 0);
    std::memset(block, 0xab, bytes);
    const int64_t given = allocator_stats().bytes_in_use - before.bytes_in_use;
    CHECK(given >= static_cast<int64_t>(bytes));
    CHECK(given <= static_cast<int64_t>(bytes) * 5 / 4 + 64);
    CHECK(allocator_stats().peak_bytes_in_use >= before.bytes_in_use + given);
    cached_free(block);
    CHECK(allocator_stats().bytes_in_use == before.bytes_in_use);
    const int64_t asked = allocator_stats().system_allocations;
    void* again = cached_allocate(bytes - bytes / 64);  // the same class, or the next smaller one
    void* same = cached_allocate(bytes);
    CHECK(allocator_stats().system_allocations <= asked + 1);
    CHECK((again == block || same == block));
    cached_free(again);
    cached_free(same);
  }
  release_cached_memory();
  CHECK(allocator_stats().bytes_reserved <= start.bytes_reserved);
  cached_free(nullptr);
  CHECK_THROWS_AS(cached_allocate(size_t{1} << 60), Error);
  CHECK_THROWS_AS(cached_allocate(size_t{1} << 46), Error);
}

TEST_CASE("little is lost to large blocks, and all of it is counted") {
  release_cached_memory();
  const AllocatorStats before = allocator_stats();
  const int64_t start = before.bytes_reserved, free = start - before.bytes_in_use;
  // 2 MiB; DistilBERT-base's matrices of attention and of the feed-forward network, in f32; 30 MiB and a little.
  for (const size_t bytes : {size_t{2} << 20, size_t{768} * 768 * 4, size_t{768} * 3072 * 4, (size_t{30} << 20) + 1}) {
    INFO(bytes);
    std::vector<void*> blocks;
    for (int i = 0; i < 20; ++i) blocks.push_back(cached_allocate(bytes));
    const auto held = static_cast<double>(allocator_stats().bytes_reserved - start), asked = 20.0 * bytes;
    // The headers are counted. What other tests' blocks have left free between them serves, too.
    CHECK(held >= asked + 20 * 64 - static_cast<double>(free));
    CHECK(held <= asked * 1.01 * 1.125 + 4.0 * mib);  // it grows by more than it needs, in whole huge pages
    for (void* block : blocks) cached_free(block);
    release_cached_memory();
    CHECK(allocator_stats().bytes_reserved == start);
  }
}

TEST_CASE("small blocks are at most a quarter too long, others less than 64 bytes", "[system]") {
  for (size_t bytes = 65; bytes < size_t{64} << 20; bytes += 1 + bytes / 7) {
    const int64_t before = allocator_stats().bytes_in_use;
    void* block = cached_allocate(bytes);
    const auto given = static_cast<size_t>(allocator_stats().bytes_in_use - before);
    INFO(bytes << " " << given);
    CHECK(given >= bytes);
    CHECK(given - bytes < std::max<size_t>(64, bytes <= 8 * kib ? bytes / 4 : 0));
    cached_free(block);
  }
  release_cached_memory();
}

TEST_CASE("a cache in which nothing is in use gives up its addresses and begins anew", "[system]") {
  REQUIRE(allocator_stats().bytes_in_use == 0);
  void *const large = cached_allocate(3 * mib), *const little = cached_allocate(100);
  const int64_t reserved = allocator_stats().bytes_reserved;
  cached_free(large);
  unmap_cached_memory();  // not under a block in use
  CHECK(allocator_stats().bytes_reserved == reserved);
  std::memset(little, 1, 100);
  cached_free(little);
  unmap_cached_memory();
  CHECK(allocator_stats().bytes_reserved == 0);
  for (const size_t bytes : {size_t{100}, 3 * mib}) {
    auto* const block = static_cast<unsigned char*>(cached_allocate_zeroed(bytes));
    CHECK(std::all_of(block, block + bytes, [](unsigned char x) { return x == 0; }));
    std::memset(block, 7, bytes);
    cached_free(block);
  }
  CHECK(allocator_stats().bytes_in_use == 0);
}

TEST_CASE("the allocator is thread-safe", "[system]") {
  const int64_t before = allocator_stats().bytes_in_use;
  std::vector<std::thread> threads;
  for (unsigned char id = 1; id <= 4; ++id) {
    threads.emplace_back([id] {
      for (size_t i = 0; i < 2000; ++i) {
        const size_t bytes = 1 + i * 37 % 5000;
        auto* block = static_cast<unsigned char*>(cached_allocate(bytes));
        std::memset(block, id, bytes);
        if (block[0] != id || block[bytes - 1] != id) std::abort();
        cached_free(block);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(allocator_stats().bytes_in_use == before);
}
