// The allocator behind engine/host_memory.h, which is the CPU backend's: freed memory is kept and handed out again, so
// that a warmed-up training step asks the system for nothing. Blocks of up to 8 KiB are kept by size class, larger ones
// are cut from one stretch of addresses (arena.h).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "engine/host_memory.h"

namespace crisp {

/// Of one block. More is asked for by mistake only, and lengths up to here can be rounded up without overflow.
constexpr size_t most_bytes = std::min<uint64_t>(uint64_t{1} << 46, SIZE_MAX / 4);

struct AllocatorStats {
  int64_t system_allocations = 0;  // times the system was asked for more
  // Usable addresses: handed out, free, headers. Up to an eighth of it may never have been touched, which takes no
  // memory; nor does what release_cached_memory() could empty but not give up.
  int64_t bytes_reserved = 0;
  int64_t bytes_in_use = 0;  // handed out now
  int64_t peak_bytes_in_use = 0;
};
AllocatorStats allocator_stats();
/// What a block of so many bytes counts for there.
size_t block_bytes(size_t bytes);

/// Returns the memory of free blocks to the system.
void release_cached_memory() noexcept;
/// Returns all addresses, too, where no block is in use (else nothing): for a library that is unloaded. Whoever asks
/// for memory afterwards begins anew.
void unmap_cached_memory() noexcept;

}  // namespace crisp
