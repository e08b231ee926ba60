// The main() of a program that sees the emulated GPU as its CUDA device. The environment variable CRISP_EMULATED_GPU
// says what is amiss with it: no-driver, old-driver, no-device, or so many MiB of memory.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "engine/cuda/backend.h"
#include "tests/cuda_emulator/emulator.h"

int program_main(int argc, char** argv);

int main(int argc, char** argv) {
  using namespace crisp;
  const char* const amiss = std::getenv("CRISP_EMULATED_GPU");
  const std::string word = amiss ? amiss : "";
  emulator::Settings& gpu = emulator::settings();
  if (word == "no-driver") {
    gpu.driver = 0;
  } else if (word == "old-driver") {
    gpu.driver = 12020;
  } else if (word == "no-device") {
    gpu.devices = 0;
  } else if (!word.empty()) {
    gpu.memory_bytes = std::stoull(word) << 20;
  }
  register_backend(Device::cuda, CRISP_CUDA_NAMESPACE::backend());
  const int status = program_main(argc, argv);
  const auto findings = emulator::take_findings();
  for (const std::string& finding : findings) std::fprintf(stderr, "emulator: %s\n", finding.c_str());
  return findings.empty() ? status : 70;
}
