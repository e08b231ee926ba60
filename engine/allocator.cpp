#include "engine/allocator.h"

#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <mutex>

#include "engine/error.h"

namespace crisp {
namespace {

constexpr size_t alignment = 64;
constexpr size_t page = 4096;  // the smallest of the supported machines; only a hint is computed from it
constexpr size_t huge_page = size_t{2} << 20;
constexpr size_t large = huge_page;              // from here on blocks are staggered, and huge pages are asked for
constexpr size_t very_large = size_t{16} << 20;  // from here on they begin and end at huge pages

// Sits in the 64 bytes before each block. Free blocks of a class form a list through `next`.
struct Header {
  void* base;    // what the system gave
  size_t total;  // how much of it
  size_t bytes;  // the class's
  int size_class;
  Header* next;
};
static_assert(sizeof(Header) <= alignment);

Header* header_of(void* block) { return reinterpret_cast<Header*>(static_cast<char*>(block) - alignment); }

// Classes are 64 bytes, then four steps per power of two up to 1 MiB and eight beyond: rounding up to a class adds less
// than 25 % to a small block and less than 12.5 % to one of more than 1 MiB. On top come the header of 64 bytes, from
// 2 MiB on the stagger of at most 49 KiB, and from 16 MiB on whole huge pages (less than 2 MiB, so less than 12.5 %);
// bytes_reserved counts all of it.
constexpr int first_power = 6, fine_power = 20;
constexpr int coarse_steps = 4, fine_steps = 8;
constexpr int coarse_classes = (fine_power - first_power) * coarse_steps;

int class_of(size_t bytes) {
  if (bytes <= alignment) return 0;
  const int power = std::bit_width(bytes - 1) - 1;  // 2^power < bytes <= 2^(power+1)
  const bool fine = power >= fine_power;
  const size_t step = (size_t{1} << power) / (fine ? fine_steps : coarse_steps);
  const auto steps = static_cast<int>((bytes - (size_t{1} << power) + step - 1) / step);  // from 1
  return fine ? coarse_classes + (power - fine_power) * fine_steps + steps
              : (power - first_power) * coarse_steps + steps;
}

size_t bytes_of(int size_class) {
  if (size_class == 0) return alignment;
  const bool fine = size_class > coarse_classes;
  const int steps = fine ? fine_steps : coarse_steps, index = size_class - 1 - (fine ? coarse_classes : 0);
  const int power = index / steps + (fine ? fine_power : first_power);
  const auto taken = static_cast<size_t>(index % steps + 1);
  return (size_t{1} << power) + taken * ((size_t{1} << power) / static_cast<size_t>(steps));
}

class Cache {
 public:
  void* allocate(size_t bytes) {
    if (bytes > size_t{1} << 46) fail("out of memory: a block of {} bytes was asked for", bytes);
    const int c = class_of(bytes);
    const std::lock_guard lock(mutex_);
    Header* header = free_[static_cast<size_t>(c)];
    if (header) {
      free_[static_cast<size_t>(c)] = header->next;
    } else {
      header = from_system(c);
    }
    stats_.bytes_in_use += static_cast<int64_t>(header->bytes);
    stats_.peak_bytes_in_use = std::max(stats_.peak_bytes_in_use, stats_.bytes_in_use);
    return reinterpret_cast<char*>(header) + alignment;
  }

  void free(void* block) noexcept {
    if (!block) return;
    Header* header = header_of(block);
    const std::lock_guard lock(mutex_);
    stats_.bytes_in_use -= static_cast<int64_t>(header->bytes);
    Header*& list = free_[static_cast<size_t>(header->size_class)];
    header->next = list;
    list = header;
  }

  void release() noexcept {
    const std::lock_guard lock(mutex_);
    for (Header*& list : free_) {
      while (list) {
        Header* next = list->next;
        stats_.bytes_reserved -= static_cast<int64_t>(list->total);
        std::free(list->base);
        list = next;
      }
    }
  }

  AllocatorStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  Header* from_system(int c) {
    const size_t bytes = bytes_of(c);
    // Large blocks are staggered by a few cache lines beyond a page each: arrays that are walked together (weights,
    // gradients, moments) must not lie a power of two apart, or they compete for the same cache sets.
    const size_t stagger = bytes >= large ? (large_blocks_++ % 13) * (4096 + alignment) : 0;
    const size_t align = bytes >= very_large ? huge_page : alignment;
    const size_t total = (bytes + alignment + stagger + align - 1) / align * align;
    void* base = std::aligned_alloc(align, total);
    if (!base)
      fail("out of memory: the system gave no block of {} bytes ({} bytes in use)", total, stats_.bytes_in_use);
    if (bytes >= large) {
      // The outer whole pages, so that neighbouring blocks become one range that huge pages can span. Only a hint: a
      // refusal changes nothing.
      const auto begin = reinterpret_cast<uintptr_t>(base) / page * page;
      const auto end = (reinterpret_cast<uintptr_t>(base) + total + page - 1) / page * page;
      madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
    }
    ++stats_.system_allocations;
    stats_.bytes_reserved += static_cast<int64_t>(total);
    auto* header = reinterpret_cast<Header*>(static_cast<char*>(base) + stagger);
    *header = {base, total, bytes, c, nullptr};
    return header;
  }

  std::mutex mutex_;
  std::array<Header*, 512> free_{};
  AllocatorStats stats_;
  size_t large_blocks_ = 0;
};

// Never destroyed: tensors with static lifetime may outlive any destructor here.
Cache& cache() {
  static Cache* const instance = new Cache;
  return *instance;
}

struct Workspace {
  void* block = nullptr;
  size_t bytes = 0;
  ~Workspace() { cached_free(block); }
};

}  // namespace

void* cached_allocate(size_t bytes) { return cache().allocate(bytes); }
void cached_free(void* block) noexcept { cache().free(block); }
void release_cached_memory() noexcept { cache().release(); }
AllocatorStats allocator_stats() { return cache().stats(); }

void* thread_workspace(size_t bytes) {
  thread_local Workspace own;
  if (own.bytes < bytes) {
    cached_free(own.block);
    own = Workspace{};  // stays valid if the next line throws
    own.block = cached_allocate(bytes);
    own.bytes = bytes;
  }
  return own.block;
}

void* Workspaces::mine() const { return first_ + static_cast<size_t>(omp_get_thread_num()) * stride_; }

Workspaces reserve_workspaces(size_t bytes) {
  const size_t stride = (bytes + alignment - 1) / alignment * alignment;  // no cache line belongs to two threads
  return {thread_workspace(static_cast<size_t>(omp_get_max_threads()) * stride), stride};
}

}  // namespace crisp
