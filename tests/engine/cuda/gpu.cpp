// The GPU as what a program's tests compute on: see tests/support/test_device.h and tools/gpu-check.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "engine/backend.h"
#include "tests/support/test_device.h"

namespace crisp::test {

Device test_device() {
  static const std::string problem = why_unavailable(Device::cuda);
  if (!problem.empty()) {
    std::printf("[skipped] %s\n", problem.c_str());
    std::exit(4);
  }
  return Device::cuda;
}

}  // namespace crisp::test
