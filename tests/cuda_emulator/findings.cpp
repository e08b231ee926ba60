#include "tests/cuda_emulator/findings.h"

#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

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

std::string ask_addr2line(uintptr_t address) {
  char program[4096];
  const ssize_t length = ::readlink("/proc/self/exe", program, sizeof program - 1);
  if (length <= 0) return "";
  program[length] = '\0';
  char command[4300];
  std::snprintf(command, sizeof command, "addr2line -s -i -e '%s' 0x%zx 2>/dev/null", program, size_t{address});
  FILE* answer = ::popen(command, "r");
  if (!answer) return "";
  std::string text;
  char line[512];
  while (std::fgets(line, sizeof line, answer)) {
    std::string one(line);
    one = one.substr(0, one.find_first_of(" \n"));  // without "(discriminator 2)"
    if (one.find('?') != std::string::npos) continue;
    if (one.rfind("language.h:", 0) == 0) continue;  // inlined into what is asked for
    // The launch's own frames end the list of those into which code was inlined.
    if (one.rfind("runtime_api.h:", 0) == 0) break;
    text += (text.empty() ? "" : " in ") + one;
  }
  ::pclose(answer);
  return text;
}

}  // namespace

std::string place(Where where) {
  const std::string file = where.file ? where.file : "?";
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(where.line);
}

std::string place_of_code(const void* code) {
  static std::map<uintptr_t, std::string> known;
  uintptr_t address = reinterpret_cast<uintptr_t>(code) - 1;  // a return address is behind the call
  if (&__ehdr_start && __ehdr_start.e_type == ET_DYN) address -= reinterpret_cast<uintptr_t>(&__ehdr_start);
  auto [found, is_new] = known.try_emplace(address);
  if (is_new) found->second = ask_addr2line(address);
  if (!found->second.empty()) return found->second;
  char offset[32];
  std::snprintf(offset, sizeof offset, "code at 0x%zx", size_t{address});
  return offset;
}

void add_finding(const std::string& text) {
  if (findings.size() < most_findings && std::find(findings.begin(), findings.end(), text) == findings.end())
    findings.push_back(text);
}

cudaError_t refuse(cudaError_t error, Where where, const std::string& text) {
  add_finding(place(where) + ": " + text);
  return last_error = error;
}

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
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched", "the capture was not begun in this stream"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined",
     "the capture has forked streams that were not joined"},
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
