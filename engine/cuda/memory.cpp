#include "engine/cuda/memory.h"

#include <cuda_runtime.h>

#include <algorithm>

#include "engine/cuda/recording.h"
#include "engine/cuda/rules.h"
#include "engine/cuda/runtime.h"
#include "engine/fail.h"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

// Small blocks share stretches; the device is asked for no less.
constexpr size_t least_stretch = size_t{32} << 20;

double mib(size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

}  // namespace

Memory& Memory::the() {
  static Memory& memory = *new Memory;
  return memory;
}

char* Memory::from_device(size_t bytes) {
  void* p = nullptr;
  const cudaError_t error = cudaMalloc(&p, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // else the next launch would report it
    return nullptr;
  }
  check(error, "allocating memory");  // also what an earlier kernel did wrong
  return static_cast<char*>(p);
}

// Null where the device has no more; what is kept for later goes back to it first, if that is wanted.
char* Memory::take(size_t bytes, bool give_back) {
  const std::lock_guard lock(mutex_);
  const size_t room = cuda_rules::block_bytes(bytes);
  char* place = nullptr;
  if (!keep_) {
    if ((place = from_device(bytes == 0 ? 1 : bytes))) alone_.emplace(place, room);
  } else {
    auto fitting = free_.lower_bound({room, nullptr});
    if (fitting == free_.end()) {
      // One stretch as large as is needed where a whole one is refused.
      size_t stretch = std::max(room, least_stretch);
      char* made = from_device(stretch);
      if (give_back && !made && give_back_free_stretches()) made = from_device(stretch);
      if (give_back && !made && stretch > room) made = from_device(stretch = room);
      if (made) {
        held_ += static_cast<int64_t>(stretch);
        set_free(blocks_.emplace(made, Block{stretch, false, true}).first);
        fitting = free_.lower_bound({room, nullptr});
      }
    }
    if (fitting != free_.end()) {
      place = fitting->second;
      set_used(blocks_.find(place), room);
    }
  }
  if (!place) return nullptr;
  in_use_ += static_cast<int64_t>(room);
  peak_ = std::max(peak_, in_use_);
  return place;
}

void* Memory::allocate(size_t bytes) {
  char* place = take(bytes, false);
  if (!place) {
    const AtOnce at_once;  // the device has to be done with what goes back to it
    place = take(bytes, true);
  }
  if (!place) {
    size_t device_free = 0, device_total = 0;
    cudaMemGetInfo(&device_free, &device_total);
    fail(
        "out of GPU memory: {:.1f} MiB asked for, {:.1f} MiB in use, {:.1f} MiB of {:.1f} MiB free. A smaller batch "
        "size or a smaller maximal length needs less",
        mib(bytes), mib(static_cast<size_t>(bytes_in_use())), mib(device_free), mib(device_total));
  }
  return place;
}

void Memory::free(void* block) noexcept {
  if (!block) return;
  const std::lock_guard lock(mutex_);
  auto* const place = static_cast<char*>(block);
  if (hold_) {
    held_back_.push_back(place);
  } else {
    free_now(place);
  }
}

void Memory::hold_freed() {
  const std::lock_guard lock(mutex_);
  hold_ = true;
}

void Memory::release_held() noexcept {
  const std::lock_guard lock(mutex_);
  hold_ = false;
  for (char* const place : held_back_) free_now(place);
  held_back_.clear();
}

void Memory::free_now(char* place) noexcept {
  if (const auto own = alone_.find(place); own != alone_.end()) {
    in_use_ -= static_cast<int64_t>(own->second);
    alone_.erase(own);
    cudaFree(place);  // which waits for the kernels that use it
    return;
  }
  const auto found = blocks_.find(place);
  in_use_ -= static_cast<int64_t>(found->second.bytes);
  set_free(found);
}

// The block, merged with its free neighbours.
void Memory::set_free(Blocks::iterator block) {
  const auto merge_next = [&](Blocks::iterator first) {
    const auto next = std::next(first);
    first->second.bytes += next->second.bytes;
    blocks_.erase(next);
  };
  const auto forget = [&](Blocks::iterator b) { free_.erase({b->second.bytes, b->first}); };
  if (const auto next = std::next(block);
      next != blocks_.end() && next->second.is_free && !next->second.begins_stretch) {
    forget(next);
    merge_next(block);
  }
  if (!block->second.begins_stretch) {
    if (const auto before = std::prev(block); before->second.is_free) {
      forget(before);
      merge_next(before);
      block = before;
    }
  }
  block->second.is_free = true;
  free_.emplace(block->second.bytes, block->first);
}

// Its first bytes; the rest stays free.
void Memory::set_used(Blocks::iterator block, size_t bytes) {
  free_.erase({block->second.bytes, block->first});
  const size_t rest = block->second.bytes - bytes;
  block->second.is_free = false;
  block->second.bytes = bytes;
  if (rest > 0) {
    const auto other = blocks_.emplace(block->first + bytes, Block{rest, true, false}).first;
    free_.emplace(rest, other->first);
  }
}

bool Memory::give_back_free_stretches() {
  bool any = false;
  for (auto block = blocks_.begin(); block != blocks_.end();) {
    const auto next = std::next(block);
    const bool is_whole = block->second.begins_stretch && (next == blocks_.end() || next->second.begins_stretch);
    if (block->second.is_free && is_whole) {
      free_.erase({block->second.bytes, block->first});
      held_ -= static_cast<int64_t>(block->second.bytes);
      cudaFree(block->first);
      blocks_.erase(block);
      any = true;
    }
    block = next;
  }
  return any;
}

int64_t Memory::bytes_in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}
int64_t Memory::peak_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}
int64_t Memory::bytes_held() const {
  const std::lock_guard lock(mutex_);
  return held_;
}

void Memory::keep_blocks(bool keep) {
  const std::lock_guard lock(mutex_);
  keep_ = keep;
}
bool Memory::keeps_blocks() const {
  const std::lock_guard lock(mutex_);
  return keep_;
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
