// Memory, copies, waits and times of the CUDA backend.
#include <map>

#include "engine/answer.h"
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

TEST_CASE("a product beside the rest reads what was there, and what it writes is there after join()") {
  using emulator::Order;
  const EmulatedGpu gpu;
  const int64_t n = 40;
  const Tensor a = numbers({n, n}, 1, DType::f32).to(Device::cpu), b = numbers({n, n}, 2, DType::f32).to(Device::cpu);
  const Context::Use use(Context::standard());
  const Kernels<float>& k = kernels<float>(Device::cuda);
  const auto fill = [&](const Tensor& t, double value) { k.fill(t.numel(), value, t.data<float>()); };
  for (const bool keeps_blocks : {true, false}) {
    CRISP_CUDA_NAMESPACE::Memory::the().keep_blocks(keeps_blocks);
    std::vector<Tensor> results;
    std::vector<int64_t> in_use;  // with the products' workspace
    for (const Order order : {Order::forward, Order::reverse, Order::random}) {
      emulator::settings().branches = order;
      const Tensor c = Tensor::empty({n, n}, DType::f32, Device::cuda),
                   sums = Tensor::zeros({n}, DType::f32, c.device());
      for (const double beta : {0.0, 1.0}) {  // the second adds to what the first has written
        Tensor x = a.to(Device::cuda), y = b.to(Device::cuda);
        k.gemm({.trans_a = true,
                .m = n,
                .n = n,
                .k = n,
                .a = x.data<float>(),
                .b = y.data<float>(),
                .c = c.data<float>(),
                .beta = beta,
                .a_sums = sums.data<float>(),
                .beta_sums = beta,
                .beside = true});
        const void* const places[] = {x.raw(), y.raw()};
        x = y = {};
        for (int i = 0; i < 3; ++i) {
          const Tensor other = Tensor::empty({n, n}, DType::f32, Device::cuda);
          CHECK(std::find(std::begin(places), std::end(places), other.raw()) == std::end(places));
          fill(other, std::nan(""));
        }
      }
      backend(Device::cuda).join();
      const Tensor after = Tensor::empty({n, n}, DType::f32, Device::cuda);
      fill(after, std::nan(""));
      results.push_back(c.to(Device::cpu));
      results.push_back(sums.to(Device::cpu));
      in_use.push_back(CRISP_CUDA_NAMESPACE::Memory::the().bytes_in_use());
    }
    CHECK(in_use == std::vector(3, in_use[0]));
    for (int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (int64_t r = 0; r < n; ++r) sum += 2 * static_cast<double>(a.data<float>()[r * n + i]);
      CHECK(results[1].to_vector()[static_cast<size_t>(i)] == Approx(sum).margin(1e-5));
    }
    for (size_t i = 2; i < results.size(); ++i) CHECK(same_bits(results[i], results[i % 2]));
    CHECK(relative_error(results[0].to_vector(), [&] {
            std::vector<double> product;
            for (int64_t i = 0; i < n; ++i)
              for (int64_t j = 0; j < n; ++j) {
                double sum = 0;
                for (int64_t r = 0; r < n; ++r)
                  sum += 2 * static_cast<double>(a.data<float>()[r * n + i]) *
                         static_cast<double>(b.data<float>()[r * n + j]);
                product.push_back(sum);
              }
            return product;
          }()) < 1e-6);
  }
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

TEST_CASE("who reads an answer waits for what was called before it was asked for, and for nothing else") {
  const EmulatedGpu gpu;
  CRISP_CUDA_NAMESPACE::Memory::the().keep_blocks(true);
  const Tensor x = Tensor::full({4}, DType::f64, 0.5, Device::cuda);
  emulator::counters() = {};
  Tape tape(Tape::Mode::inference);
  const auto read = [](const Answer& answer) {
    std::vector<double> values(4);
    answer.read(values.data(), sizeof(double) * values.size());
    return values;
  };
  const Tensor y = exp(tape, x);
  Answer first(y);
  const Tensor z = exp(tape, y);
  const Answer second(z);
  { const Answer nobody_reads(y); }
  const Answer third(z);  // at the place of that one
  const Tensor more = exp(tape, z);
  CHECK(emulator::counters().launches == 0);
  const Answer moved = std::move(first);
  const double once = read(moved)[3];
  CHECK(once == Approx(std::exp(0.5)).epsilon(1e-14));
  CHECK(emulator::counters().launches == 1);
  CHECK(read(moved) == std::vector(4, once));
  const double twice = read(third)[0];
  CHECK(twice == Approx(std::exp(once)).epsilon(1e-14));
  CHECK(read(second) == std::vector(4, twice));
  CHECK(emulator::counters().launches == 2);
  CHECK_THROWS_WITH(Answer(Tensor::zeros({33}, DType::f64, Device::cuda)),
                    Catch::Contains("an answer has at most 256 bytes"));
  float less = 0;
  CHECK_THROWS_WITH(second.read(&less, sizeof less), Catch::Contains("an answer of 32 bytes is read as 4"));
}
