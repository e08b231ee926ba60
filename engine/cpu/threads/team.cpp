#include "engine/cpu/threads/team.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "engine/system.h"

namespace crisp {
namespace {

using Clock = std::chrono::steady_clock;

// Long enough for what lies between two loops of a training step, too short to take much from another process.
// engine/MEASURED.md has what longer ones cost beside another job.
constexpr auto spin_time = std::chrono::microseconds(20);

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A number that one thread changes and others wait for.
class Signal {
 public:
  int value() const { return value_.load(std::memory_order_acquire); }

  void advance() {
    value_.fetch_add(1);
    if (sleepers_.load() > 0)
      os::wake_all(value_);  // both in the one order of all such operations, as are those of sleep_while()
  }

  // The new value.
  int wait_while(int old) {
    for (Clock::time_point end{}; true;) {
      for (int i = 0; i < 32; ++i) {
        if (const int now = value(); now != old) return now;
        pause();
      }
      const Clock::time_point now = Clock::now();
      if (end == Clock::time_point{}) end = now + spin_time;
      if (now >= end) return sleep_while(old);
    }
  }

 private:
  int sleep_while(int old) {
    sleepers_.fetch_add(1);
    int now;
    while ((now = value_.load()) == old) os::sleep_while(value_, old);
    sleepers_.fetch_sub(1);
    return now;
  }

  std::atomic<int> value_{0}, sleepers_{0};
};

}  // namespace

class Barrier {
 public:
  void wait(int members) {
    const int phase = phase_.value();
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.advance();
    } else {
      phase_.wait_while(phase);
    }
  }

 private:
  std::atomic<int> arrived_{0};
  Signal phase_;
};

namespace {

thread_local bool in_team = false;
thread_local int rank = 0;

class Pool {
 public:
  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() {
    body_ = nullptr;
    for (const auto& worker : workers_) worker->jobs.advance();
    for (const auto& worker : workers_) worker->thread.join();
  }

  void run(int most, Throws throws, TeamBody body, const void* context) {
    size_ = 1 + grow(most - 1);
    throws_ = throws;
    body_ = body;
    context_ = context;
    const int before = done_.value();
    pending_.store(size_ - 1, std::memory_order_relaxed);
    for (int i = 0; i < size_ - 1; ++i) workers_[static_cast<size_t>(i)]->jobs.advance();
    in_team = true;
    std::exception_ptr error = work(0);
    in_team = false;
    if (size_ > 1) done_.wait_while(before);
    for (int i = 0; i < size_ - 1; ++i) {
      std::exception_ptr other = std::exchange(workers_[static_cast<size_t>(i)]->error, nullptr);
      if (!error) error = std::move(other);
    }
    if (error) std::rethrow_exception(error);
  }

 private:
  struct alignas(64) Worker {
    Signal jobs;  // how many it was given
    std::exception_ptr error;
    std::thread thread;
  };

  // Makes workers until there are `wanted`, or as many as the system grants; returns how many of them to use.
  int grow(int wanted) {
    while (std::ssize(workers_) < wanted) {
      auto worker = std::make_unique<Worker>();
      const int its_rank = static_cast<int>(workers_.size()) + 1;
      workers_.reserve(workers_.size() + 1);
      try {
        // Signals are for the host's own threads.
        worker->thread = os::thread_without_signals([this, me = worker.get(), its_rank] { live(*me, its_rank); });
      } catch (const std::system_error&) {
        return static_cast<int>(workers_.size());
      }
      workers_.push_back(std::move(worker));
    }
    return wanted;
  }

  void live(Worker& me, int its_rank) {
    in_team = true;
    rank = its_rank;
    for (int jobs = 0; true;) {
      jobs = me.jobs.wait_while(jobs);
      if (!body_) return;
      me.error = work(its_rank);
      if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) done_.advance();
    }
  }

  std::exception_ptr work(int its_rank) {
    try {
      body_(context_, Team(its_rank, size_, &barrier_));
    } catch (...) {
      if (throws_ == Throws::never) std::terminate();
      return std::current_exception();
    }
    return nullptr;
  }

  std::vector<std::unique_ptr<Worker>> workers_;
  int size_ = 1;
  Throws throws_ = Throws::to_caller;
  TeamBody body_ = nullptr;
  const void* context_ = nullptr;
  alignas(64) Barrier barrier_;
  alignas(64) std::atomic<int> pending_{0};  // workers that are not done
  Signal done_;                              // how many jobs all are done with
};

// Of the process. Who has set `claimed` may use the pool; nobody waits for it.
std::atomic<bool> claimed{false};
Pool* pool = nullptr;
Pool* abandoned = nullptr;

// The threads end with the program or when its library is unloaded; loops after that run alone.
struct Lifetime {
  Lifetime() {
    // In a child there are no workers, and perhaps no caller to free the pool.
    os::call_in_children([] {
      if (in_team) return;
      abandoned = std::exchange(pool, nullptr);
      claimed.store(false, std::memory_order_relaxed);
    });
  }
  ~Lifetime() {
    if (in_team) return;  // somebody ends the program from inside a loop
    while (claimed.exchange(true)) std::this_thread::yield();
    delete std::exchange(pool, nullptr);
  }
} const lifetime;

}  // namespace

void Team::wait_for_all() const { barrier_->wait(size); }

int team_rank() { return rank; }

void run_team(int most, Throws throws, TeamBody body, const void* context) {
  if (most > 1 && !in_team && !claimed.exchange(true, std::memory_order_acquire)) {
    struct Release {
      ~Release() { claimed.store(false, std::memory_order_release); }
    } const release;
    if (!pool) pool = new Pool;
    pool->run(most, throws, body, context);
    return;
  }
  struct Alone {  // of rank 0, whatever the thread's rank in a team around it
    int before = std::exchange(rank, 0);
    ~Alone() { rank = before; }
  } const alone;
  body(context, Team(0, 1, nullptr));
}

}  // namespace crisp
