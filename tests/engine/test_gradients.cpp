// Gradients: accumulation, inputs used twice, kinks and ties, and the checker that compares with central differences.
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("gradients accumulate: each sample used twice on one tape gives twice the gradient", "[isa]") {
  for_all_samples([](const Sample& sample) { CHECK(accumulation_problem(sample) == ""); });
}

TEST_CASE("gradients in f32 equal those in f64 to f32's precision", "[isa]") {
  for_all_samples([](const Sample& sample) { CHECK(f32_problem(sample) == ""); });
}

TEST_CASE("every operation has the CPU's results and gradients") {
  for_all_samples([](const Sample& sample) {
    for (const DType type : {DType::f64, DType::f32}) {
      // Central differences would not see an error of 1e-8; f64 on the CPU is the truth for f32, too.
      const auto there = results(sample, test_device(), type), here = results(sample, Device::cpu, DType::f64);
      REQUIRE(there.size() == here.size());
      for (size_t i = 0; i < there.size(); ++i) {
        INFO((i == 0 ? "result" : "gradient ") << i);
        CHECK(relative_error(there[i].to_vector(), here[i].to_vector()) < tolerance_of(type));
      }
    }
  });
}

TEST_CASE("an input used twice gets both gradients", "[isa]") {
  const auto passes = [](const Tensor& x, const std::function<Tensor(Tape&, std::span<const Tensor>)>& f,
                         double tolerance = 1e-7) {
    const GradCheckReport report = check_gradients(f, {x});
    INFO(report.str());
    CHECK(report.passes(tolerance));
  };
  const Tensor x = input({4, 4}, 1, DType::f64, 2, 0.3);
  passes(x, [](Tape& t, auto in) { return add(t, in[0], in[0]); });
  passes(x, [](Tape& t, auto in) { return sub(t, in[0], scale(t, in[0], 3)); });
  passes(x, [](Tape& t, auto in) { return mul(t, in[0], in[0]); });
  passes(x, [](Tape& t, auto in) { return div(t, add(t, in[0], in[0]), mul(t, in[0], in[0])); });
  passes(x, [](Tape& t, auto in) { return add(t, in[0], slice(t, in[0], 0, 1, 1)); });
  for (const bool trans_a : {false, true})
    for (const bool trans_b : {false, true})
      passes(x, [=](Tape& t, auto in) { return matmul(t, in[0], in[0], trans_a, trans_b); });
  passes(x, [](Tape& t, auto in) { return linear(t, in[0], in[0], {}); });
  passes(x, [](Tape& t, auto in) { return linear(t, in[0], in[0], {}, Activation::gelu); });
  passes(x, [](Tape& t, auto in) { return concat(t, std::vector{in[0], in[0]}, 1); });
  passes(x, [](Tape& t, auto in) { return mul(t, transpose(t, in[0]), reshape(t, in[0], {4, 4})); });
  passes(x, [](Tape& t, auto in) { return embedding(t, mul(t, in[0], in[0]), i32({1, 1, 3})); });
  const Tensor row = input({5}, 2, DType::f64, 1, 0.5);
  passes(
      row, [](Tape& t, auto in) { return layer_norm(t, in[0], in[0], in[0], 1e-5); }, 1e-6);
  passes(
      x,
      [](Tape& t, auto in) {
        const Tensor weight = slice(t, in[0], 0, 0, 1), w = reshape(t, weight, {4});
        return residual_layer_norm(t, in[0], in[0], {}, w, w, 1e-5);
      },
      1e-6);
  for (const Selection selection : {Selection::all, Selection::top_k_row, Selection::percentile_head}) {
    passes(
        input({7, 4}, 3, DType::f64),
        [=](Tape& t, auto in) {
          const Tensor offsets = i32({0, 3, 7});
          return attention(t, in[0], in[0], in[0], {offsets, offsets},
                           {.heads = 2, .scale = 0.7, .selection = selection, .sparsity = 0.5, .dropout = {}});
        },
        1e-6);
  }
}

TEST_CASE("kinks and ties have the documented gradient") {
  Tape tape;
  const auto gradient = [&](const Tensor& x, auto&& f) {
    x.clear_grad();
    tape.clear();
    tape.backward(sum(tape, f(x)));
    return x.grad().to_vector();
  };
  SECTION("relu has gradient 0 at 0, also at -0") {
    const Tensor x = vec({-1, -0.0, 0, 2}).set_requires_grad();
    CHECK(gradient(x, [&](auto& t) { return relu(tape, t); }) == std::vector<double>{0, 0, 0, 1});
  }
  SECTION("max gives the gradient to the first of equal maxima") {
    const Tensor x = vec({1, 3, 3, 2, 3}).set_requires_grad();
    CHECK(gradient(x, [&](auto& t) { return max(tape, t, 0); }) == std::vector<double>{0, 1, 0, 0, 0});
    const Tensor m = vec({1, 5, 1, 5, 1, 5}).view({3, 2}).set_requires_grad();
    CHECK(gradient(m, [&](auto& t) { return max(tape, t, 0); }) == std::vector<double>{1, 1, 0, 0, 0, 0});
  }
  SECTION("max: a NaN is larger than everything") {
    const Tensor x = vec({1, std::nan(""), INFINITY, std::nan("")}).set_requires_grad();
    CHECK(std::isnan(max(tape, x, 0).item()));
    CHECK(gradient(x, [&](auto& t) { return max(tape, t, 0); }) == std::vector<double>{0, 1, 0, 0});
  }
  SECTION("a finite difference across the kink disagrees: the checker notices") {
    const Tensor x = vec({0.0}).set_requires_grad();
    CHECK(!check_gradients([](Tape& t, auto in) { return relu(t, in[0]); }, {x}).passes(1e-3));
  }
}

TEST_CASE("broadcast gradients are sums of plain contributions", "[isa]") {
  // [3, 1, 4] with [2, 1, 5, 1]: every operand is broadcast along some axis.
  const Tensor a = input({3, 1, 4}, 1, DType::f64), b = input({2, 1, 5, 1}, 2, DType::f64, 3, 0.5),
               g = numbers({2, 3, 5, 4}, 3);
  Tape tape;
  const Tensor out = div(tape, a, b);
  REQUIRE(out.shape() == Shape{2, 3, 5, 4});
  tape.backward(sum(tape, mul(tape, out, g)));
  std::vector<double> da(12), db(10);
  const auto va = a.to_vector(), vb = b.to_vector(), vg = g.to_vector(), vo = out.to_vector();
  for (size_t i = 0; i < 2; ++i)
    for (size_t j = 0; j < 3; ++j)
      for (size_t k = 0; k < 5; ++k)
        for (size_t l = 0; l < 4; ++l) {
          const size_t at = ((i * 3 + j) * 5 + k) * 4 + l;
          const double x = va[j * 4 + l], y = vb[i * 5 + k];
          CHECK(vo[at] == Approx(x / y).epsilon(1e-15));
          da[j * 4 + l] += vg[at] / y;
          db[i * 5 + k] -= vg[at] * x / (y * y);
        }
  CHECK(relative_error(a.grad().to_vector(), da) < 1e-14);
  CHECK(relative_error(b.grad().to_vector(), db) < 1e-14);
}

TEST_CASE("an empty operand gives its partner a gradient of zeros") {
  const Tensor x = input({0, 4}, 1, DType::f64), row = input({4}, 2, DType::f64);
  Tape tape;
  tape.backward(sum(tape, mul(tape, x, row)));
  CHECK(row.grad().to_vector() == std::vector<double>(4, 0.0));
  CHECK(x.grad().shape() == Shape{0, 4});
}

TEST_CASE("the gradient checker finds wrong gradients and says where") {
  // The second element is scaled by 2 where gradients are recorded, and by 3 where differences are taken.
  const auto wrong = [](Tape& t, std::span<const Tensor> in) {
    return mul(t, in[0], t.recording() ? vec({1, 2, 1}) : vec({1, 3, 1}));
  };
  const Tensor x = vec({-1.0, 0.5, 1.5}).set_requires_grad().set_name("x");
  const GradCheckReport report = check_gradients(wrong, {x});
  CHECK(!report.passes(1e-2));
  REQUIRE(report.inputs.size() == 1);
  CHECK(report.inputs[0].label == "x");
  CHECK(report.inputs[0].elements == 3);
  CHECK(report.inputs[0].worst == 1);
  CHECK(contains(report.str(), "analytic"));
  CHECK(!x.grad());  // the caller's tensors are left alone

  SECTION("a NaN is no pass") {
    const Tensor bad = vec({-1.0}).set_requires_grad();
    CHECK(!check_gradients([](Tape& t, auto in) { return log(t, in[0]); }, {bad}).passes(1e300));
  }
  SECTION("a result that depends on nothing is an error") {
    CHECK(contains(error_of([] { check_gradients([](Tape& t, auto in) { return gelu(t, in[0]); }, {vec({1.0})}); }),
                   "depends on no input"));
  }
}

TEST_CASE("the gradient checker finds an error in one small element among large ones") {
  // Element 1 has a gradient of a twentieth of the others' and is wrong by 1e-5 of itself, which is lost in the norm.
  const auto factors = [](double second) {
    std::vector<double> values(20, 1.0);
    values[1] = second;
    return vec(values);
  };
  const auto f = [&](double wrong_by) {
    return [=](Tape& t, std::span<const Tensor> in) {
      return mul(t, in[0], factors(t.recording() ? 0.05 * (1 + wrong_by) : 0.05));
    };
  };
  const Tensor x = input({20}, 1, DType::f64);
  CHECK(check_gradients(f(0), {x}).passes(1e-9));
  const InputCheck check = check_gradients(f(1e-5), {x}).inputs.at(0);
  CHECK(check.relative_error < 2e-7);
  CHECK(check.element_error == Approx(1e-5).epsilon(1e-3));
  CHECK(check.worst == 1);
  CHECK(!check_gradients(f(1e-5), {x}).passes(1e-6));
}

TEST_CASE("directional derivatives check whole functions") {
  const Tensor w = input({3, 4}, 1, DType::f64).set_name("w"), b = input({4}, 2, DType::f64), x = numbers({5, 3}, 3);
  const auto loss = [&](Tape& t) { return mean(t, tanh(t, add(t, matmul(t, x, w), b))); };
  const std::vector<double> before = w.to_vector();
  const DirectionalReport report = check_directional(loss, {w, b}, 20);
  INFO(report.str());
  CHECK(report.directions.size() == 20);
  CHECK(report.passes(1e-9));
  CHECK(w.to_vector() == before);

  const auto throws = [&](Tape& t) { return t.recording() ? loss(t) : throw Error("no more"); };
  CHECK(error_of([&] { check_directional(throws, {w, b}, 3); }) == "no more");
  CHECK(w.to_vector() == before);

  const auto wrong = [&](Tape& t) { return t.recording() ? loss(t) : scale(t, loss(t), 1.001); };
  CHECK(!check_directional(wrong, {w, b}, 3).passes(1e-4));
}
