#include "tests/cuda_emulator/block.h"

#include <array>
#include <string>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/fiber.h"
#include "tests/cuda_emulator/findings.h"
#include "tests/cuda_emulator/fit.h"
#include "tests/cuda_emulator/memory.h"
#include "tests/cuda_emulator/race.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace crisp::emulator {
namespace {

enum class State : uint8_t { ready, at_barrier, at_meeting, done };

struct Thread {
  Fiber fiber;
  uint3 index{};
  unsigned number = 0;
  State state = State::done;
  Where where{};  // what it waits at
};

struct Warp {
  // Of this meeting and of the one before: a lane may be one ahead of the slowest reader.
  Slot slots[2][32];
  unsigned votes[2] = {};
  unsigned generation = 0, arrived = 0;
  const char* what = nullptr;
  Where where{};
  size_t bytes = 0;
};

// The threads that can run, each once at most.
class Ready {
 public:
  void clear() { first_ = count_ = 0; }
  bool empty() const { return count_ == 0; }
  void push(unsigned thread) { at(count_++) = thread; }
  unsigned take(Order order) {
    if (order == Order::random) std::swap(at(0), at(static_cast<unsigned>(random_below(count_))));
    --count_;
    if (order == Order::reverse) return at(count_);
    const unsigned thread = at(0);
    first_ = (first_ + 1) % most_threads;
    return thread;
  }

 private:
  unsigned& at(unsigned i) { return numbers_[(first_ + i) % most_threads]; }
  std::array<unsigned, most_threads> numbers_{};
  unsigned first_ = 0, count_ = 0;
};

struct Block {
  std::array<Thread, most_threads> threads;
  std::array<Warp, most_threads / 32> warps;
  Ready ready;
  unsigned size = 0, alive = 0;
  unsigned at_barrier = 0, true_predicates = 0, count = 0;  // `count`: true predicates of the last barrier
  Where barrier{};
  Fiber scheduler;
  Thread* self = nullptr;  // null while the scheduler runs
  const ThreadCall* body = nullptr;
  char* shared = nullptr;
} block;

void switch_to(Fiber& to, Thread* thread) {
  Fiber& from = block.self ? block.self->fiber : block.scheduler;
  if (&from == &to) return;
  ++counters().switches;
  block.self = thread;
  if (thread) threadIdx = thread->index;
  Fiber::switch_between(from, to);
}

// Of the next thread, or of the scheduler when none can run.
void run_next() {
  if (block.ready.empty()) return switch_to(block.scheduler, nullptr);
  Thread& next = block.threads[block.ready.take(settings().threads)];
  switch_to(next.fiber, &next);
}

void make_ready(Thread& t) {
  t.state = State::ready;
  block.ready.push(t.number);
}

// A fiber serves the thread of its number in block after block.
void live() {
  while (true) {
    block.body->run();
    block.self->state = State::done;
    --block.alive;
    run_next();
  }
}

void start_threads() {
  unsigned number = 0;
  for (unsigned z = 0; z < blockDim.z; ++z)
    for (unsigned y = 0; y < blockDim.y; ++y)
      for (unsigned x = 0; x < blockDim.x; ++x, ++number) {
        Thread& t = block.threads[number];
        t.index = {x, y, z};
        t.number = number;
        // One that was left waiting in a failed block starts anew.
        if (!t.fiber.has_stack() || t.state != State::done) t.fiber.start(live, number);
        make_ready(t);
      }
}

void release_barrier() {
  block.at_barrier = 0;
  block.count = std::exchange(block.true_predicates, 0);
  race::block_ordered();
  fit::block_met();
  for (unsigned i = 0; i < block.size; ++i)
    if (block.threads[i].state == State::at_barrier) make_ready(block.threads[i]);
}

void report_deadlock() {
  std::string text;
  int named = 0;
  for (unsigned i = 0; i < block.size && named < 3; ++i) {
    const Thread& t = block.threads[i];
    if (t.state != State::at_barrier && t.state != State::at_meeting) continue;
    const std::string what =
        t.state == State::at_barrier ? "a barrier" : std::string("a ") + block.warps[i / 32].what + " of its warp";
    text += (named++ ? "; " : "") + place(t.where) + ": thread " + std::to_string(i) + " waits for ever in " + what;
  }
  add_finding(text + ", block " + std::to_string(blockIdx.x));
}

unsigned votes_of(unsigned mask, const void* mine, size_t bytes, bool vote, const char* what, bool orders, Where where,
                  const Slot** slots) {
  Thread& self = *block.self;
  Warp& warp = block.warps[self.number / 32];
  const unsigned lane = self.number % 32, bit = 1u << lane;
  if (mask != ~0u) add_finding(place(where) + ": " + what + " with another mask than a full one");
  const unsigned side = (warp.generation + 1) & 1;
  if (warp.arrived == 0) {
    warp.what = what;
    warp.where = where;
    warp.bytes = bytes;
    warp.votes[side] = 0;
  } else if (warp.where.line != where.line || warp.bytes != bytes || std::strcmp(warp.what, what) != 0) {
    add_finding(place(where) + ": " + what + " meets " + warp.what + " of " + place(warp.where) +
                " in other lanes of the warp");
  }
  if (bytes) std::memcpy(warp.slots[side][lane].bytes, mine, bytes);
  if (vote) warp.votes[side] |= bit;
  warp.arrived |= bit;
  self.where = where;
  if (warp.arrived == ~0u) {
    warp.arrived = 0;
    ++warp.generation;
    fit::warp_met(self.number / 32);
    if (orders) race::warp_ordered(self.number / 32);
    self.state = State::at_meeting;
    for (unsigned i = self.number - lane; i < self.number - lane + 32; ++i) make_ready(block.threads[i]);
  } else {
    self.state = State::at_meeting;
  }
  run_next();
  if (slots) *slots = warp.slots[side];
  return warp.votes[side];
}

}  // namespace

bool run_block(const ThreadCall& thread, size_t shared_bytes) {
  block.size = block.alive = blockDim.x * blockDim.y * blockDim.z;
  block.at_barrier = block.true_predicates = 0;
  block.body = &thread;
  block.ready.clear();
  for (Warp& warp : block.warps) warp.arrived = 0;
  block.shared = open_shared(shared_bytes);
  race::begin_block();
  ++counters().blocks;
  counters().threads += block.size;
  start_threads();
  while (true) {
    run_next();
    // Nobody can run: all are done, or all that are left wait.
    if (block.alive == 0) return true;
    if (block.at_barrier != block.alive) {
      report_deadlock();
      return false;
    }
    release_barrier();  // threads that have ended count as arrived
  }
}

bool in_kernel() { return block.self != nullptr; }
unsigned current_thread() { return block.self ? block.self->number : 0; }
bool on_own_stack(const void* p) { return block.self && block.self->fiber.owns(p); }
unsigned lane() { return block.self->number % 32; }
void* dynamic_shared() { return block.shared; }

int block_barrier(bool predicate, Where where) {
  Thread& self = *block.self;
  if (block.at_barrier == 0) {
    block.barrier = where;
  } else if (block.barrier.line != where.line || std::strcmp(block.barrier.file, where.file) != 0) {
    add_finding(place(where) + ": threads of one block meet at different barriers, the other at " +
                place(block.barrier));
  }
  self.where = where;
  self.state = State::at_barrier;
  block.true_predicates += predicate;
  if (++block.at_barrier == block.alive) release_barrier();
  run_next();
  return static_cast<int>(block.count);
}

const Slot* meet(unsigned mask, const void* mine, size_t bytes, const char* what, Where where) {
  const Slot* slots = nullptr;
  votes_of(mask, mine, bytes, false, what, false, where, &slots);
  return slots;
}
unsigned ballot(unsigned mask, bool vote, const char* what, Where where) {
  return votes_of(mask, nullptr, 0, vote, what, false, where, nullptr);
}
void warp_barrier(unsigned mask, Where where) { votes_of(mask, nullptr, 0, false, "__syncwarp", true, where, nullptr); }

}  // namespace crisp::emulator
