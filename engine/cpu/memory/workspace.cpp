#include "engine/cpu/memory/workspace.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "engine/checked.h"
#include "engine/context.h"
#include "engine/cpu/memory/allocator.h"
#include "engine/cpu/memory/poison.h"
#include "engine/cpu/threads/team.h"
#include "engine/fail.h"

namespace crisp {
namespace {

constexpr size_t alignment = 64;

// A block that grows to the largest size that was asked for.
class Workspace final : public Scratch {
 public:
  ~Workspace() override { cached_free(block_); }

  // What was there before is lost.
  void* of(size_t bytes) {
    if (bytes_ < bytes) {
      cached_free(block_);
      block_ = nullptr;  // stays valid if cached_allocate() throws
      bytes_ = 0;
      block_ = cached_allocate(bytes);
      bytes_ = bytes;
    }
    unpoison(block_, bytes);
    poison(static_cast<char*>(block_) + bytes, bytes_ - bytes);
    return block_;
  }

 private:
  void* block_ = nullptr;
  size_t bytes_ = 0;
};

// What ends a kernel that is only to say what it asks for.
struct Asked {
  size_t bytes;
};
thread_local bool only_asking = false;

std::unique_ptr<Scratch> make_workspace() { return std::make_unique<Workspace>(); }

}  // namespace

void* thread_workspace(size_t bytes) {
  if (only_asking) throw Asked{bytes};
  return static_cast<Workspace&>(scratch_in_use(make_workspace)).of(bytes);
}

size_t scratch_asked_for(const std::function<void()>& call) {
  struct Asking {
    Asking() { only_asking = true; }
    ~Asking() { only_asking = false; }
  };
  const Asking asking;
  try {
    call();
  } catch (const Asked& asked) {
    return asked.bytes;
  }
  return 0;
}

void* Workspaces::mine() const { return first_ + static_cast<size_t>(team_rank()) * stride_; }

Workspaces reserve_workspaces(size_t bytes) {
  // No cache line belongs to two threads; under AddressSanitizer a poisoned one lies between them.
  const size_t used = (std::min(bytes, most_bytes) + alignment - 1) / alignment * alignment;
  const size_t stride = used + (poisoning ? alignment : 0);
  const int members = num_threads();
  const auto threads = static_cast<size_t>(members);
  const std::optional<int64_t> total = checked_product(threads, stride);
  if (!total || bytes > most_bytes)
    fail("out of memory: {} bytes of scratch memory for each of {} threads were asked for", bytes, threads);
  auto* const first = static_cast<char*>(thread_workspace(static_cast<size_t>(*total)));
  for (size_t i = 0; i < threads; ++i) poison(first + i * stride + bytes, stride - bytes);
  return {first, stride, members};
}

}  // namespace crisp
