#include "train/door/c_memory.h"

#include <cstdlib>

namespace crisp::door {
namespace {

constexpr size_t alignment_of_all = alignof(std::max_align_t);
constexpr size_t header_bytes = (sizeof(Allocator) + alignment_of_all - 1) / alignment_of_all * alignment_of_all;

}  // namespace

void* Allocator::take(size_t size) const {
  void* const block = allocate ? allocate(user, size) : std::malloc(size);
  if (!block) throw std::bad_alloc();
  return block;
}

void Allocator::give_back(void* block) const noexcept {
  if (allocate) {
    release(user, block);
  } else {
    std::free(block);
  }
}

Result::~Result() { free(content_); }

void Result::allocate() {
  char* const block = static_cast<char*>(allocator_.take(header_bytes + used_));
  new (block) Allocator(allocator_);
  content_ = block + header_bytes;
  used_ = 0;
}

void* Result::room_of_bytes(size_t bytes, size_t alignment) {
  used_ = (used_ + alignment - 1) / alignment * alignment;
  void* const place = content_ ? content_ + used_ : nullptr;
  used_ += bytes;
  return place;
}

void Result::free(void* content) noexcept {
  if (!content) return;
  char* const block = static_cast<char*>(content) - header_bytes;
  const Allocator allocator = *std::launder(reinterpret_cast<Allocator*>(block));
  allocator.give_back(block);
}

}  // namespace crisp::door
