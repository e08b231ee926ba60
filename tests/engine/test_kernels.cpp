// Kernels that no operation's value test reaches well: sums for the optimizer, filling and clamping, contracts on beta.
#include <algorithm>

#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("fill and clamp", "[isa]") {
  for (const DType type : {DType::f32, DType::f64}) {
    const Tensor x = vec({-2, 0.25, 7, std::nan(""), HUGE_VAL, -HUGE_VAL}, type);
    clamp(x, 0, 5);
    const std::vector<double> clamped = x.to_vector();
    CHECK(std::vector(clamped.begin(), clamped.begin() + 3) == std::vector<double>{0, 0.25, 5});
    CHECK(std::isnan(clamped[3]));
    CHECK(clamped[4] == 5);
    CHECK(clamped[5] == 0);
    const Tensor many = numbers({50001}, 1, type);
    run(Context::standard(), many, [&](auto k) { k->fill(many.numel() - 1, 0.1, k(many)); });
    const std::vector<double> filled = many.to_vector();
    const double tenth = type == DType::f32 ? static_cast<double>(0.1f) : 0.1;
    CHECK(std::count(filled.begin(), filled.end(), tenth) == 50000);
    CHECK(filled.back() != tenth);
  }
}

TEST_CASE("sum of squares and the search for what is not finite", "[isa]") {
  for (const int64_t n : {0, 1, 100, 4096, 100001}) {
    for (const DType type : {DType::f32, DType::f64}) {
      const Tensor x = numbers({n}, 1, type);
      double expected = 0;
      for (const double v : x.to_vector()) expected += v * v;
      CHECK(sum_squares(x) == Approx(expected).epsilon(1e-13));
      CHECK(all_finite(x));
      for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
        for (const int64_t at : {int64_t{0}, n / 2, n - 1}) {
          if (n == 0) continue;
          const Tensor y = x.clone();
          y.view_rows(at, 1).copy_from(vec({bad}));
          CHECK(!all_finite(y));
        }
      }
    }
  }
  // Squares that overflow f32 are summed in f64.
  CHECK(sum_squares(vec({1e30, 1e30}, DType::f32)) == Approx(2e60).epsilon(1e-6));
}

TEST_CASE("an f32 sum of many numbers keeps its digits") {
  Tape t(Tape::Mode::inference);
  const Tensor x = full({1000000}, DType::f32, 0.1);
  CHECK(sum(t, x).item() == Approx(100000.0015).epsilon(1e-7));
  CHECK(sum(t, x.view({1000, 1000}), 0).to_vector()[999] == Approx(100.0000015).epsilon(1e-7));
}

TEST_CASE("a plan sums repeated rows in order and leaves the others alone", "[isa]") {
  for (const int64_t rows : {1, 7, 300, 70000}) {
    const int64_t n = 500, cols = 33;
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < n; ++i)
      ids.push_back(static_cast<int32_t>((i * i * 31 + i) % (i % 3 ? rows : 1 + rows / 2)));
    const Rows plan = on(test_device(), Rows(ids));
    const Tensor g = numbers({n, cols}, 1, DType::f32), start = numbers({rows, cols}, 2, DType::f32);
    const std::vector<double> values = g.to_vector();
    const auto add = [](double& sum, double x) { sum = static_cast<double>(static_cast<float>(sum + x)); };  // in f32
    for (const double beta : {0.0, 1.0}) {
      const Tensor out = start.clone();
      if (beta == 0) out.copy_from(full({rows, cols}, DType::f32, std::nan("")));
      std::vector<double> expected(static_cast<size_t>(rows * cols));
      if (beta != 0) expected = start.to_vector();
      for (int64_t i = 0; i < n; ++i)
        for (int64_t c = 0; c < cols; ++c)
          add(expected[static_cast<size_t>(ids[static_cast<size_t>(i)] * cols + c)],
              values[static_cast<size_t>(i * cols + c)]);
      run(Context::standard(), out, [&](auto k) {
        if (beta == 0) k->fill(out.numel(), 0, k(out));
        k->sum_rows({.count = plan.distinct().size(),
                     .cols = cols,
                     .starts = k(plan.starts()),
                     .order = k(plan.order()),
                     .x = k(g),
                     .to = k(plan.distinct()),
                     .out = k(out),
                     .beta = beta});
      });
      CHECK(out.to_vector() == expected);
    }
  }
}

TEST_CASE("beta = 0 never reads the destination", "[isa]") {
  // Gradients land in memory full of NaN and must come out finite: every operation, every sample.
  for_all_samples([](const Sample& sample) {
    const std::vector<Tensor> inputs = inputs_on(test_device(), sample);
    for (const Tensor& t : inputs) {
      if (!t.requires_grad()) continue;
      t.grad_target().tensor.copy_from(full(t.shape(), t.dtype(), std::nan("")));
      t.clear_grad();
    }
    Tape tape;
    tape.backward(sum(tape, sample.run(tape, inputs)));
    for (const Tensor& t : inputs) {
      if (t.requires_grad()) {
        REQUIRE(t.grad());
        CHECK(all_finite(t.grad()));
      }
    }
  });
}
