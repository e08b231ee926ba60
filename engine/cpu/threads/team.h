// Parallel loops, for the kernels and for whoever else has work to share. No thread is made before a loop wants one, a
// thread that waits spins for some microseconds and then sleeps, and a child after fork() makes threads of its own.
//
// One team is at work at a time. Whoever comes meanwhile (another thread of the host program, a loop inside a loop)
// gets a team of one and computes alone: results do not depend on the size of a team, so a loop must not either.
#pragma once

#include <cstdint>

#include "engine/context.h"

namespace crisp {

class Barrier;

/// What a member of a team knows of it. The caller is the member of rank 0.
class Team {
 public:
  Team(int rank_of_this, int members, Barrier* barrier) : rank(rank_of_this), size(members), barrier_(barrier) {}

  const int rank, size;

  /// The part begin..end of 0..n-1 that is this member's.
  int64_t begin(int64_t n) const { return n * rank / size; }
  int64_t end(int64_t n) const { return n * (rank + 1) / size; }

  /// Waits until every member is here, with all that it has written.
  void barrier() const {
    if (size > 1) wait_for_all();
  }

 private:
  void wait_for_all() const;
  Barrier* barrier_;
};

using TeamBody = void (*)(const void* context, const Team& team);

/// What becomes of exceptions: the caller gets the one of the lowest rank, or the program ends, as it must where other
/// members may wait at a barrier.
enum class Throws { to_caller, never };

/// Calls `body` once on each member of a team of at most `most` threads and returns when all are done. The team is
/// smaller where threads are busy or cannot be made.
void run_team(int most, Throws throws, TeamBody body, const void* context);

/// The rank of the calling thread in the team that it works in; 0 outside.
int team_rank();

}  // namespace crisp

// In a kernel file these belong to its instruction set, or an instance of one could be the linker's choice for another.
#ifdef CRISP_ISA
namespace crisp::CRISP_ISA {
#else
namespace crisp {
#endif

/// How many threads for a loop that may not be worth sharing.
[[gnu::always_inline]] inline int threads_if(bool worth_it) { return worth_it ? num_threads() : 1; }

/// f(team) on each member of a team of at most `most` threads.
template <class F>
[[gnu::always_inline]] inline void call_team(int most, Throws throws, const F& f) {
  const auto body = [](const void* context, const Team& team) { (*static_cast<const F*>(context))(team); };
  run_team(most, throws, body, &f);
}
/// The same for f that may call barrier() and hence must not throw.
template <class F>
[[gnu::always_inline]] inline void on_team(int most, const F& f) {
  call_team(most, Throws::never, f);
}

/// f(i) for i in 0..n-1, neighbours on one thread, on at most `most` threads.
template <class F>
[[gnu::always_inline]] inline void parallel_for(int64_t n, int most, const F& f) {
  call_team(n < most ? static_cast<int>(n) : most, Throws::to_caller, [n, &f](const Team& team) {
    const F mine = f;  // what it captured by value can then stay in registers
    for (int64_t i = team.begin(n), end = team.end(n); i < end; ++i) mine(i);
  });
}

/// The same where the calls differ in length: each thread takes the next `at_once` when it is free.
template <class F>
[[gnu::always_inline]] inline void parallel_tasks(int64_t n, int64_t at_once, int most, const F& f) {
  int64_t next = 0;
  call_team(n < most ? static_cast<int>(n) : most, Throws::to_caller, [n, at_once, &next, &f](const Team&) {
    const F mine = f;
    while (true) {
      const int64_t begin = __atomic_fetch_add(&next, at_once, __ATOMIC_RELAXED);
      if (begin >= n) return;
      for (int64_t i = begin; i < begin + at_once && i < n; ++i) mine(i);
    }
  });
}

}  // namespace crisp
