#include "tests/cuda_emulator/memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/findings.h"
#include "tests/cuda_emulator/race.h"
#include "tests/cuda_emulator/stream.h"
#include "tests/support/sanitizers.h"

#if CRISP_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace crisp::emulator {
namespace {

constexpr size_t alignment = 256, gap = 256, shared_room = size_t{228} << 10;

// The same pages twice: what everybody knows, and what the emulator itself can always write.
char *base = nullptr, *own = nullptr;
size_t used = shared_room + gap, in_use = 0;  // shared memory lies first
size_t shared_bytes = 0;
std::map<char*, size_t> live, pinned;
std::multimap<size_t, char*> freed;  // by room
int openings = 0;
bool closed = false;
struct sigaction action_before;

size_t room_of(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment + gap; }

bool lies_in(const std::map<char*, size_t>& blocks, const void* p, size_t bytes) {
  auto block = blocks.upper_bound(const_cast<char*>(static_cast<const char*>(p)));
  if (block == blocks.begin()) return false;
  --block;
  return static_cast<const char*>(p) + bytes <= block->first + block->second;
}

// Only the sanitizer sees accesses of kernels that were compiled without the emulator's own check.
void forbid([[maybe_unused]] const char* p, [[maybe_unused]] size_t bytes) {
#if CRISP_ADDRESS_SANITIZER
  __asan_poison_memory_region(p, bytes);
#endif
}
void permit([[maybe_unused]] const char* p, [[maybe_unused]] size_t bytes) {
#if CRISP_ADDRESS_SANITIZER
  __asan_unpoison_memory_region(p, bytes);
#endif
}

// Says which line touched device memory; then the access is tried again and ends the program.
void on_fault(int, siginfo_t* info, void* context) {
  if (is_device_memory(info->si_addr)) {
    const void* code = nullptr;
#if defined(__x86_64__)
    code = reinterpret_cast<void*>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] + 1);
#else
    (void)context;
#endif
    std::fprintf(stderr, "%s: the host touched device memory\n", place_of_code(code).c_str());
  }
  ::sigaction(SIGSEGV, &action_before, nullptr);
}

// Again each time, since a test framework has handlers of its own in each test.
void watch_faults() {
  struct sigaction action {
  }, before{};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGSEGV, &action, &before);
  if (before.sa_sigaction != on_fault) action_before = before;
}

void protect(bool hide) {
  if (closed == hide) return;
  if (hide) watch_faults();
  if (::mprotect(base, device_addresses, hide ? PROT_NONE : PROT_READ | PROT_WRITE) != 0) std::abort();
  closed = hide;
}

void open() {
  if (base) return;
  const int file = ::memfd_create("device memory", MFD_CLOEXEC);
  const auto map = [file] {
    void* p = ::mmap(nullptr, device_addresses, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    if (p == MAP_FAILED) std::abort();
    return static_cast<char*>(p);
  };
  if (file < 0 || ::ftruncate(file, device_addresses) != 0) std::abort();
  base = map();
  own = map();
  ::close(file);
  protect(settings().hide_from_host);
}

}  // namespace

DeviceAccess::DeviceAccess() {
  open();
  ++openings;
  protect(false);
}
DeviceAccess::~DeviceAccess() {
  if (--openings == 0 && settings().hide_from_host) protect(true);
}

void* allocate(size_t bytes) {
  open();
  const size_t room = room_of(bytes);
  char* p = nullptr;
  if (const auto fitting = freed.find(room); fitting != freed.end()) {
    p = fitting->second;
    freed.erase(fitting);
  } else if (in_use + bytes <= settings().memory_bytes && used + room <= device_addresses) {
    p = base + used;
    used += room;
  } else {
    return nullptr;
  }
  live[p] = bytes;
  in_use += bytes;
  permit(p, bytes);
  forbid(p + bytes, room - bytes);
  std::memset(own + (p - base), not_a_number, bytes);
  race::allocated(p, bytes);
  return p;
}

bool release(void* p) {
  const auto block = live.find(static_cast<char*>(p));
  if (block == live.end()) return false;
  const size_t bytes = block->second;
  race::released(p, bytes);
  forbid(block->first, bytes);
  freed.emplace(room_of(bytes), block->first);
  live.erase(block);
  in_use -= bytes;
  return true;
}

size_t allocated() { return in_use; }
bool is_device_memory(const void* p) { return base && p >= base && p < base + device_addresses; }
size_t offset_in_device(const void* p) { return static_cast<size_t>(static_cast<const char*>(p) - base); }
bool is_shared(const void* p) { return is_device_memory(p) && offset_in_device(p) < shared_room; }
size_t offset_in_shared(const void* p) { return offset_in_device(p); }

bool is_allocated(const void* p, size_t bytes) {
  if (is_shared(p)) return offset_in_shared(p) + bytes <= shared_bytes;
  return lies_in(live, p, bytes);
}

char* open_shared(size_t bytes) {
  open();
  permit(base, bytes);
  forbid(base + bytes, shared_room + gap - bytes);
  std::memset(base, not_a_number, bytes);
  race::released(base, shared_bytes);
  race::allocated(base, bytes);
  shared_bytes = bytes;
  return base;
}

bool is_pinned(const void* p, size_t bytes) { return lies_in(pinned, p, bytes); }

}  // namespace crisp::emulator

using namespace crisp::emulator;

cudaError_t cudaMalloc(void** p, size_t bytes, Where where) {
  if (const cudaError_t e = refuse_in_capture("cudaMalloc", where, Conflict::careful)) return e;
  *p = allocate(bytes);
  return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFree(void* p, Where where) {
  if (!p) return cudaSuccess;
  if (const cudaError_t e = cudaDeviceSynchronize(where)) return e;  // as the real one does
  return release(p) ? cudaSuccess : refuse(cudaErrorInvalidValue, where, "cudaFree of what cudaMalloc did not return");
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = settings().memory_bytes;
  *free = *total - std::min(*total, allocated());
  return device_state();
}

cudaError_t cudaMallocHost(void** p, size_t bytes, Where where) {
  if (const cudaError_t e = refuse_in_capture("cudaMallocHost", where, Conflict::careful)) return e;
  *p = std::aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
  if (!*p) return cudaErrorMemoryAllocation;
  pinned[static_cast<char*>(*p)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* p, Where where) {
  if (!p) return cudaSuccess;
  if (!is_pinned(p, 0))
    return refuse(cudaErrorInvalidValue, where, "cudaFreeHost of what cudaMallocHost did not return");
  if (const cudaError_t e = cudaDeviceSynchronize(where)) return e;
  pinned.erase(static_cast<char*>(p));
  std::free(p);
  return cudaSuccess;
}
