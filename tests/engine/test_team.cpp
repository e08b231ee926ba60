// Parallel loops and the threads behind them.
#include "engine/cpu/threads/team.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "tests/engine/helpers.h"
#include "tests/support/sanitizers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

/// The members that a loop really has.
int team_size(int most) {
  std::atomic<int> members = 0;
  on_team(most, [&](const Team&) { ++members; });
  return members;
}

/// The exit code of a child that does nothing but `code`; -1 when a signal ended it.
template <class Code>
int in_child(Code code) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) _exit(code());
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

}  // namespace

TEST_CASE("a parallel loop calls each index once, at any number of threads", "[system]") {
  for (const int threads : {1, 2, 3, 7}) {
    for (const int64_t n : {0, 1, 2, 3, 5, 1000}) {
      CAPTURE(threads, n);
      std::vector<int> called(static_cast<size_t>(n));
      const auto call = [&](int64_t i) { ++called[static_cast<size_t>(i)]; };
      parallel_for(n, threads, call);
      parallel_for(n, 1, call);
      parallel_tasks(n, 1, threads, call);
      parallel_tasks(n, 16, threads, call);
      parallel_tasks(n, 16, 1, call);
      CHECK(std::all_of(called.begin(), called.end(), [](int times) { return times == 5; }));
    }
  }
}

TEST_CASE("members see at a barrier what the others wrote", "[system]") {
  for (const int most : {2, 3, 5}) {
    std::vector<int> written(static_cast<size_t>(most));
    std::atomic<int> wrong = 0;
    on_team(most, [&](const Team& team) {
      for (int round = 1; round <= 300; ++round) {
        written[static_cast<size_t>(team.rank)] = round;
        team.barrier();
        for (int other = 0; other < team.size; ++other) wrong += written[static_cast<size_t>(other)] != round;
        team.barrier();
      }
    });
    CHECK(wrong == 0);
  }
}

TEST_CASE("the parts of a team's members make up the whole", "[system]") {
  for (const int size : {1, 2, 3, 7}) {
    for (const int64_t n : {0, 1, 6, 100}) {
      int64_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Team team(rank, size, nullptr);
        CHECK(team.begin(n) == next);
        CHECK(team.end(n) >= team.begin(n));
        next = team.end(n);
      }
      CHECK(next == n);
    }
  }
}

TEST_CASE("what a loop throws arrives at its caller, and the threads go on", "[system]") {
  for (const int64_t thrower : {0, 1, 2}) {
    const auto loop = [&](int64_t i) {
      if (i == thrower) throw std::runtime_error("index " + std::to_string(i));
    };
    CHECK_THROWS_WITH(parallel_for(3, 3, loop), "index " + std::to_string(thrower));
    CHECK_THROWS_WITH(parallel_tasks(3, 1, 3, loop), "index " + std::to_string(thrower));
    CHECK_THROWS_AS(parallel_for(3, 1, loop), std::runtime_error);
    CHECK(team_size(3) == 3);
  }
  // Of several, that of the lowest rank.
  CHECK_THROWS_WITH(parallel_for(3, 3, [](int64_t i) { throw std::runtime_error(std::to_string(i)); }), "0");
}

TEST_CASE("a loop inside a loop runs on the thread that meets it", "[system]") {
  std::atomic<int> wrong = 0;
  on_team(3, [&](const Team& team) {
    const auto thread = std::this_thread::get_id();
    on_team(3, [&](const Team& inner) {
      wrong += inner.size != 1 || inner.rank != 0 || team_rank() != 0 || std::this_thread::get_id() != thread;
    });
    wrong += team_rank() != team.rank;
  });
  CHECK(wrong == 0);
  CHECK(team_rank() == 0);
}

TEST_CASE("callers that come at the same time compute side by side", "[system]") {
  // While the members of one team wait for the second caller, it gets through, alone.
  std::atomic<bool> begun = false, through = false;
  int second = 0;
  std::thread other([&] {
    while (!begun) std::this_thread::yield();
    second = team_size(2);
    through = true;
  });
  on_team(2, [&](const Team&) {
    begun = true;
    while (!through) std::this_thread::yield();
  });
  other.join();
  CHECK(second == 1);

  std::atomic<int64_t> sum = 0;
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t)
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        int64_t squares[100];
        parallel_for(100, 2, [&](int64_t i) { squares[i] = i * i; });
        sum += std::accumulate(squares, squares + 100, int64_t{0});
      }
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(sum == int64_t{800} * 328350);
}

TEST_CASE("a child process makes threads of its own, and none for one thread", "[system]") {
  if (thread_sanitizer) CRISP_SKIP("ThreadSanitizer cannot follow the threads of a child");
  CHECK(team_size(3) == 3);
  CHECK(in_child([] {
          using std::filesystem::directory_iterator;
          const auto threads = [] {
            return std::distance(directory_iterator("/proc/self/task"), directory_iterator());
          };
          if (threads() != 1) return 1;
          int calls = 0;
          parallel_for(1000, 1, [&](int64_t) { ++calls; });
          if (threads() != 1 || calls != 1000) return 2;
          if (team_size(3) != 3) return 3;
          return threads() == 3 ? 0 : 4;
        }) == 0);
  // Also when another thread's loop was under way as the process forked.
  std::atomic<bool> begun = false, forked = false;
  std::thread busy([&] {
    on_team(2, [&](const Team&) {
      begun = true;
      while (!forked) std::this_thread::yield();
    });
  });
  while (!begun) std::this_thread::yield();
  const int code = in_child([] { return team_size(2) == 2 ? 0 : 1; });
  forked = true;
  busy.join();
  CHECK(code == 0);
}

TEST_CASE("a child process that ends in the usual way waits for nobody", "[system]") {
  if (thread_sanitizer) CRISP_SKIP("ThreadSanitizer cannot follow the threads of a child");
  CHECK(team_size(2) == 2);
  CHECK(in_child([]() -> int { std::exit(team_size(2) + 5); }) == 7);
}

TEST_CASE("where the system grants no more threads a loop runs on fewer", "[system]") {
  if (sanitizer) CRISP_SKIP("the sanitizer needs more addresses than any limit");
  constexpr int many = 200;
  CHECK(in_child([] {
          const rlimit none{1, 1};
          if (setrlimit(RLIMIT_AS, &none) != 0) return 1;
          // The C library may have kept the stacks of this process's former threads, though not of so many.
          const int size = team_size(many);
          return size < many && team_size(many) == size ? 0 : 2;
        }) == 0);
}

TEST_CASE("threads that wait sleep", "[system]") {
  const auto rest = [] { std::this_thread::sleep_for(std::chrono::milliseconds(300)); };
  CHECK(team_size(4) == 4);
  const double before = cpu_seconds();
  rest();                             // between two loops
  on_team(4, [&](const Team& team) {  // at the end of one
    if (team.rank == 1) rest();       // (rank 0 is the caller)
    team.barrier();                   // and at a barrier
    if (team.rank == 0) rest();
  });
  CHECK(cpu_seconds() - before < 0.1);  // of 0.9 s
}

TEST_CASE("signals are left to the program's own threads", "[system]") {
  std::atomic<int> blocked = 0, own = 0;
  on_team(3, [&](const Team& team) {
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, nullptr, &set);
    (team.rank == 0 ? own : blocked) += sigismember(&set, SIGTERM) + sigismember(&set, SIGINT);
  });
  CHECK(own == 0);
  CHECK(blocked == 4);
}
