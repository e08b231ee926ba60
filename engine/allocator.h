// A caching allocator: freed memory is kept and handed out again, so that a warmed-up training step asks the system for
// nothing. Blocks of up to 8 KiB are kept by size class, larger ones are cut from one stretch of addresses (arena.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>

#include "engine/checked.h"

namespace crisp {

/// Of one block. More is asked for by mistake only, and lengths up to here can be rounded up without overflow.
constexpr size_t most_bytes = size_t{1} << 46;

struct AllocatorStats {
  int64_t system_allocations = 0;  // times the system was asked for more
  // Usable addresses: handed out, free, headers. Up to an eighth of it may never have been touched, which takes no
  // memory; nor does what release_cached_memory() could empty but not give up.
  int64_t bytes_reserved = 0;
  int64_t bytes_in_use = 0;  // handed out now
  int64_t peak_bytes_in_use = 0;
};

/// A block of at least `bytes` bytes, 64-byte aligned, uninitialised. Thread-safe. Throws Error when memory runs out.
void* cached_allocate(size_t bytes);
/// The same, filled with zeros; free of charge where the system has just given the memory.
void* cached_allocate_zeroed(size_t bytes);
/// Gives a block back to the cache; null is allowed.
void cached_free(void* block) noexcept;
/// Returns the memory of free blocks to the system.
void release_cached_memory() noexcept;
AllocatorStats allocator_stats();

/// A block of scratch memory that grows to the largest size that was asked for.
class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() { cached_free(block_); }
  /// At least `bytes`, 64-byte aligned; what was there before is lost. Throws Error when memory runs out.
  void* of(size_t bytes);

 private:
  void* block_ = nullptr;
  size_t bytes_ = 0;
};

/// Scratch memory for a kernel: `bytes` of the workspace_in_use() (engine/context.h). The next call of this function or
/// of reserve_workspaces() on the same thread invalidates it: a kernel asks once and divides the block itself.
void* thread_workspace(size_t bytes);

/// Scratch memory for each member of the team (engine/team.h) that is at work next.
class Workspaces {
 public:
  Workspaces(void* first, size_t stride, int members)
      : first_(static_cast<char*>(first)), stride_(stride), members_(members) {}
  /// The part of the thread that asks: of its team_rank().
  void* mine() const;
  /// How many there are: the largest team that may use them.
  int members() const { return members_; }

 private:
  char* first_;
  size_t stride_;
  int members_;
};

/// `bytes` for each of num_threads() members, 64-byte aligned; part of thread_workspace()'s memory, with the same
/// rules. Reserving for all at once makes the amount independent of which thread the schedule gives which work.
Workspaces reserve_workspaces(size_t bytes);

/// The caching allocator in the form that the standard library takes.
template <class T>
struct CachedAlloc {
  using value_type = T;
  CachedAlloc() = default;
  template <class U>
  CachedAlloc(const CachedAlloc<U>&) {}
  T* allocate(size_t n) {
    const std::optional<int64_t> bytes = checked_product(n, sizeof(T));
    if (!bytes) throw std::bad_array_new_length();
    return static_cast<T*>(cached_allocate(static_cast<size_t>(*bytes)));
  }
  void deallocate(T* p, size_t) noexcept { cached_free(p); }
  friend bool operator==(CachedAlloc, CachedAlloc) { return true; }
};

}  // namespace crisp
