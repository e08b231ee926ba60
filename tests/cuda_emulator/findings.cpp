#include "tests/cuda_emulator/findings.h"

#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/memory.h"
#include "tests/cuda_emulator/stream.h"

extern "C" const ElfW(Ehdr) __ehdr_start __attribute__((weak, visibility("hidden")));

namespace crisp::emulator {
namespace {

std::vector<std::string> findings;
constexpr size_t most_findings = 100;
cudaError_t last_error = cudaSuccess, broken = cudaSuccess;
uint64_t random_seed = 1, random_state = 1;

// An address of the running program is so much above what its file says.
uintptr_t load_offset() {
  return &__ehdr_start && __ehdr_start.e_type == ET_DYN ? reinterpret_cast<uintptr_t>(&__ehdr_start) : 0;
}

// f(line) for each line that `tool OPTIONS FILE-OF-THIS-PROGRAM MORE` prints.
template <class F>
void ask(const std::string& tool, const std::string& more, F f) {
  char program[4096];
  const ssize_t length = ::readlink("/proc/self/exe", program, sizeof program - 1);
  if (length <= 0) return;
  program[length] = '\0';
  FILE* answer = ::popen((tool + " '" + program + "' " + more + " 2>/dev/null").c_str(), "r");
  if (!answer) return;
  std::string line;
  for (int c; (c = std::fgetc(answer)) != EOF;) {
    if (c != '\n') {
      line += static_cast<char>(c);
    } else {
      f(std::exchange(line, {}));
    }
  }
  ::pclose(answer);
}

std::map<uintptr_t, std::string> places;  // by address in the program's file

void ask_addr2line(const std::vector<uintptr_t>& addresses) {
  std::string list;
  for (const uintptr_t address : addresses) {
    char text[32];
    std::snprintf(text, sizeof text, "0x%zx ", size_t{address});
    list += text;
    places[address];
  }
  std::string* now = nullptr;  // null: what is left of this address does not count
  ask("addr2line -a -s -i -e", list, [&](std::string line) {
    if (line.rfind("0x", 0) == 0) {
      now = &places[std::stoull(line, nullptr, 16)];
      return;
    }
    line = line.substr(0, line.find_first_of(" "));  // without "(discriminator 2)"
    // The launch's own frames end the list of those into which code was inlined.
    if (line.rfind("runtime_api.h:", 0) == 0) now = nullptr;
    if (!now || line.find('?') != std::string::npos) return;
    if (line.rfind("language.h:", 0) == 0) return;  // inlined into what is asked for
    *now += (now->empty() ? "" : " in ") + line;
  });
}

// Of the call before a return address.
uintptr_t address_in_file(const void* code) { return reinterpret_cast<uintptr_t>(code) - 1 - load_offset(); }

// "void a::(anonymous namespace)::f<b::c>(d)": where f begins, and where it ends.
std::pair<size_t, size_t> own_name(const std::string& symbol) {
  size_t begin = 0, end = 0;
  for (constexpr std::string_view nameless = "(anonymous namespace)"; end < symbol.size();) {
    const char c = symbol[end];
    if (symbol.compare(end, nameless.size(), nameless) == 0) {
      end += nameless.size();
    } else if (c == '<' || c == '(') {
      break;
    } else {
      ++end;
      if (c == ' ' || c == ':') begin = end;
    }
  }
  return {begin, end};
}

}  // namespace

std::string place(Where where) {
  const std::string file = where.file ? where.file : "?";
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(where.line);
}

std::string place_of_code(const void* code) {
  const uintptr_t address = address_in_file(code);
  if (!places.contains(address)) ask_addr2line({address});
  if (!places[address].empty()) return places[address];
  char offset[32];
  std::snprintf(offset, sizeof offset, "code at 0x%zx", size_t{address});
  return offset;
}

void find_places(const std::vector<const void*>& codes) {
  constexpr size_t most = 5000;  // a command has limits
  std::vector<uintptr_t> some;
  for (const void* code : codes) {
    if (places.contains(address_in_file(code))) continue;
    some.push_back(address_in_file(code));
    if (some.size() == most) ask_addr2line(std::exchange(some, {}));
  }
  if (!some.empty()) ask_addr2line(some);
}

std::vector<Function> functions_named(const std::set<std::string>& names, const std::string& space) {
  std::vector<Function> all;
  ask("nm -C --defined-only", "", [&](const std::string& line) {  // "00000000000123ab t void f<b>(d)"
    const size_t type = line.find(' ');
    if (type == std::string::npos || type + 3 > line.size() || !std::strchr("tTwW", line[type + 1])) return;
    const std::string symbol = line.substr(type + 3);
    if (symbol.ends_with(']')) return;  // "[clone .cold]": a part of one
    const auto [begin, end] = own_name(symbol);
    if (!names.contains(symbol.substr(begin, end - begin))) return;
    if (!space.empty() && symbol.substr(0, begin).find(space + "::") == std::string::npos) return;
    const uintptr_t address = std::stoull(line, nullptr, 16) + load_offset();
    all.push_back({reinterpret_cast<const void*>(address), symbol.substr(begin)});
  });
  return all;
}

void add_finding(const std::string& text) {
  if (findings.size() < most_findings && std::find(findings.begin(), findings.end(), text) == findings.end())
    findings.push_back(text);
}

cudaError_t refuse(cudaError_t error, Where where, const std::string& text) {
  add_finding(place(where) + ": " + text);
  return fail_call(error);
}
cudaError_t fail_call(cudaError_t error) { return last_error = error; }

void break_device(cudaError_t error) { broken = error; }
cudaError_t device_state() { return broken; }

uint64_t random_below(uint64_t n) {  // splitmix64
  if (random_seed != settings().seed) random_state = random_seed = settings().seed;
  uint64_t z = random_state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return (z ^ (z >> 31)) % n;
}

Settings& settings() {
  static Settings the_settings;
  return the_settings;
}

Counters& counters() {
  static Counters the_counters;
  return the_counters;
}

std::vector<std::string> take_findings() { return std::exchange(findings, {}); }

void reset() {
  forget_streams();
  settings() = {};
  counters() = {};
  last_error = broken = cudaSuccess;
  random_state = random_seed = settings().seed;
  take_findings();
  take_fits();
}

}  // namespace crisp::emulator

using namespace crisp::emulator;

cudaError_t cudaPeekAtLastError() { return device_state() ? device_state() : last_error; }
cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  last_error = cudaSuccess;
  return error;
}

namespace {
struct ErrorText {
  cudaError_t error;
  const char *name, *text;
};
constexpr ErrorText error_texts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorIllegalState, "cudaErrorIllegalState", "the operation cannot be performed in the present state"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched", "the capture was not begun in this stream"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined",
     "the capture has forked streams that were not joined"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge",
     "operation would result in a merge of separate capture sequences"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorGraphExecUpdateFailure, "cudaErrorGraphExecUpdateFailure",
     "the graph update was not performed because it included changes which violated constraints specific to "
     "instantiated graph update"},
};
const ErrorText& text_of(cudaError_t error) {
  static constexpr ErrorText unknown{cudaSuccess, "unrecognized error code", "unrecognized error code"};
  const auto* found = std::find_if(std::begin(error_texts), std::end(error_texts),
                                   [error](const ErrorText& t) { return t.error == error; });
  return found == std::end(error_texts) ? unknown : *found;
}
}  // namespace

const char* cudaGetErrorName(cudaError_t error) { return text_of(error).name; }
const char* cudaGetErrorString(cudaError_t error) { return text_of(error).text; }
