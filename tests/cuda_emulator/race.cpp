#include "tests/cuda_emulator/race.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tests/cuda_emulator/block.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/findings.h"
#include "tests/cuda_emulator/fit.h"
#include "tests/cuda_emulator/memory.h"

extern "C" const char __executable_start, _end;

namespace crisp::emulator::race {
namespace {

// Who wrote a byte last, or read it. Where several threads did since such accesses were last ordered (reads, or atomic
// writes), it is the last of them, and the flags say who the others were.
struct Last {
  uint32_t time, code;  // `code`: from the program's start
  uint32_t thread : 10;
  uint32_t by_lanes : 1, by_warps : 1, by_blocks : 1;
};
struct Cell {  // of one byte
  Last write, read;
  bool is_allocated, is_written, is_atomic;
};

bool is_enabled = false, runs = false;
Cell* cells = nullptr;

uint32_t now = 1, launch_begin = 0, block_begin = 0, last_barrier = 0, last_meeting[32];
struct BlockBegin {
  uint32_t time;
  unsigned number;
};
std::vector<BlockBegin> blocks;  // of this launch

uint32_t next_moment() {
  if (++now == 0) std::abort();  // 4 billion barriers: a test that large has lost its way
  return now;
}

Cell* cells_of(const void* p) { return cells + offset_in_device(p); }

void open() {
  if (cells || !is_enabled) return;
  void* memory = ::mmap(nullptr, device_addresses * sizeof(Cell), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  cells = static_cast<Cell*>(memory);
}

// Whether all that `last` stands for came before an access of this thread.
bool is_before(const Last& last, uint32_t thread) {
  if (last.time < launch_begin) return true;
  if (last.by_blocks || last.time < block_begin) return false;
  if (last.time < last_barrier) return true;
  if (last.by_warps || last.thread / 32 != thread / 32) return false;
  return last.time < last_meeting[thread / 32] || (!last.by_lanes && last.thread == thread);
}

// An access more, which need not come after the others.
void join(Last& last, uint32_t thread, uint32_t code) {
  if (last.time < launch_begin) {
    last.by_blocks = last.by_warps = last.by_lanes = 0;
  } else if (last.time < block_begin) {
    last.by_blocks = 1;
  } else if (last.time < last_barrier) {
    last.by_warps = last.by_lanes = 0;
  } else if (last.thread / 32 != thread / 32) {
    last.by_warps = 1;
  } else if (last.time < last_meeting[thread / 32]) {
    last.by_lanes = 0;
  } else if (last.thread != thread) {
    last.by_lanes = 1;
  }
  last.time = now;
  last.thread = thread;
  last.code = code;
}

uint32_t offset_of(const void* code) {
  return static_cast<uint32_t>(static_cast<const char*>(code) - &__executable_start);
}

std::string thread_at(uint32_t time, uint32_t thread) {
  const auto after =
      std::upper_bound(blocks.begin(), blocks.end(), time, [](uint32_t t, const BlockBegin& b) { return t < b.time; });
  const unsigned block = after == blocks.begin() ? 0 : std::prev(after)->number;
  return "block " + std::to_string(block) + " thread " + std::to_string(thread);
}

std::string place_in(const void* p) {
  if (is_shared(p)) return "shared memory at byte " + std::to_string(offset_in_shared(p));
  return "device memory";
}

// One finding for each pair of places: a fault in a loop is one fault.
struct Reported {
  const void* code;
  uint32_t other;
  bool operator==(const Reported&) const = default;
};
std::vector<Reported> reported;
bool is_new(const void* code, uint32_t other) {
  const Reported one{code, other};
  if (std::find(reported.begin(), reported.end(), one) != reported.end()) return false;
  reported.push_back(one);
  return true;
}

void report(const std::string& what, const void* code) {
  if (is_new(code, 0)) add_finding(place_of_code(code) + ": " + what + ", " + thread_at(now, current_thread()));
}

void report_race(const void* p, const char* mine, const char* other, const Last& last, const void* code) {
  if (!is_new(code, last.code)) return;
  add_finding(place_of_code(code) + ": race in " + place_in(p) + ": " + mine + " by " +
              thread_at(now, current_thread()) + ", " + other + " by " + thread_at(last.time, last.thread) + " at " +
              place_of_code(&__executable_start + last.code) + ", with nothing that orders them");
}

}  // namespace

void enable() { is_enabled = true; }
bool enabled() { return is_enabled; }

void allocated(const void* p, size_t bytes) {
  open();
  for (size_t i = 0; cells && i < bytes; ++i) cells_of(p)[i].is_allocated = true;
}
void released(const void* p, size_t bytes) {
  if (cells) std::memset(static_cast<void*>(cells_of(p)), 0, bytes * sizeof(Cell));
}

void begin_launch() {
  runs = true;
  launch_begin = next_moment();
  blocks.clear();
  reported.clear();
}
void end_launch() { runs = false; }
void begin_block() {
  block_begin = last_barrier = next_moment();
  blocks.push_back({now, blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z)});
  std::fill(std::begin(last_meeting), std::end(last_meeting), now);
}
void block_ordered() { last_barrier = next_moment(); }
void warp_ordered(unsigned warp) { last_meeting[warp] = next_moment(); }

void access(const void* p, size_t bytes, Access kind, const void* code) {
  if (!is_enabled || !runs || !in_kernel()) return;
  if (!is_device_memory(p)) {
    const bool constant = p >= &__executable_start && p < &_end;
    if (!on_own_stack(p) && !constant) report("access to the host's memory", code);
    return;
  }
  ++counters().checked;
  if (kind != Access::atomic) fit::note(p, bytes, code);
  const uint32_t thread = current_thread(), at = offset_of(code);
  Cell* const first = cells_of(p);
  for (Cell* c = first; c < first + bytes; ++c) {
    if (!c->is_allocated) return report("access out of bounds of " + place_in(p), code);
    const bool both_atomic = kind == Access::atomic && c->is_atomic;
    if (kind != Access::write && !c->is_written) return report("read of " + place_in(p) + " that nobody wrote", code);
    if (c->is_written && !both_atomic && !is_before(c->write, thread))
      return report_race(p, kind == Access::read ? "read" : "written", "written", c->write, code);
    if (kind == Access::read) {
      join(c->read, thread, at);
      continue;
    }
    if (!is_before(c->read, thread)) return report_race(p, "written", "read", c->read, code);
    join(c->write, thread, at);
    c->is_written = true;
    c->is_atomic = kind == Access::atomic;
  }
}

void command_reads(const void* p, size_t bytes, Where where, const char* what) {
  if (!cells || !is_device_memory(p)) return;
  for (size_t i = 0; i < bytes; ++i)
    if (!cells_of(p)[i].is_written)
      return add_finding(place(where) + ": " + what + " reads what nobody wrote, at byte " + std::to_string(i) +
                         " of " + std::to_string(bytes));
}

void command_writes(const void* p, size_t bytes) {
  if (!cells || !is_device_memory(p)) return;
  for (size_t i = 0; i < bytes; ++i) {
    cells_of(p)[i] = {};
    cells_of(p)[i].is_allocated = cells_of(p)[i].is_written = true;
  }
}

}  // namespace crisp::emulator::race

namespace crisp::emulator {
bool checks_accesses() { return race::enabled(); }
void note_atomic(const void* address, size_t bytes, const void* code) {
  race::access(address, bytes, race::Access::atomic, code);
}
}  // namespace crisp::emulator
