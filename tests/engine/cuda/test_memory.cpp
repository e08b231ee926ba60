// Memory and copies of the CUDA backend.
#include "tests/engine/cuda/device.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("what moves between devices arrives") {
  const EmulatedGpu gpu;
  const Tensor x = numbers({3, 4}, 1).to(Device::cpu), there = x.to(Device::cuda);
  CHECK(there.device() == Device::cuda);
  CHECK(same_bits(there.to(Device::cpu), x));
  CHECK(same_bits(there.clone().to(Device::cpu), x));
  const Tensor column = there.view_rows(1, 2);
  column.copy_from(there.view_rows(0, 2));  // which overlap
  CHECK(there.view_rows(1, 1).to_vector() == there.view_rows(0, 1).to_vector());
  CHECK(there.view_rows(2, 1).to_vector() == x.view_rows(1, 1).to_vector());
  for (const double v : Tensor::zeros({5}, DType::f64, Device::cuda).to_vector()) CHECK(v == 0);
  const Tensor large = numbers({300000}, 2).to(Device::cpu);
  CHECK(same_bits(large.to(Device::cuda).to(Device::cpu), large));
}
