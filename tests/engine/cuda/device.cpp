// Every test of this program computes on the emulated GPU and fails where the emulator finds something.
#define CATCH_CONFIG_EXTERNAL_INTERFACES  // version 2 has listeners only with it
#include "tests/engine/cuda/device.h"

#include <cuda_runtime.h>

#include <optional>

#include "tests/support/test_device.h"

namespace crisp::test {

// It finds more and is slow, since each block that is freed waits for the device: the kernels' own tests have it.
#if defined(CRISP_TEST_OWN_BLOCKS)
constexpr bool each_block_is_its_own = true;
#else
constexpr bool each_block_is_its_own = false;
#endif

EmulatedGpu::EmulatedGpu() {
  emulator::reset();
  CRISP_CUDA_NAMESPACE::Memory::the().keep_blocks(!each_block_is_its_own);
  register_backend(Device::cuda, CRISP_CUDA_NAMESPACE::backend());
}

EmulatedGpu::~EmulatedGpu() {
  cudaDeviceSynchronize();  // what waits for it would otherwise not have run
  for (const std::string& finding : emulator::take_findings()) FAIL_CHECK(finding);
  CRISP_CUDA_NAMESPACE::Memory::the().keep_blocks(true);
  emulator::reset();
}

Device test_device() { return Device::cuda; }

namespace {

using Listener = Catch::TestEventListenerBase;

// The outermost section is a run of the test case: a check that fails at its end is one of that case.
class AroundEachRun : public Listener {
 public:
  using Listener::Listener;

  void sectionStarting(const Catch::SectionInfo&) override {
    if (depth_++ == 0) gpu_.emplace();
  }
  void sectionEnded(const Catch::SectionStats&) override {
    if (--depth_ == 0) gpu_.reset();
  }

 private:
  int depth_ = 0;
  std::optional<EmulatedGpu> gpu_;
};

CATCH_REGISTER_LISTENER(AroundEachRun)

}  // namespace
}  // namespace crisp::test
