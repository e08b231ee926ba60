// The emulated GPU as Device::cuda, for a test.
#pragma once

#include "engine/cuda/backend.h"
#include "engine/cuda/memory.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/support/catch.h"

namespace crisp::test {

/// While it lives, the emulator is as at its start but for what the test sets. It ends with a check that nothing was
/// found. In test_cuda each block of memory is the device's own, full of NaN, unless the test keeps blocks. A program
/// with device.cpp makes one around each run of a test case; one more in the test does no harm.
struct EmulatedGpu {
  EmulatedGpu();
  ~EmulatedGpu();
  EmulatedGpu(const EmulatedGpu&) = delete;
  EmulatedGpu& operator=(const EmulatedGpu&) = delete;
};

}  // namespace crisp::test
