#include "engine/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>

#include "engine/error.h"

namespace crisp {
namespace {

constexpr size_t alignment = 64;
constexpr size_t huge_page = size_t{2} << 20;

// Sits in the 64 bytes before each block. Free blocks of a class form a list through `next`.
struct Header {
  void* base;  // what the system gave
  size_t bytes;
  int size_class;
  Header* next;
};
static_assert(sizeof(Header) <= alignment);

Header* header_of(void* block) { return reinterpret_cast<Header*>(static_cast<char*>(block) - alignment); }

// Classes are 64 bytes, then four steps per power of two: at most 25 % is lost to rounding.
int class_of(size_t bytes) {
  if (bytes <= alignment) return 0;
  const int power = std::bit_width(bytes - 1) - 1;  // 2^power < bytes <= 2^(power+1)
  const size_t step = (size_t{1} << power) / 4;
  const auto quarter = static_cast<int>((bytes - (size_t{1} << power) + step - 1) / step);  // 1..4
  return (power - 6) * 4 + quarter;
}

size_t bytes_of(int size_class) {
  if (size_class == 0) return alignment;
  const int power = (size_class - 1) / 4 + 6;
  const auto quarter = static_cast<size_t>((size_class - 1) % 4 + 1);
  return (size_t{1} << power) + quarter * ((size_t{1} << power) / 4);
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
        stats_.bytes_reserved -= static_cast<int64_t>(list->bytes);
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
    const bool large = bytes >= huge_page;
    // Large blocks are staggered by a few cache lines beyond a page each: arrays that are walked together (weights,
    // gradients, moments) must not lie a power of two apart, or they compete for the same cache sets.
    const size_t stagger = large ? (large_blocks_++ % 13) * (4096 + alignment) : 0;
    const size_t align = large ? huge_page : alignment;
    const size_t total = (bytes + alignment + stagger + align - 1) / align * align;
    void* base = std::aligned_alloc(align, total);
    if (!base)
      fail("out of memory: the system gave no block of {} bytes ({} bytes in use)", total, stats_.bytes_in_use);
    if (large) madvise(base, total, MADV_HUGEPAGE);  // only a hint: a refusal changes nothing
    ++stats_.system_allocations;
    stats_.bytes_reserved += static_cast<int64_t>(bytes);
    auto* header = reinterpret_cast<Header*>(static_cast<char*>(base) + stagger);
    *header = {base, bytes, c, nullptr};
    return header;
  }

  std::mutex mutex_;
  std::array<Header*, 256> free_{};
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

}  // namespace crisp
