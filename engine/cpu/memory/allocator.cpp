#include "engine/cpu/memory/allocator.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

#include "engine/cpu/memory/arena.h"
#include "engine/cpu/memory/poison.h"
#include "engine/error.h"
#include "engine/system.h"

namespace crisp {
namespace {

constexpr size_t alignment = 64;
constexpr size_t largest_small = 8192;  // up to here blocks come from slabs, beyond from the arena
constexpr size_t slab_bytes = (size_t{64} << 10) - BlockHeader::size;

// Size classes of small blocks: multiples of 64 bytes, with at most four steps per power of two, so that rounding up to
// one adds less than 25 % or less than 64 bytes. On top come the header of 64 bytes and what is left of slabs.
constexpr int first_power = 6, steps_per_power = 4;
constexpr size_t classes = (std::bit_width(largest_small) - 1 - first_power) * steps_per_power + 1;

size_t class_of(size_t bytes) {
  bytes = (bytes + alignment - 1) / alignment * alignment;
  if (bytes <= alignment) return 0;
  const int power = std::bit_width(bytes - 1) - 1;  // 2^power < bytes <= 2^(power+1)
  const size_t step = (size_t{1} << power) / steps_per_power;
  const size_t steps = (bytes - (size_t{1} << power) + step - 1) / step;  // from 1
  return static_cast<size_t>(power - first_power) * steps_per_power + steps;
}

size_t bytes_of(size_t size_class) {
  if (size_class == 0) return alignment;
  const size_t base = size_t{1} << ((size_class - 1) / steps_per_power + first_power);
  return base + ((size_class - 1) % steps_per_power + 1) * (base / steps_per_power);
}

// At the front of a block of the arena that is divided into small ones of a class.
struct alignas(alignment) Slab {
  Slab* next;
  size_t used;  // small blocks that are handed out
};

// The whole pages of a block.
struct Pages {
  char* begin;
  size_t bytes = 0;
  explicit Pages(BlockHeader* block) : begin(block->data()) {
    const size_t page = os::page_size(), before = (page - reinterpret_cast<uintptr_t>(begin) % page) % page;
    if (block->bytes < before) return;
    begin += before;
    bytes = (block->bytes - before) / page * page;
  }
};

class Cache {
 public:
  void* allocate(size_t bytes, bool zeroed) {
    const std::lock_guard lock(mutex_);
    BlockHeader* const block = bytes <= largest_small ? small(class_of(bytes)) : arena_.allocate(bytes);
    in_use_ += static_cast<int64_t>(block->bytes);
    peak_ = std::max(peak_, in_use_);
    unpoison(block->data(), block->bytes);
    if (zeroed && !block->zero) std::memset(block->data(), 0, block->bytes);
    poison(block->data() + bytes, block->bytes - bytes);
    return block->data();
  }

  void free(void* data) noexcept {
    if (!data) return;
    BlockHeader* const block = BlockHeader::of(data);
    const std::lock_guard lock(mutex_);
    in_use_ -= static_cast<int64_t>(block->bytes);
    if (auto* const slab = static_cast<Slab*>(block->owner)) {
      --slab->used;
      poison(data, block->bytes);
      BlockHeader*& list = free_[class_of(block->bytes)];
      block->left = list;
      list = block;
    } else {
      if (std::exchange(block->by_writing, false)) {
        const Pages pages(block);
        os::allow_huge_pages(pages.begin, pages.bytes, true);
      }
      arena_.free(block);
    }
  }

  void take_as_written(void* zeros) noexcept {
    BlockHeader* const block = BlockHeader::of(zeros);
    const std::lock_guard lock(mutex_);
    const Pages pages(block);
    if (block->owner || pages.bytes == 0) return;
    os::allow_huge_pages(pages.begin, pages.bytes, false);
    os::discard(pages.begin, pages.bytes);
    block->by_writing = true;
  }

  void release() noexcept {
    const std::lock_guard lock(mutex_);
    for (BlockHeader*& list : free_) {
      for (BlockHeader** at = &list; *at;) {
        if (static_cast<Slab*>((*at)->owner)->used == 0) {
          *at = (*at)->left;
        } else {
          at = &(*at)->left;
        }
      }
    }
    for (Slab** at = &slabs_; *at;) {
      Slab* const slab = *at;
      if (slab->used == 0) {
        *at = slab->next;
        arena_.free(BlockHeader::of(slab));
      } else {
        at = &slab->next;
      }
    }
    arena_.release();
  }

  void unmap() noexcept {
    const std::lock_guard lock(mutex_);
    if (in_use_ != 0) return;
    free_.fill(nullptr);
    slabs_ = nullptr;
    std::destroy_at(&arena_);
    std::construct_at(&arena_);
  }

  AllocatorStats stats() {
    const std::lock_guard lock(mutex_);
    return {arena_.growths(), static_cast<int64_t>(arena_.usable_bytes()), in_use_, peak_};
  }

 private:
  BlockHeader* small(size_t size_class) {
    BlockHeader*& list = free_[size_class];
    if (!list) add_slab(size_class);
    BlockHeader* const block = list;
    list = block->left;
    ++static_cast<Slab*>(block->owner)->used;
    return block;
  }

  void add_slab(size_t size_class) {
    char* place = arena_.allocate(slab_bytes)->data();
    auto* const slab = new (place) Slab{slabs_, 0};
    slabs_ = slab;
    const size_t bytes = bytes_of(size_class), stride = bytes + BlockHeader::size;
    BlockHeader** last = &free_[size_class];
    for (size_t at = sizeof(Slab); at + stride <= slab_bytes; at += stride) {
      auto* const block = new (place + at) BlockHeader{};
      block->bytes = bytes;
      block->owner = slab;
      *last = block;
      last = &block->left;
    }
    poison(place, slab_bytes);
  }

  os::BriefMutex mutex_;
  Arena arena_;
  std::array<BlockHeader*, classes> free_{};
  Slab* slabs_ = nullptr;
  int64_t in_use_ = 0, peak_ = 0;
};

// Never destroyed: tensors with static lifetime may outlive any destructor here. In memory that goes when a library
// with it is unloaded.
Cache& cache() {
  alignas(Cache) static std::byte place[sizeof(Cache)];
  static Cache* const instance = new (place) Cache;
  return *instance;
}

}  // namespace

void* cached_allocate(size_t bytes) { return cache().allocate(bytes, false); }
void* cached_allocate_zeroed(size_t bytes) { return cache().allocate(bytes, true); }
void take_memory_as_written(void* zeros) noexcept { cache().take_as_written(zeros); }
void cached_free(void* block) noexcept { cache().free(block); }
void release_cached_memory() noexcept { cache().release(); }
void unmap_cached_memory() noexcept { cache().unmap(); }
AllocatorStats allocator_stats() { return cache().stats(); }
size_t block_bytes(size_t bytes) {
  return bytes <= largest_small ? bytes_of(class_of(bytes)) : (bytes + alignment - 1) / alignment * alignment;
}

}  // namespace crisp
