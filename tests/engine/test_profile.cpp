// The profile of kernels: every kernel of a step is counted under its part, and the results are the same bits.
#include "engine/profile.h"

#include <map>

#include "engine/backend.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

struct Profiling {
  Profiling() { start_profile(); }
  ~Profiling() { stop_profile(); }
};

std::map<std::string, KernelProfile> by_name() {
  std::map<std::string, KernelProfile> found;
  for (const KernelProfile& k : profile()) found.emplace(k.name, k);
  return found;
}

// A little of everything: products, attention, norms, an elementwise function, an update.
struct Small {
  DType type;
  Tensor x = numbers({6, 8}, 1, type), w = numbers({8, 8}, 2, type), b = numbers({8}, 3, type);
  Tensor p = numbers({8, 8}, 4, type), m = Tensor::zeros({8, 8}, type), v = Tensor::zeros({8, 8}, type);
  Tensor offsets = Tensor::from(std::span<const int32_t>(std::vector<int32_t>{0, 2, 6}), {3});

  void run() {
    Tape tape;
    for (const Tensor& t : {x, w, b}) t.set_requires_grad().clear_grad();
    const Tensor y = linear(tape, x, w, b, Activation::gelu);
    const Tensor a = attention(tape, y, y, y, {offsets, offsets}, {.heads = 2, .dropout = {}});
    const Tensor loss = sum(tape, layer_norm(tape, a, b, b, 1e-5));
    tape.backward(loss);
    adamw(p, w.grad(), m, v, {1e-3, 0.9, 0.999, 1e-8, 0.01, 1, 1});
  }
};

}  // namespace

TEST_CASE("a profile counts every kernel under its part", "[isa]") {
  for (const DType type : {DType::f32, DType::f64}) {
    Small small{type};
    {
      const Profiling on;
      small.run();
      sum_squares(small.x);
    }
    auto found = by_name();
    const auto check = [&](const char* name, KernelKind kind, int64_t calls) {
      CAPTURE(name);
      CHECK(found.at(name).kind == kind);
      CHECK(found.at(name).calls == calls);
      CHECK((found.at(name).seconds > 0) == (calls > 0));
    };
    check("gemm", KernelKind::gemm, 3);  // y, dx, dw
    check("attention", KernelKind::attention, 1);
    check("attention_backward", KernelKind::attention, 1);
    check("layer_norm", KernelKind::norms_and_activations, 1);
    check("layer_norm_backward", KernelKind::norms_and_activations, 1);
    check("adamw", KernelKind::optimizer, 1);
    check("reduce", KernelKind::other, 1);
    check("log_softmax", KernelKind::norms_and_activations, 0);
    CHECK(found.at("sum_squares").kind == KernelKind::optimizer);
    CHECK(found.at("gemm").flops == 3 * 2.0 * 6 * 8 * 8);
    CHECK(found.at("attention").flops == 0);

    SECTION("and nothing while it is off") {
      small.run();
      CHECK(by_name().at("gemm").calls == 3);
    }
    SECTION("and begins anew") {
      const Profiling on;
      CHECK(by_name().at("gemm").calls == 0);
    }
  }
}

TEST_CASE("the products of a batch are one call, and all their work is counted") {
  const Profiling on;
  Tape tape;
  matmul(tape, numbers({5, 3, 4}, 1), numbers({5, 4, 2}, 2));
  CHECK(by_name().at("gemm").calls == 1);
  CHECK(by_name().at("gemm").flops == 5 * 2.0 * 3 * 4 * 2);
}

TEST_CASE("a profile changes no bit of any operation", "[isa]") {
  for (const Op* op : all_ops()) {
    for (const Sample& sample : op->samples()) {
      INFO(op->name << ": " << sample.what);
      const auto run = [&] {
        Tape tape;
        for (const Tensor& t : sample.inputs) t.clear_grad();
        const Tensor y = sample.run(tape, sample.inputs);
        tape.backward(sum(tape, y));
        std::vector<Tensor> results{y.detach().clone()};
        for (const Tensor& t : sample.inputs)
          if (t.requires_grad()) results.push_back(t.grad().clone());
        return results;
      };
      const std::vector<Tensor> plain = run();
      const Profiling on;
      const std::vector<Tensor> timed = run();
      REQUIRE(plain.size() == timed.size());
      for (size_t i = 0; i < plain.size(); ++i) CHECK(same_bits(plain[i], timed[i]));
    }
  }
}

TEST_CASE("profiled tables have the kernels that the plain ones have", "[isa]") {
  const auto compare = [](const auto& plain, const auto& profiled) {
    const auto* a = reinterpret_cast<void* const*>(&plain);
    const auto* b = reinterpret_cast<void* const*>(&profiled);
    const size_t entries = sizeof(plain) / sizeof(void*);
    REQUIRE(profile().size() == entries);
    for (size_t i = 0; i < entries; ++i) {
      INFO(profile()[i].name);
      CHECK(b[i] != nullptr);
      CHECK(a[i] != b[i]);
    }
  };
  const Backend& plain = backend(Device::cpu);
  const Profiling on;
  const Backend& profiled = backend(Device::cpu);
  CHECK(&plain != &profiled);
  compare(plain.f32, profiled.f32);
  compare(plain.f64, profiled.f64);
}
