#include "engine/meta/memory.h"

#include <algorithm>
#include <string>

#include "engine/cpu/memory/allocator.h"
#include "engine/fail.h"
#include "engine/meta/meter.h"
#include "engine/system.h"

namespace crisp::meta {
namespace {

// Whole pages, so that each can be opened by itself.
size_t page_rounded(size_t bytes) {
  const size_t page = os::page_size();
  return (std::max<size_t>(bytes, 1) + page - 1) / page * page;
}

}  // namespace

void* Memory::allocate_scratch(size_t bytes) { return allocate(bytes, Meter::scratch); }

void* Memory::allocate(size_t bytes, const char* label) {
  Meter* meter = nullptr;
  {
    const std::lock_guard lock(mutex_);
    meter = meter_;
  }
  const std::string name = label ? label : meter ? meter->label_() : std::string();
  char* const place =
      bytes > most_bytes ? nullptr : os::reserve(page_rounded(bytes), os::Backing::only_what_is_written);
  if (!place) fail("no addresses for a block of {} bytes", bytes);
  const auto counted = static_cast<int64_t>(counted_bytes_(bytes));
  const std::lock_guard lock(mutex_);
  blocks_.emplace(place, Block{page_rounded(bytes), counted, false});
  used_ += counted;
  peak_ = std::max(peak_, used_);
  if (meter) meter->allocated(place, page_rounded(bytes), counted, name);
  return place;
}

void Memory::free(void* block) noexcept {
  if (!block) return;
  const std::lock_guard lock(mutex_);
  if (hold_) {
    held_.push_back(static_cast<char*>(block));
  } else {
    free_now(static_cast<char*>(block));
  }
}

void Memory::free_now(char* place) noexcept {
  const auto found = blocks_.find(place);
  used_ -= found->second.counted;
  if (meter_) meter_->freed(place);
  os::unreserve(place, found->second.addresses);
  blocks_.erase(found);
}

Memory::Blocks::const_iterator Memory::block_of(const void* place) const {
  const auto after = blocks_.upper_bound(static_cast<char*>(const_cast<void*>(place)));
  if (after == blocks_.begin()) fail("an address that is none of a device without data");
  return std::prev(after);
}

void* Memory::open(const void* place) {
  const std::lock_guard lock(mutex_);
  const auto found = block_of(place);
  Block& block = blocks_.at(found->first);
  if (!block.open && !os::make_usable(found->first, block.addresses))
    fail("out of memory: {} bytes of a tensor without data are to be written", block.addresses);
  block.open = true;
  return const_cast<void*>(place);
}

const void* Memory::opened(const void* place) const {
  const std::lock_guard lock(mutex_);
  return block_of(place)->second.open ? place : nullptr;
}

void Memory::hold_freed() {
  const std::lock_guard lock(mutex_);
  hold_ = true;
}

void Memory::release_held() noexcept {
  const std::lock_guard lock(mutex_);
  hold_ = false;
  for (char* const place : held_) free_now(place);
  held_.clear();
}

int64_t Memory::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_;
}
int64_t Memory::peak_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}

void Memory::set_meter(Meter* meter) {
  const std::lock_guard lock(mutex_);
  if (meter && meter_) fail("two meters on one device without data");
  meter_ = meter;
}

}  // namespace crisp::meta
