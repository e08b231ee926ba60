// Scratch memory for kernels, which belongs to the context in use (engine/context.h).
#pragma once

#include <cstddef>
#include <functional>

namespace crisp {

/// `bytes` of scratch memory for a kernel, 64-byte aligned. The next call of this function or of reserve_workspaces()
/// on the same thread invalidates it: a kernel asks once and divides the block itself. Throws Error when memory runs
/// out, and where no context is in use.
void* thread_workspace(size_t bytes);

/// Scratch memory for each member of the team (engine/cpu/threads/team.h) that is at work next.
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

/// How much scratch memory the first kernel that `call` calls asks for, which is all that it does then: what its arrays
/// hold is not touched, but for the offsets of attention's sequences. For kernels that ask in any case, before all
/// else.
size_t scratch_asked_for(const std::function<void()>& call);

}  // namespace crisp
