// Every operation on the CUDA backend: values, gradients, the order of threads and blocks.
#include "tests/engine/cuda/device.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;
using emulator::Order;

TEST_CASE("every operation has the CPU's results and gradients") {
  const EmulatedGpu gpu;
  for_all_samples([](const Sample& sample) {
    for (const DType type : {DType::f64, DType::f32}) {
      // Central differences would not see an error of 1e-8; f64 on the CPU is the truth for f32, too.
      const auto there = results(sample, Device::cuda, type), here = results(sample, Device::cpu, DType::f64);
      REQUIRE(there.size() == here.size());
      for (size_t i = 0; i < there.size(); ++i) {
        INFO((i == 0 ? "result" : "gradient ") << i);
        CHECK(relative_error(there[i].to_vector(), here[i].to_vector()) < (type == DType::f64 ? 1e-13 : 4e-6));
      }
    }
  });
}

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
