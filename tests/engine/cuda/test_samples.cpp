// Every operation on the CUDA backend: values, gradients, the order of threads and blocks.
#include "tests/engine/cuda/device.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;
using emulator::Order;

TEST_CASE("every operation has the same bits whatever runs first") {
  const EmulatedGpu gpu;
  for_all_samples([](const Sample& sample) {
    for (const DType type : {DType::f32, DType::f64}) {
      emulator::settings() = {};
      const auto usual = results(sample, Device::cuda, type);
      for (const Order order : {Order::reverse, Order::random}) {
        emulator::settings().threads = emulator::settings().blocks = order;
        emulator::settings().seed = 7;
        const auto other = results(sample, Device::cuda, type);
        for (size_t i = 0; i < usual.size(); ++i) CHECK(same_bits(usual[i], other[i]));
      }
    }
  });
}
