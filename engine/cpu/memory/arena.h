// Large blocks of memory from one stretch of reserved address space: best fit, with splitting, and with merging of
// neighbours that are free. Blocks of ever changing lengths (the activations of batches) share what they leave behind,
// which lists of freed blocks by size cannot do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace crisp {

/// Sits in the 64 bytes before each block, free ones included. Under AddressSanitizer it is poisoned, as all free
/// memory is: it parts a block from its neighbours, and only the allocator's own code can read it.
struct alignas(64) BlockHeader {
  static constexpr size_t size = 64;
  size_t total;           // from this header to the next one
  size_t bytes;           // usable, of a block that is handed out
  BlockHeader* previous;  // the neighbour below; null for the first of a range
  BlockHeader* left;      // in the tree of free blocks
  BlockHeader* right;     // the same; of a block that is handed out, left and right are the owner's
  void* owner;            // for who uses the arena; null at first
  uint32_t priority;      // in the tree
  uint16_t range;         // the range it lies in
  bool free;
  bool zero;        // nobody has written to the block since the system gave it
  bool by_writing;  // it gets memory page by page (the owner's)
  char* data() { return reinterpret_cast<char*>(this) + size; }
  static BlockHeader* of(void* data) { return reinterpret_cast<BlockHeader*>(static_cast<char*>(data) - size); }
};
static_assert(sizeof(BlockHeader) == BlockHeader::size);

/// Reserves addresses without memory and makes the front part usable as it is needed. Where the system gives little
/// (ulimit -v), or memory only (engine/system.h), several smaller ranges follow one another. The same calls give the
/// same layout in each. Not thread-safe.
class Arena {
 public:
  /// `reservation`: bytes of address space to ask for at first; 0 takes a multiple of the machine's memory.
  explicit Arena(size_t reservation = 0) : reservation_(reservation) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// A block of at least `bytes` bytes, 64-byte aligned: the smallest free one that fits, the lowest of equals. Its
  /// `zero` says whether it is known to hold zeros only. Throws Error when memory runs out.
  BlockHeader* allocate(size_t bytes);
  /// Merges the block with its free neighbours.
  void free(BlockHeader* block) noexcept;
  /// Gives the memory of free blocks back to the system. What lies between used blocks keeps its addresses.
  void release() noexcept;

  /// Bytes of the usable parts of all ranges: handed out, free, headers.
  size_t usable_bytes() const;
  /// How often the system was asked for more.
  int64_t growths() const { return growths_; }

 private:
  friend struct ArenaWalk;  // of the tests

  struct Range {
    char* begin;
    size_t usable, reserved;
    BlockHeader* end() const { return reinterpret_cast<BlockHeader*>(begin + usable) - 1; }
  };

  void insert(BlockHeader* block) noexcept;
  void erase(BlockHeader* block) noexcept;
  BlockHeader* smallest_of(size_t total) const;
  BlockHeader* cut(BlockHeader* block, size_t total) noexcept;
  BlockHeader* add_free(BlockHeader* block) noexcept;
  static void close(Range& range, BlockHeader* last, uint16_t index) noexcept;
  bool add_range(size_t total);
  void drop_last_range() noexcept;
  bool grow(size_t range, size_t more);
  BlockHeader* grow_to_hold(size_t total);

  size_t reservation_;
  std::vector<Range> ranges_;
  BlockHeader* root_ = nullptr;  // a treap, ordered by size, range and address
  int64_t growths_ = 0;
};

}  // namespace crisp
