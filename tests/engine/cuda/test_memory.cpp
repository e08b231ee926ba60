// Memory, copies, waits and times of the CUDA backend.
#include <map>

#include "engine/ops.h"
#include "engine/profile.h"
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

TEST_CASE("the profile counts the GPU's kernels and takes their times from its queue") {
  const EmulatedGpu gpu;
  const Tensor x = numbers({6, 8}, 1), w = numbers({5, 8}, 2).set_requires_grad();
  Tape tape;
  start_profile();
  tape.backward(sum(tape, linear(tape, x, w, {})));
  stop_profile();
  std::map<std::string, KernelProfile> found;
  for (const KernelProfile& k : profile()) found.emplace(k.name, k);
  CHECK(found.at("gemm").calls == 2);
  CHECK(found.at("gemm").flops == 2 * 2.0 * 6 * 8 * 5);
  CHECK(found.at("gemm").seconds > 0);
  CHECK(found.at("reduce").calls == 1);
  CHECK(found.at("layer_norm").calls == 0);
  linear(tape, x, w.detach(), {});
  CHECK(profile()[0].calls == 0);
  // What was measured and never asked for is forgotten.
  start_profile();
  linear(tape, x, w.detach(), {});
  start_profile();
  stop_profile();
  for (const KernelProfile& k : profile()) CHECK(k.calls == 0);
}

TEST_CASE("a wait ends when all that was called has run") {
  const EmulatedGpu gpu;
  const Tensor x = Tensor::full({100}, DType::f32, 1, Device::cuda);
  emulator::counters() = {};
  Tape tape(Tape::Mode::inference);
  const Tensor y = exp(tape, x), z = exp(tape, y);
  CHECK(emulator::counters().launches == 0);
  backend(Device::cuda).wait();
  CHECK(emulator::counters().launches == 2);
  CHECK(emulator::counters().waits == 1);
}
