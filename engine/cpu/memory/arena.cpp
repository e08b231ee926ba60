#include "engine/cpu/memory/arena.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "engine/cpu/memory/allocator.h"
#include "engine/cpu/memory/poison.h"
#include "engine/fail.h"
#include "engine/system.h"

namespace crisp {
namespace {

constexpr size_t huge_page = size_t{2} << 20;
constexpr size_t smallest_block = 4096;        // a smaller remainder stays with its block
constexpr size_t staggered = size_t{1} << 20;  // from here on a block's length is odd, see total_for()
constexpr size_t smallest_range = size_t{64} << 20;

size_t rounded_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

// With its header. Large blocks of equal length that follow one another are 17 cache lines beyond whole pages apart:
// arrays that are walked together at the distance of a power of two compete for the same cache sets and look like one
// another to the store buffer (four streams 2^28 bytes apart take twice as long).
size_t total_for(size_t bytes) {
  const size_t total = rounded_up(std::max<size_t>(bytes, 1), BlockHeader::size) + BlockHeader::size;
  constexpr size_t page = 4096, stagger = 17 * 64;
  return total < staggered ? total : rounded_up(total - stagger, page) + stagger;
}

bool smaller(const BlockHeader* a, const BlockHeader* b) {
  if (a->total != b->total) return a->total < b->total;
  return a->range != b->range ? a->range < b->range : a < b;
}

BlockHeader* next_of(BlockHeader* block) {
  return reinterpret_cast<BlockHeader*>(reinterpret_cast<char*>(block) + block->total);
}

// An eighth more than is needed, so that a slightly longer batch seldom asks again; what is never touched takes no
// memory.
size_t spare_for(size_t usable) { return std::max(usable / 8, huge_page); }

}  // namespace

Arena::~Arena() {
  while (!ranges_.empty()) drop_last_range();
}

// --- the tree of free blocks: a treap, whose shape follows from the blocks' places -----------------------------------

void Arena::insert(BlockHeader* block) noexcept {
  BlockHeader** at = &root_;
  while (*at && (*at)->priority >= block->priority) at = smaller(block, *at) ? &(*at)->left : &(*at)->right;
  BlockHeader* rest = *at;
  *at = block;
  BlockHeader **left = &block->left, **right = &block->right;
  while (rest) {
    if (smaller(rest, block)) {
      *left = rest;
      left = &rest->right;
      rest = rest->right;
    } else {
      *right = rest;
      right = &rest->left;
      rest = rest->left;
    }
  }
  *left = *right = nullptr;
}

void Arena::erase(BlockHeader* block) noexcept {
  BlockHeader** at = &root_;
  while (*at != block) at = smaller(block, *at) ? &(*at)->left : &(*at)->right;
  BlockHeader *left = block->left, *right = block->right;
  while (left && right) {
    if (left->priority >= right->priority) {
      *at = left;
      at = &left->right;
      left = left->right;
    } else {
      *at = right;
      at = &right->left;
      right = right->left;
    }
  }
  *at = left ? left : right;
}

BlockHeader* Arena::smallest_of(size_t total) const {
  BlockHeader* best = nullptr;
  for (BlockHeader* block = root_; block;) {
    if (block->total >= total) {
      best = block;
      block = block->left;
    } else {
      block = block->right;
    }
  }
  return best;
}

// --- blocks ----------------------------------------------------------------------------------------------------------

// Shortens a block that is in no tree to `total`, where that leaves enough; returns the rest, in no tree either.
BlockHeader* Arena::cut(BlockHeader* block, size_t total) noexcept {
  if (block->total < total + smallest_block) return nullptr;
  BlockHeader* const after = next_of(block);
  const size_t left_over = block->total - total;
  block->total = total;
  BlockHeader* const rest = next_of(block);
  const bool zero = block->zero;
  *rest = BlockHeader{};
  rest->total = left_over;
  rest->previous = block;
  rest->range = block->range;
  rest->zero = zero;
  after->previous = rest;
  return rest;
}

// Puts a block into the tree, together with its free neighbours.
BlockHeader* Arena::add_free(BlockHeader* block) noexcept {
  poison(block, block->total);
  const auto join = [](BlockHeader* below, BlockHeader* above) {
    below->total += above->total;
    below->zero = below->zero && above->zero;
    next_of(below)->previous = below;
    if (below->zero) clear_poisoned(above, BlockHeader::size);
    return below;
  };
  if (BlockHeader* const above = next_of(block); above->free) {
    erase(above);
    block = join(block, above);
  }
  if (BlockHeader* const below = block->previous; below && below->free) {
    erase(below);
    block = join(below, block);
  }
  block->free = true;
  // Of the place in the range, so that the tree's shape is the same in every process.
  const auto place = static_cast<uint64_t>(reinterpret_cast<char*>(block) - ranges_[block->range].begin);
  block->priority = static_cast<uint32_t>((place / BlockHeader::size + block->range) * 0x9E3779B97F4A7C15u >> 32);
  insert(block);
  return block;
}

BlockHeader* Arena::allocate(size_t bytes) {
  if (bytes > most_bytes) fail("out of memory: a block of {} bytes was asked for", bytes);
  const size_t total = total_for(bytes);
  BlockHeader* block = smallest_of(total);
  if (!block) block = grow_to_hold(total);
  if (!block) fail("out of memory: the system gave no block of {} bytes ({} bytes are held)", total, usable_bytes());
  erase(block);
  block->free = false;
  if (BlockHeader* const rest = cut(block, total)) add_free(rest);
  block->bytes = rounded_up(std::max<size_t>(bytes, 1), BlockHeader::size);
  block->owner = nullptr;
  unpoison(block->data(), block->bytes);
  return block;
}

void Arena::free(BlockHeader* block) noexcept {
  block->zero = false;
  add_free(block);
}

void Arena::release() noexcept {
  const size_t page = os::page_size();
  const auto at_page = [page](char* p) { return p - reinterpret_cast<uintptr_t>(p) % page; };
  for (Range& range : ranges_) {
    if (range.usable == 0) continue;
    for (auto* block = reinterpret_cast<BlockHeader*>(range.begin); block != range.end(); block = next_of(block)) {
      if (!block->free) continue;
      char *const data = block->data(), *const end = reinterpret_cast<char*>(next_of(block));
      char* const first = std::min(at_page(data + page - 1), end);  // the first of whole pages, and the last
      char* const last = std::max(at_page(end), first);
      if (first < last && !os::discard(first, static_cast<size_t>(last - first))) continue;
      clear_poisoned(data, static_cast<size_t>(first - data));
      clear_poisoned(last, static_cast<size_t>(end - last));
      block->zero = true;
    }
    BlockHeader* const last = range.end()->previous;
    if (!last || !last->free) continue;
    // The range now ends with the page in which that block's header lies.
    erase(last);
    const auto begin = static_cast<size_t>(reinterpret_cast<char*>(last) - range.begin);
    const size_t usable = last->previous ? rounded_up(begin + BlockHeader::size, page) : 0;
    os::make_unusable(range.begin + usable, range.usable - usable);
    unpoison(range.begin + usable, range.usable - usable);
    range.usable = usable;
    if (usable == 0) continue;
    last->total = usable - BlockHeader::size - begin;
    if (last->total == 0) {
      close(range, last->previous, last->range);
    } else {
      close(range, last, last->range);
      insert(last);
    }
  }
  while (os::bytes_to_reserve() == 0 && !ranges_.empty() && ranges_.back().usable == 0) drop_last_range();
}

// --- the system ------------------------------------------------------------------------------------------------------

// Writes the header that ends a range: of a block in use without room, so that nothing is merged across the end.
void Arena::close(Range& range, BlockHeader* last, uint16_t index) noexcept {
  BlockHeader* const end = range.end();
  *end = BlockHeader{};
  end->previous = last;
  end->range = index;
  poison(end, BlockHeader::size);
}

bool Arena::add_range(size_t total) {
  const size_t least = rounded_up(total + BlockHeader::size, huge_page);
  const size_t usual = os::bytes_to_reserve();
  size_t wanted = usual == 0         ? least + spare_for(usable_bytes())
                  : !ranges_.empty() ? smallest_range
                  : reservation_ > 0 ? reservation_
                                     : usual;
  if (ranges_.size() > std::numeric_limits<uint16_t>::max()) return false;
  ranges_.reserve(ranges_.size() + 1);
  for (wanted = std::max(rounded_up(wanted, huge_page), least);;
       wanted = std::max(rounded_up(wanted / 2, huge_page), least)) {
    if (char* const begin = os::reserve(wanted, os::Backing::huge_pages)) {
      ranges_.push_back({begin, 0, wanted});
      return true;
    }
    if (wanted == least) return false;
  }
}

// Makes at least `more` bytes at the end of a range usable.
bool Arena::grow(size_t index, size_t more) {
  Range& range = ranges_[index];
  if (more > range.reserved - range.usable) return false;
  const size_t usable = std::min(rounded_up(range.usable + more, huge_page), range.reserved);
  if (!os::make_usable(range.begin + range.usable, usable - range.usable)) return false;
  ++growths_;
  BlockHeader* block = reinterpret_cast<BlockHeader*>(range.begin);
  if (range.usable == 0) {
    *block = BlockHeader{};
    block->range = static_cast<uint16_t>(index);
    block->total = usable - BlockHeader::size;
  } else {
    block = range.end();
    block->total = usable - range.usable;
  }
  block->zero = true;
  range.usable = usable;
  close(range, block, block->range);
  add_free(block);
  return true;
}

// After which a free block of `total` bytes exists; null when the system has no more.
BlockHeader* Arena::grow_to_hold(size_t total) {
  const auto lacking = [&](const Range& range) {
    if (range.usable == 0) return total + BlockHeader::size;
    const BlockHeader* const last = range.end()->previous;
    return last->free ? total - last->total : total;
  };
  for (size_t i = 0; i < ranges_.size(); ++i) {
    const size_t least = lacking(ranges_[i]);
    if (grow(i, least + spare_for(ranges_[i].usable)) || grow(i, least)) return smallest_of(total);
  }
  if (!add_range(total)) return nullptr;
  const size_t last = ranges_.size() - 1, least = lacking(ranges_[last]);
  if (grow(last, least + spare_for(0)) || grow(last, least)) return smallest_of(total);
  drop_last_range();
  return nullptr;
}

void Arena::drop_last_range() noexcept {
  const Range& range = ranges_.back();
  unpoison(range.begin, range.usable);
  os::unreserve(range.begin, range.reserved);
  ranges_.pop_back();
}

size_t Arena::usable_bytes() const {
  size_t sum = 0;
  for (const Range& range : ranges_) sum += range.usable;
  return sum;
}

}  // namespace crisp
