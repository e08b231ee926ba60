#include "tests/support/hidden_device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "engine/backend.h"
#include "engine/fail.h"
#include "engine/kernel_list.h"
#include "engine/op.h"

namespace crisp::test {
namespace {

// --- words for messages, readable in a signal handler ----------------------------------------------------------------

std::atomic<const char*> last_kernel{"none"};
char operation_now[512] = "no operation";

void name_operation(const std::string& name) {
  const size_t n = std::min(name.size(), sizeof operation_now - 1);
  std::memcpy(operation_now, name.data(), n);
  operation_now[n] = '\0';
}

void say(const char* what, const char* how) {
  char text[1024] = "";
  const auto append = [&](const char* part) { std::strncat(text, part, sizeof text - std::strlen(text) - 1); };
  append(what);
  append(" in ");
  append(operation_now);
  append(how);
  append(", last kernel ");
  append(last_kernel);
  append("\n");
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, std::strlen(text));
}

// --- memory ----------------------------------------------------------------------------------------------------------

// Blocks of whole pages in one stretch of addresses, each followed by a page that nobody owns. A block ends where its
// last page ends, but for the alignment. What is not the caller's is full of a pattern, which freeing checks. The pages
// are mapped twice: `base_` is what others know, `own_` is for this class and for copies.
class Memory {
 public:
  static Memory& the() {
    static Memory& memory = *new Memory;  // tensors may be freed at exit
    return memory;
  }

  bool owns(const void* p) const { return p >= base_ && p <= base_ + size; }
  /// Where the memory behind an address of the device can be touched.
  unsigned char* own(const void* p) const { return own_ + (static_cast<const unsigned char*>(p) - base_); }

  static constexpr int not_a_number = 0xFF;

  void* allocate(size_t bytes, int fill) {
    const std::lock_guard lock(mutex_);
    const size_t room = (bytes + page_ - 1) / page_ * page_ + page_;
    size_t at = 0;  // the first gap that is large enough
    for (const auto& [begin, block] : blocks_) {
      if (begin - at >= room) break;
      at = begin + block.room;
    }
    if (at + room > size) fail("the hidden device is out of memory");
    const size_t start = at + room - page_ - (bytes + alignment - 1) / alignment * alignment;
    std::memset(own_ + at, pattern, room);
    std::memset(own_ + start, fill, bytes);
    blocks_.emplace(at, Block{room, start, bytes});
    in_use_ += static_cast<int64_t>(bytes);
    peak_ = std::max(peak_, in_use_);
    return base_ + start;
  }

  void free(void* p) noexcept {
    if (!p) return;
    const std::lock_guard lock(mutex_);
    const auto found = std::prev(blocks_.upper_bound(static_cast<size_t>(static_cast<unsigned char*>(p) - base_)));
    const auto& [at, block] = *found;
    const auto untouched = [&](size_t begin, size_t end) {
      return std::all_of(own_ + begin, own_ + end, [](unsigned char byte) { return byte == pattern; });
    };
    if (!untouched(at, block.start) || !untouched(block.start + block.bytes, at + block.room)) {
      say("a kernel wrote outside of a block of the hidden device that is freed", "");
      std::abort();
    }
    std::memset(own_ + at, not_a_number, block.room);
    in_use_ -= static_cast<int64_t>(block.bytes);
    blocks_.erase(found);
  }

  // While one lives, everybody may touch the blocks that were there when it was made.
  class Open {
   public:
    explicit Open(Memory& memory) : memory_(memory) {
      const std::lock_guard lock(memory_.mutex_);
      ++memory_.openings_;
      if (memory_.blocks_.empty()) return;
      const auto& [at, block] = *memory_.blocks_.rbegin();
      if (at + block.room > memory_.opened_) memory_.protect(at + block.room, PROT_READ | PROT_WRITE);
    }
    ~Open() {
      const std::lock_guard lock(memory_.mutex_);
      if (--memory_.openings_ == 0) memory_.protect(memory_.opened_, PROT_NONE);
    }
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;

   private:
    Memory& memory_;
  };
  bool is_open() const { return openings_ > 0; }
  int64_t used() {
    const std::lock_guard lock(mutex_);
    return in_use_;
  }
  int64_t peak() {
    const std::lock_guard lock(mutex_);
    return peak_;
  }

 private:
  static constexpr size_t size = size_t{8} << 30, alignment = 64;  // addresses
  static constexpr unsigned char pattern = 0xA5;

  struct Block {
    size_t room;          // with the page that nobody owns
    size_t start, bytes;  // of the caller's part
  };

  Memory() {
    const int file = ::memfd_create("hidden device", MFD_CLOEXEC);
    const auto map = [&](int access) {
      void* p = ::mmap(nullptr, size, access, MAP_SHARED | MAP_NORESERVE, file, 0);
      if (p == MAP_FAILED) fail("no addresses for the hidden device");
      return static_cast<unsigned char*>(p);
    };
    if (file < 0 || ::ftruncate(file, size) != 0) fail("no memory for the hidden device");
    base_ = map(PROT_NONE);
    own_ = map(PROT_READ | PROT_WRITE);
    ::close(file);
  }

  void protect(size_t end, int access) {
    if (end > 0 && ::mprotect(base_, end, access) != 0) std::abort();
    opened_ = access == PROT_NONE ? 0 : end;
  }

  const size_t page_ = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  unsigned char *base_ = nullptr, *own_ = nullptr;
  std::mutex mutex_;
  std::map<size_t, Block> blocks_;  // by where they begin
  std::atomic<int> openings_ = 0;
  size_t opened_ = 0;              // up to here
  int64_t in_use_ = 0, peak_ = 0;  // bytes
};

// --- the backend -----------------------------------------------------------------------------------------------------

std::mutex record_mutex;
DeviceRecord record;

void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  const Memory& memory = Memory::the();
  if (memory.owns(to) != (to_device == hidden) || memory.owns(from) != (from_device == hidden))
    fail("a copy from {} to {} was given an address of another device", name_of(from_device), name_of(to_device));
  {
    const std::lock_guard lock(record_mutex);
    record.copies.push_back(
        {from_device, to_device, bytes, fmt::format("{}, after {}", operation_now, last_kernel.load())});
    if (to_device == Device::cpu) ++record.waits;
  }
  if (bytes > 0)
    std::memmove(memory.owns(to) ? memory.own(to) : to, memory.owns(from) ? memory.own(from) : from, bytes);
}

// The arrays that a kernel is given must be the device's.
template <class Element>
constexpr bool is_element =
    std::is_void_v<Element> || std::is_same_v<Element, float> || std::is_same_v<Element, double> ||
    std::is_same_v<Element, int32_t> || std::is_same_v<Element, ClipResult>;
template <class X>
void check(const char*, const X&) {}
template <class X>
void check(const char* kernel, X* array) {
  if constexpr (is_element<std::remove_const_t<X>>)
    if (array && !Memory::the().owns(array)) fail("{} was given an address of the host", kernel);
}
template <class... Arrays>
void check_all(const char* kernel, Arrays*... arrays) {
  (check(kernel, arrays), ...);
}
template <class T>
void check(const char* kernel, const GemmCall<T>& c) {
  check_all(kernel, c.a, c.b, c.c, c.bias, c.gelu_out, c.sum_squares);
}
template <class T>
void check(const char* kernel, const LayerNormCall<T>& c) {
  check_all(kernel, c.x, c.x_rows, c.r, c.r_rows, c.weight, c.bias, c.z, c.stats, c.y);
}
template <class T>
void check(const char* kernel, const LayerNormGradient<T>& c) {
  check_all(kernel, c.z, c.stats, c.weight, c.dy, c.dx, c.dr, c.dweight, c.dbias);
}
void check(const char* kernel, const AttentionShape& c) {
  check_all(kernel, c.q_offsets, c.kv_offsets, c.pair_offsets, c.list_starts, c.list_keys);
}
template <class T>
void check(const char* kernel, const AttentionCall<T>& c) {
  check_all(kernel, c.q, c.k, c.v, c.span, c.weights, c.counts, c.out, c.stats);
}
template <class T>
void check(const char* kernel, const AttentionGradient<T>& c) {
  check_all(kernel, c.q, c.k, c.v, c.span, c.weights, c.counts, c.dout, c.dq, c.dk, c.dv, c.dspan, c.span_sums);
}

template <class T>
void check(const char* kernel, const SumRowsCall<T>& c) {
  check_all(kernel, c.starts, c.order, c.x, c.to, c.out, c.old_of, c.old);
}
template <class T>
void check(const char* kernel, const ClipCall<T>& c) {
  for (int64_t i = 0; i < c.count; ++i) check(kernel, c.squares[i]);
  for (int64_t i = 0; i < c.other_count; ++i) check(kernel, c.other_squares[i]);
  for (int64_t i = 0; i < c.loss_count; ++i) check(kernel, c.losses[i]);
  check_all(kernel, c.penalty, c.result);
}
template <class T>
void check(const char* kernel, const SquaresOf<T>* m) {
  check_all(kernel, m->x, m->out);
}
template <class T>
void check(const char* kernel, const AdamWUpdate<T>* u) {
  check_all(kernel, u->gradient, u->parameter, u->m, u->v);
}
template <class T>
void check(const char* kernel, const AdamWRowsCall<T>& c) {
  check_all(kernel, c.rows, c.from, c.gradient, c.parameter, c.m, c.v);
}

template <class T>
const Kernels<T>& cpu_kernels() {
  static const Kernels<T> table = kernels<T>(Device::cpu);
  return table;
}

template <class T, size_t Index, auto Member, class Function>
struct Hidden;
template <class T, size_t Index, auto Member, class Result, class... Arguments>
struct Hidden<T, Index, Member, Result (*)(Arguments...)> {
  static Result call(Arguments... arguments) {
    const char* const name = std::get<Index>(kernel_list<T>()).name;
    last_kernel = name;
    {
      const std::lock_guard lock(record_mutex);
      ++record.calls[name];
      if (!std::is_void_v<Result>) ++record.waits;
    }
    (check(name, arguments), ...);
    const Memory::Open open(Memory::the());
    return (cpu_kernels<T>().*Member)(arguments...);
  }
};

void* allocate(size_t bytes) { return Memory::the().allocate(bytes, Memory::not_a_number); }
void* allocate_zeroed(size_t bytes) { return Memory::the().allocate(bytes, 0); }
void free(void* block) noexcept { Memory::the().free(block); }
int64_t used_bytes() { return Memory::the().used(); }
int64_t peak_bytes() { return Memory::the().peak(); }
void wait() {
  const std::lock_guard lock(record_mutex);
  ++record.waits;
}
void join() noexcept {
  const std::lock_guard lock(record_mutex);
  ++record.joins;
}
bool supports(MatmulPrecision precision) { return backend(Device::cpu).supports(precision); }
std::string kernels_for(MatmulPrecision precision) { return backend(Device::cpu).kernels_for(precision); }

// --- faults ----------------------------------------------------------------------------------------------------------

struct sigaction action_before;

void on_fault(int, siginfo_t* info, void*) {
  const Memory& memory = Memory::the();
  if (memory.owns(info->si_addr))
    say(memory.is_open() ? "a kernel left the memory in use of the hidden device"
                         : "the host touched memory of the hidden device",
        memory.is_open() ? "" : " (element access)");
  ::sigaction(SIGSEGV, &action_before, nullptr);  // and the access is tried again
}

}  // namespace

int64_t DeviceRecord::count(Device from, Device to) const {
  return std::count_if(copies.begin(), copies.end(), [&](const DeviceCopy& c) { return c.from == from && c.to == to; });
}

int64_t DeviceRecord::kernels() const {
  int64_t sum = 0;
  for (const auto& [kernel, n] : calls) sum += n;
  return sum;
}

std::string DeviceRecord::str() const {
  std::map<std::string, int> lines;
  for (const DeviceCopy& c : copies)
    ++lines[fmt::format("{} to {}, {} bytes: {}", name_of(c.from), name_of(c.to), c.bytes, c.where)];
  std::string text = fmt::format("{} waits, {} kernels:", waits, kernels());
  for (const auto& [kernel, n] : calls) text += fmt::format(" {} {}", n, kernel);
  for (const auto& [line, n] : lines) text += fmt::format("\n{} x {}", n, line);
  return text;
}

HiddenDevice::HiddenDevice() {
  static const Kernels<float> f32 = kernels_made_of<float, Hidden>();
  static const Kernels<double> f64 = kernels_made_of<double, Hidden>();
  static const Backend backend{.name = "hidden",
                               .problem = [] { return std::string(); },
                               .allocate = allocate,
                               .allocate_zeroed = allocate_zeroed,
                               .free = free,
                               .used_bytes = used_bytes,
                               .peak_bytes = peak_bytes,
                               .held_bytes = peak_bytes,
                               .copy = copy,
                               .join = join,
                               .wait = wait,
                               .moments = nullptr,
                               .products_form_squares = true,
                               .products_sum_operands = true,
                               .launches_kernels = false,
                               .supports = supports,
                               .kernels_for = kernels_for,
                               .f32 = f32,
                               .f64 = f64};
  register_backend(hidden, backend);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigaction(SIGSEGV, &action, &action_before);
  during("no operation");
  take();
}

HiddenDevice::~HiddenDevice() { ::sigaction(SIGSEGV, &action_before, nullptr); }

void HiddenDevice::during(const std::string& operation) const { name_operation(operation); }

void HiddenDevice::follow(Tape& tape) const {
  tape.before_each([&tape](const Op& op) {
    ScopeHandle scope = tape.scope();
    if (tape.running_backward())  // at the last node that still has its output
      for (const NodeInfo& node : tape.nodes())
        if (node.output) scope = node.scope;
    const char* const direction = tape.running_backward() ? "backward of " : "";
    name_operation(fmt::format("{}{}{}", scope ? scope->path() + ", " : "", direction, op.name));
  });
}

DeviceRecord HiddenDevice::take() const {
  const std::lock_guard lock(record_mutex);
  return std::exchange(record, {});
}

}  // namespace crisp::test
