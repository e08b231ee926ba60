// Forward values of the plain operations against loops written here, in f64 and in f32.
#include <algorithm>
#include <limits>

#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

// Applies f to the elements of x as they are after rounding to x's dtype.
template <class F>
std::vector<double> each(const Tensor& x, F f) {
  std::vector<double> values = x.to_vector();
  for (double& v : values) v = f(v);
  return values;
}

// Runs the check in both compute types; the tolerance is the relative error in the L2 norm.
template <class F>
void in_both_types(F&& check) {
  SECTION("f64") { check(DType::f64, 1e-15); }
  SECTION("f32") { check(DType::f32, 2e-7); }
}

}  // namespace

TEST_CASE("elementwise functions", "[isa]") {
  in_both_types([](DType type, double tolerance) {
    Tape t(Tape::Mode::inference);
    const Tensor x = numbers({7, 613}, 1, type, 0, 2), positive = numbers({4000}, 2, type, 4, 0.7);
    const auto close = [&](const Tensor& y, const std::vector<double>& expected) {
      CHECK(y.dtype() == type);
      CHECK(relative_error(y.to_vector(), expected) < tolerance);
    };
    close(exp(t, x), each(x, [](double v) { return std::exp(v); }));
    close(log(t, positive), each(positive, [](double v) { return std::log(v); }));
    close(sqrt(t, positive), each(positive, [](double v) { return std::sqrt(v); }));
    close(tanh(t, x), each(x, [](double v) { return std::tanh(v); }));
    close(sigmoid(t, x), each(x, [](double v) { return 1 / (1 + std::exp(-v)); }));
    close(relu(t, x), each(x, [](double v) { return std::max(v, 0.0); }));
    close(erf(t, x), each(x, [](double v) { return std::erf(v); }));
    close(gelu(t, x), each(x, [](double v) { return v * 0.5 * std::erfc(-v / std::sqrt(2.0)); }));
    close(scale(t, x, -2.5), each(x, [](double v) { return -2.5 * v; }));
  });
}

TEST_CASE("elementwise functions at the edges") {
  Tape t(Tape::Mode::inference);
  for (const DType type : {DType::f64, DType::f32}) {
    const Tensor x = vec({inf, -inf, std::nan(""), 0, -200, 200}, type);
    const auto s = sigmoid(t, x).to_vector();
    CHECK(s[0] == 1);
    CHECK(s[1] == 0);
    CHECK(std::isnan(s[2]));
    CHECK(s[3] == 0.5);
    CHECK(s[5] == 1);
    const auto e = exp(t, x).to_vector();
    CHECK(e[0] == inf);
    CHECK(e[1] == 0);
    CHECK(std::isnan(e[2]));
    CHECK(e[3] == 1);
    CHECK(std::isnan(relu(t, x).to_vector()[2]));
    CHECK(std::isnan(log(t, vec({-1}, type)).item()));
    CHECK(log(t, vec({0}, type)).item() == -inf);
    CHECK(gelu(t, x).to_vector()[5] == 200);
    CHECK(gelu(t, x).to_vector()[4] == 0);
  }
}

TEST_CASE("broadcasting follows NumPy's rule", "[isa]") {
  in_both_types([](DType type, double tolerance) {
    const Shape shapes[][2] = {{{3, 5}, {3, 5}},
                               {{3, 5}, {5}},
                               {{3, 5}, {3, 1}},
                               {{5}, {2, 3, 5}},
                               {{2, 1, 4, 1}, {3, 1, 6}},
                               {{2, 3}, {}},
                               {{1}, {4, 1}},
                               {{2, 2, 1, 2, 1, 2}, {2, 1}},
                               {{0, 5}, {5}},
                               {{40, 3}, {40, 1}},
                               {{}, {}},
                               {{2, 3, 7000}, {3, 1}},
                               {{5, 1}, {1, 6000}}};
    for (const auto& pair : shapes) {
      const Shape &sa = pair[0], &sb = pair[1];
      INFO(sa.str() << " and " << sb.str());
      Tape t(Tape::Mode::inference);
      const Tensor a = numbers(sa, 1, type), b = numbers(sb, 2, type, 3, 0.5);
      const Shape out = broadcast(sa, sb, "test");
      const auto va = a.to_vector(), vb = b.to_vector();
      // The flat index in an operand of the output's flat index i.
      const auto at = [&](const Shape& s, int64_t i) {
        int64_t index = 0, step = 1;
        for (int d = 1; d <= out.rank(); ++d) {
          const int64_t k = i % out[-d];
          i /= out[-d];
          if (d <= s.rank()) {
            if (s[-d] != 1) index += k * step;
            step *= s[-d];
          }
        }
        return static_cast<size_t>(index);
      };
      const auto expected = [&](auto f) {
        std::vector<double> v;
        for (int64_t i = 0; i < out.numel(); ++i) v.push_back(f(va[at(sa, i)], vb[at(sb, i)]));
        return v;
      };
      CHECK(add(t, a, b).shape() == out);
      CHECK(relative_error(add(t, a, b).to_vector(), expected([](double p, double q) { return p + q; })) < tolerance);
      CHECK(relative_error(sub(t, a, b).to_vector(), expected([](double p, double q) { return p - q; })) < tolerance);
      CHECK(relative_error(mul(t, a, b).to_vector(), expected([](double p, double q) { return p * q; })) < tolerance);
      CHECK(relative_error(div(t, a, b).to_vector(), expected([](double p, double q) { return p / q; })) < tolerance);
    }
  });
}

TEST_CASE("reductions over every axis", "[isa]") {
  in_both_types([](DType type, double tolerance) {
    const int64_t many = test_device() == Device::cpu ? 40000 : 4000;  // a row is a block's, slow on an emulated GPU
    for (const Shape& shape :
         {Shape{3, 4, 5}, Shape{1, 700, 3}, Shape{2, 3, 9000}, Shape{many, 1, 1}, Shape{0, 3, 2}}) {
      Tape t(Tape::Mode::inference);
      const Tensor x = numbers(shape, 1, type, 1, 1);
      const auto v = x.to_vector();
      long double exact = 0;  // a plain f64 sum of 40,000 numbers would be less exact than ours
      for (const double e : v) exact += e;
      const auto all = static_cast<double>(exact);
      CHECK(sum(t, x).item() == Approx(all).epsilon(tolerance));
      if (x.numel() > 0) CHECK(mean(t, x).item() == Approx(all / static_cast<double>(v.size())).epsilon(tolerance));
      for (int axis = 0; axis < 3; ++axis) {
        INFO(shape.str() << " axis " << axis);
        int64_t outer = 1, inner = 1;
        for (int i = 0; i < axis; ++i) outer *= shape[i];
        for (int i = axis + 1; i < 3; ++i) inner *= shape[i];
        const int64_t n = shape[axis];
        std::vector<double> sums, maxima;
        for (int64_t o = 0; o < outer; ++o)
          for (int64_t i = 0; i < inner; ++i) {
            long double s = 0;
            double m = -inf;
            for (int64_t k = 0; k < n; ++k) {
              s += v[static_cast<size_t>((o * n + k) * inner + i)];
              m = std::max(m, v[static_cast<size_t>((o * n + k) * inner + i)]);
            }
            sums.push_back(static_cast<double>(s));
            maxima.push_back(m);
          }
        CHECK(relative_error(sum(t, x, axis).to_vector(), sums) < tolerance);
        CHECK(relative_error(sum(t, x, axis - 3).to_vector(), sums) < tolerance);
        if (n == 0) continue;
        CHECK(max(t, x, axis).to_vector() == maxima);
        for (double& s : sums) s /= static_cast<double>(n);
        CHECK(relative_error(mean(t, x, axis).to_vector(), sums) < tolerance);
      }
    }
  });
}

TEST_CASE("reductions of nothing") {
  Tape t(Tape::Mode::inference);
  const Tensor none = zeros({0, 3}, DType::f32);
  CHECK(sum(t, none).item() == 0);
  CHECK(std::isnan(mean(t, none).item()));
  CHECK(sum(t, none, 0).to_vector() == std::vector<double>{0, 0, 0});
  CHECK(std::isnan(mean(t, none, 0).to_vector()[1]));
  CHECK(sum(t, none, 1).shape() == Shape{0});
}

TEST_CASE("moves") {
  Tape t(Tape::Mode::inference);
  std::vector<double> counting(24);
  for (size_t i = 0; i < counting.size(); ++i) counting[i] = static_cast<double>(i);
  const Tensor x = vec(counting).view({2, 3, 4});
  CHECK(slice(t, x, 1, 1, 1).to_vector() == std::vector<double>{4, 5, 6, 7, 16, 17, 18, 19});
  CHECK(slice(t, x, -1, 2, 2).to_vector() == std::vector<double>{2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23});
  CHECK(slice(t, x, 0, 2, 0).shape() == Shape{0, 3, 4});
  const Tensor y = transpose(t, slice(t, x, 0, 0, 1));
  CHECK(y.shape() == Shape{1, 4, 3});
  CHECK(y.to_vector() == std::vector<double>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11});
  const Tensor parts[] = {slice(t, x, 1, 0, 1), slice(t, x, 1, 1, 2)};
  CHECK(same_bits(concat(t, parts, 1), x));
  const Tensor flat = reshape(t, x, {24});
  CHECK(flat.raw() == x.raw());
  CHECK(flat.shape() == Shape{24});
  const Tensor rows = embedding(t, x.view({6, 4}), i32({5, 0, 5}).view({3, 1}));
  CHECK(rows.shape() == Shape{3, 1, 4});
  CHECK(rows.to_vector() == std::vector<double>{20, 21, 22, 23, 0, 1, 2, 3, 20, 21, 22, 23});
  // Tiles of the transposition: sizes around and beyond them.
  for (const auto& [r, c] : {std::pair<int64_t, int64_t>{1, 100}, {33, 31}, {64, 65}, {300, 70}}) {
    const Tensor m = numbers({2, r, c}, 5, DType::f32), mt = transpose(t, m);
    CHECK(same_bits(transpose(t, mt), m));
    CHECK(mt.to_vector()[static_cast<size_t>((r * c) + (c - 1) * r + (r - 1))] == m.to_vector().back());
  }
}

TEST_CASE("matrix products", "[isa]") {
  in_both_types([](DType type, double tolerance) {
    for (const auto& [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1},
                                  {3, 5, 7},
                                  {65, 33, 129},
                                  {300, 400, 50},
                                  {2, 3, 900},
                                  {0, 3, 4},
                                  {3, 4, 0}}) {
      for (int flags = 0; flags < 4; ++flags) {
        const bool ta = flags & 1, tb = flags & 2;
        INFO(m << " " << n << " " << k << (ta ? " a'" : " a") << (tb ? " b'" : " b"));
        Tape t(Tape::Mode::inference);
        const Tensor a = numbers(ta ? Shape{2, k, m} : Shape{2, m, k}, 1, type);
        const Tensor b = numbers(tb ? Shape{2, n, k} : Shape{2, k, n}, 2, type);
        const auto va = a.to_vector(), vb = b.to_vector();
        std::vector<double> expected;
        for (int64_t s = 0; s < 2; ++s)
          for (int64_t i = 0; i < m; ++i)
            for (int64_t j = 0; j < n; ++j) {
              double dot = 0;
              for (int64_t l = 0; l < k; ++l)
                dot += va[static_cast<size_t>(s * m * k + (ta ? l * m + i : i * k + l))] *
                       vb[static_cast<size_t>(s * n * k + (tb ? j * k + l : l * n + j))];
              expected.push_back(dot);
            }
        const Tensor c = matmul(t, a, b, ta, tb);
        CHECK(c.shape() == Shape{2, m, n});
        CHECK(relative_error(c.to_vector(), expected) < 10 * tolerance);
      }
    }
  });
}

TEST_CASE("softmax and its logarithm", "[isa]") {
  in_both_types([](DType type, double tolerance) {
    for (const Shape& shape : {Shape{5, 7}, Shape{3, 2, 1}, Shape{2, 5000}, Shape{700, 40}, Shape{0, 4}, Shape{3, 0}}) {
      for (const double mean : {0.0, 5000.0}) {
        Tape t(Tape::Mode::inference);
        const Tensor x = numbers(shape, 1, type, mean, 3);
        const auto v = x.to_vector();
        std::vector<double> expected, logs;
        const int64_t cols = shape.last();
        for (int64_t r = 0; cols > 0 && r < shape.rows(); ++r) {
          const double* row = v.data() + r * cols;
          const double m = *std::max_element(row, row + cols);
          long double s = 0;
          for (int64_t i = 0; i < cols; ++i) s += std::exp(static_cast<long double>(row[i] - m));
          for (int64_t i = 0; i < cols; ++i) {
            expected.push_back(static_cast<double>(std::exp(static_cast<long double>(row[i] - m)) / s));
            logs.push_back(static_cast<double>(row[i] - m - std::log(s)));
          }
        }
        // A sum of n numbers in f64, in whatever order, is off by a random walk of n roundings.
        const double of_sum = 1.1e-16 * std::sqrt(static_cast<double>(cols));
        INFO(shape.str());
        CHECK(relative_error(softmax(t, x).to_vector(), expected) < tolerance + of_sum);
        CHECK(relative_error(log_softmax(t, x).to_vector(), logs) < tolerance + of_sum);
      }
    }
  });
}

TEST_CASE("softmax of infinities and NaN as IEEE arithmetic has them") {
  Tape t(Tape::Mode::inference);
  for (const DType type : {DType::f64, DType::f32}) {
    CHECK(softmax(t, vec({-inf, 0, 0}, type)).to_vector() == std::vector<double>{0, 0.5, 0.5});
    for (const double v : softmax(t, vec({-inf, -inf}, type)).to_vector()) CHECK(std::isnan(v));
    for (const double v : softmax(t, vec({1, std::nan(""), 2}, type)).to_vector()) CHECK(std::isnan(v));
    for (const double v : softmax(t, vec({std::nan(""), 1, 2}, type)).to_vector()) CHECK(std::isnan(v));
    CHECK(log_softmax(t, vec({-inf, 0}, type)).to_vector() == std::vector<double>{-inf, 0});
  }
}

TEST_CASE("cross-entropy", "[isa]") {
  in_both_types([](DType type, double tolerance) {
    Tape t(Tape::Mode::inference);
    const Tensor x = numbers({300, 5}, 1, type, 0, 4);
    std::vector<int32_t> labels;
    for (int i = 0; i < 300; ++i) labels.push_back(i * 7 % 5);
    double loss = 0;
    const auto v = x.to_vector();
    for (size_t r = 0; r < 300; ++r) {
      double s = 0;
      for (size_t i = 0; i < 5; ++i) s += std::exp(v[r * 5 + i]);
      loss += std::log(s) - v[r * 5 + static_cast<size_t>(labels[r])];
    }
    CHECK(cross_entropy(t, x, i32(labels)).item() == Approx(loss / 300).epsilon(tolerance));
    // A probability that underflows still has a finite logarithm.
    CHECK(cross_entropy(t, vec({0, -5000}, type).view({1, 2}), i32({1})).item() == 5000);
  });
}

TEST_CASE("dropout keeps what its random numbers say", "[isa]") {
  in_both_types([](DType type, double tolerance) {
    Tape t(Tape::Mode::inference);
    const RandomKey key{.seed = 9, .stream = Stream::dropout, .step = 4, .site = 2};
    const Tensor x = numbers({10007}, 1, type, 5, 1);
    const Tensor y = dropout(t, x, {0.3, key});
    const auto v = x.to_vector(), w = y.to_vector();
    std::vector<double> expected;
    int kept = 0;
    for (size_t i = 0; i < v.size(); ++i) {
      const bool keep = keeps(random_word(key, i), 0.3);
      kept += keep;
      expected.push_back(keep ? v[i] / 0.7 : 0);
    }
    CHECK(relative_error(w, expected) < tolerance);
    CHECK(std::abs(kept - 7005) < 4 * 46);  // four standard deviations
    CHECK(dropout(t, x, {0, key}).same_as(x));
    CHECK(dropout(t, vec({inf, std::nan("")}, type), {0.999999, key}).to_vector() == std::vector<double>{0, 0});
  });
}
