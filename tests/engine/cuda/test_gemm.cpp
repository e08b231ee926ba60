// Matrix products and sums of squares of the CUDA backend against the CPU's in f64.
#include <fmt/format.h>

#include <limits>
#include <tuple>

#include "tests/engine/cuda/device.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

struct Size {
  int64_t m, n, k;
};
const std::vector<Size> sizes{{1, 1, 1},     {2, 7, 33},   {33, 2, 7},   {7, 33, 2},  {64, 64, 64},
                              {100, 33, 64}, {33, 100, 1}, {1, 64, 100}, {64, 1, 33}, {2, 100, 7},
                              {1, 1, 100},   {5, 7, 0},    {0, 5, 3},    {5, 0, 3},   {0, 0, 0}};

// How matrices lie in memory: `gap` elements behind each row, `shift` before the first one, `between` behind each
// matrix of a batch.
struct Lie {
  int64_t gap = 0, shift = 0, between = 0;
};

template <class T>
constexpr double rounding = std::is_same_v<T, double> ? 1e-14 : 1e-6;

struct Result {
  std::vector<double> c, gelu, sums;
  double squares = 0;
};

// A product whose operands are the same numbers in every type.
struct Product {
  Size size;
  bool trans_a = false, trans_b = false;
  Lie lie = {};
  int64_t batch = 1;
  bool one_a = false, one_b = false;  // for all of the batch
  double beta = 0;
  bool with_bias = false, with_gelu = false, with_squares = false, with_sums = false;
  MatmulPrecision precision = MatmulPrecision::f32;

  static constexpr double untouched = 0.5;

  // A stored matrix.
  struct Place {
    int64_t rows, cols, leading, stride, elements;
  };
  Place place(int64_t rows, int64_t cols, bool is_one = false) const {
    const int64_t leading = cols + lie.gap, stride = is_one ? 0 : rows * leading + lie.between;
    return {rows, cols, leading, stride, lie.shift + rows * leading + (batch > 0 ? (batch - 1) * stride : 0)};
  }
  Place a() const { return place(trans_a ? size.k : size.m, trans_a ? size.m : size.k, one_a); }
  Place b() const { return place(trans_b ? size.n : size.k, trans_b ? size.k : size.n, one_b); }
  Place c() const { return place(size.m, size.n); }

  // Of what is in no matrix, and of c where it must not be read.
  std::vector<double> c_before(double unread) const {
    const Place p = c();
    std::vector<double> values = numbers({p.elements}, 3, DType::f32).to_vector();
    std::vector<bool> is_cell(values.size());
    for (int64_t i = 0; i < batch; ++i)
      for (int64_t r = 0; r < p.rows; ++r)
        for (int64_t col = 0; col < p.cols; ++col)
          is_cell[static_cast<size_t>(lie.shift + i * p.stride + r * p.leading + col)] = true;
    for (size_t i = 0; i < values.size(); ++i)
      if (!is_cell[i] || beta == 0) values[i] = is_cell[i] ? unread : untouched;
    return values;
  }

  template <class T>
  Result run(Device device) const {
    const DType type = dtype_of<T>;
    const auto there = [&](const Tensor& x) { return x.to(type).clone().to(device); };
    const Tensor ta = there(numbers({a().elements}, 1, DType::f32)), tb = there(numbers({b().elements}, 2, DType::f32)),
                 tbias = there(numbers({lie.shift + size.n}, 4, DType::f32)),
                 tc = there(vec(c_before(std::numeric_limits<double>::quiet_NaN()))),
                 tgelu = there(vec(std::vector<double>(tc.numel(), untouched))),
                 tsums = there(beta == 0 ? full({size.m}, DType::f64, std::numeric_limits<double>::quiet_NaN())
                                         : numbers({size.m}, 5, DType::f32)),
                 tsquares = Tensor::zeros({1}, DType::f64, device);
    GemmCall<T> g{.precision = precision,
                  .trans_a = trans_a,
                  .trans_b = trans_b,
                  .batch = batch,
                  .m = size.m,
                  .n = size.n,
                  .k = size.k,
                  .a = ta.data<T>() + lie.shift,
                  .stride_a = a().stride,
                  .b = tb.data<T>() + lie.shift,
                  .stride_b = b().stride,
                  .c = tc.data<T>() + lie.shift,
                  .stride_c = c().stride,
                  .beta = beta};
    if (lie.gap > 0) {
      g.lda = a().leading;
      g.ldb = b().leading;
      g.ldc = c().leading;
    }
    if (with_bias) g.bias = tbias.data<T>() + lie.shift;
    if (with_gelu) g.gelu_out = tgelu.data<T>() + lie.shift;
    if (with_squares) g.sum_squares = tsquares.data<double>();
    if (with_sums) {
      g.a_sums = tsums.data<T>();
      g.beta_sums = beta;
    }
    const Context::Use use(Context::standard());
    kernels<T>(device).gemm(g);
    return {tc.to_vector(), tgelu.to_vector(), with_sums ? tsums.to_vector() : std::vector<double>(),
            tsquares.to_vector()[0]};
  }

  std::string str() const {
    return fmt::format("{} x {} x {}{}{}, batch {}{}{}, gap {}, shift {}, beta {}{}{}{}{}, {}", size.m, size.n, size.k,
                       trans_a ? ", a transposed" : "", trans_b ? ", b transposed" : "", batch, one_a ? ", one a" : "",
                       one_b ? ", one b" : "", lie.gap, lie.shift, beta, with_bias ? ", bias" : "",
                       with_gelu ? ", gelu" : "", with_squares ? ", squares" : "", with_sums ? ", sums of a" : "",
                       name_of(precision));
  }
};

// What lies between the rows compares equal, too.
template <class T>
void check(const Product& p, double tolerance = rounding<T>) {
  INFO(p.str() << ", " << name_of(dtype_of<T>));
  const Result got = p.run<T>(Device::cuda);
  Product exact = p;
  exact.precision = MatmulPrecision::f32;
  const Result want = exact.run<double>(Device::cpu);
  CHECK(relative_error(got.c, want.c) <= tolerance);
  // GELU of numbers far below 0 underflows earlier in f32, hence both against the size of both.
  std::vector<double> got_both = got.c, want_both = want.c;
  got_both.insert(got_both.end(), got.gelu.begin(), got.gelu.end());
  want_both.insert(want_both.end(), want.gelu.begin(), want.gelu.end());
  CHECK(relative_error(got_both, want_both) <= tolerance);
  CHECK(relative_error({got.squares}, {want.squares}) <= 4 * tolerance);
  CHECK(relative_error(got.sums, want.sums) <= tolerance);
  const std::vector<double> before = p.c_before(0);
  for (size_t i = 0; i < before.size(); ++i)
    if (before[i] == Product::untouched && (got.c[i] != before[i] || got.gelu[i] != before[i]))
      FAIL_CHECK("element " << i << " is between the rows and was written");
  const Result again = p.run<T>(Device::cuda);
  CHECK((got.c == again.c && got.gelu == again.gelu && got.squares == again.squares && got.sums == again.sums));
}

void check_types(const Product& p) {
  check<float>(p);
  check<double>(p);
}

template <class F>
void for_transpositions(F f) {
  for (const bool trans_a : {false, true})
    for (const bool trans_b : {false, true}) f(trans_a, trans_b);
}

// Many products: nothing hides the device's memory in between, which takes most of the time. test_samples.cpp does.
struct ManyProducts : EmulatedGpu {
  ManyProducts() { emulator::settings().hide_from_host = false; }
};

// How many launches a call takes.
uint64_t launches(const Product& p) {
  const auto before = emulator::counters().launches;
  p.run<float>(Device::cuda);
  return emulator::counters().launches - before;
}

}  // namespace

TEST_CASE("cuda: products equal the CPU's in f64, whatever is transposed and however it lies") {
  const ManyProducts gpu;
  for (const Size& size : sizes)
    for (const Lie& lie : {Lie{}, Lie{3, 1}, Lie{4, 4}})
      for_transpositions([&](bool trans_a, bool trans_b) {
        Product p{size, trans_a, trans_b, lie};
        check_types(p);
        p.beta = 1;
        check_types(p);
      });
}

TEST_CASE("cuda: products with bias, GELU and sum of squares") {
  for (const bool epilogues : {true, false}) {
    const ManyProducts gpu;
    emulator::settings().epilogues = epilogues;
    for (Size size : sizes) {
      if (!epilogues) size.m += 3;  // others than those whose algorithms are known
      for (const Lie& lie : {Lie{}, Lie{3, 1}, Lie{4, 4}}) {
        Product p{size, false, true, lie};
        p.with_bias = true;
        check_types(p);
        p.with_gelu = true;
        check_types(p);
        p.with_bias = false;
        check_types(p);
        p.with_gelu = false;
        if (lie.gap > 0) continue;
        p.with_squares = true;
        check_types(p);
        p.beta = 1;
        check_types(p);
      }
    }
  }
}

TEST_CASE("cuda: products with the sums of an operand") {
  for (const bool epilogues : {true, false}) {
    const ManyProducts gpu;
    emulator::settings().epilogues = epilogues;
    for (Size size : sizes) {
      if (!epilogues) size.m += 3;
      for (const Lie& lie : {Lie{}, Lie{3, 1}, Lie{4, 4}})
        for (const double beta : {0.0, 1.0}) {
          Product p{size, true, false, lie};
          p.beta = beta;
          p.with_sums = true;
          check_types(p);
        }
    }
  }
}

TEST_CASE("cuda: batches of products") {
  const ManyProducts gpu;
  for (const Size& size : {Size{7, 5, 3}, Size{8, 12, 16}, Size{3, 4, 0}})
    for (const Lie& lie : {Lie{}, Lie{0, 0, 5}, Lie{3, 1, 2}, Lie{4, 4, 8}})
      for (const int64_t batch : {0, 3})
        for (const auto& [one_a, one_b] : {std::pair{false, false}, {true, false}, {false, true}})
          for_transpositions([&, &one = one_a, &other = one_b](bool trans_a, bool trans_b) {
            Product p{size, trans_a, trans_b, lie, batch, one, other};
            check<float>(p);
            p.beta = 1;
            p.with_squares = lie.gap == 0;
            check<float>(p);
            p.beta = 0;
            p.with_bias = p.with_gelu = true;
            check_types(p);
          });
  // More than one call takes.
  Product many{{1, 2, 1}, false, false, {}, 70000};
  many.with_bias = many.with_squares = true;
  check<float>(many);
}

TEST_CASE("cuda: tf32 and bf16 products round their operands") {
  const EmulatedGpu gpu;
  for (const auto& [precision, unit] : {std::pair{MatmulPrecision::tf32, 0x1p-11}, {MatmulPrecision::bf16, 0x1p-8}}) {
    Product p{{33, 64, 100}, false, true};
    p.precision = precision;
    p.with_bias = p.with_gelu = true;
    check<float>(p, 2 * unit);
    CHECK(supports(Device::cuda, precision));
    const Result rounded = p.run<float>(Device::cuda);
    CHECK(relative_error(rounded.c, p.run<double>(Device::cpu).c) > unit / 8);
    // f64 products are f64 in every mode.
    check<double>(p);
  }
  for (const MatmulPrecision precision : {MatmulPrecision::bf16x3, MatmulPrecision::bf16x6}) {
    Product p{{1, 1, 1}};
    p.precision = precision;
    CHECK(!supports(Device::cuda, precision));
    CHECK(contains(error_of([&] { p.run<float>(Device::cuda); }), "has no " + std::string(name_of(precision))));
  }
}

TEST_CASE("cuda: an algorithm is chosen for numbers of rows in steps of 64") {
  const ManyProducts gpu;
  const auto choices = [](const Product& p) {
    const auto before = emulator::counters().choices;
    check_types(p);
    return emulator::counters().choices - before;
  };
  for (const bool trans_a : {false, true}) {  // the rows are m, or k
    const auto of = [&](int64_t rows, int64_t other) {
      return Product{trans_a ? Size{36, other, rows} : Size{rows, other, 36}, trans_a};
    };
    CHECK(choices(of(100, 20)) == 2);  // f32 and f64
    CHECK(choices(of(65, 20)) == 0);
    CHECK(choices(of(128, 20)) == 0);
    CHECK(choices(of(129, 20)) == 2);
    CHECK(choices(of(3, 20)) == 2);
    CHECK(choices(of(4, 20)) == 0);
    // Where it takes no other numbers, each has its own.
    emulator::settings().other_sizes = false;
    CHECK(choices(of(70, 24)) == 4);
    CHECK(choices(of(71, 24)) == 2);
    CHECK(choices(of(71, 24)) == 0);
    emulator::settings().other_sizes = true;
  }
}

TEST_CASE("cuda: products take few launches") {
  const EmulatedGpu gpu;
  Product p{{40, 60, 20}};
  const auto with = [&](bool bias, bool gelu, bool squares) {
    p.with_bias = bias;
    p.with_gelu = gelu;
    p.with_squares = squares;
    return launches(p);
  };
  CHECK(with(false, false, false) == 1);
  CHECK(with(true, false, false) == 1);
  CHECK(with(true, true, false) == 2);
  CHECK(with(false, false, true) == 3);
  Product gradient{{40, 60, 20}, true};
  gradient.with_sums = true;
  CHECK(launches(gradient) == 1);
  gradient.beta = 1;
  CHECK(launches(gradient) == 2);
  p.batch = 4;
  CHECK(with(true, true, false) == 2);
  CHECK(with(false, false, true) == 3);
  p.batch = 1;
  p.size.m = 1;
  CHECK(with(false, false, true) == 3);
  p.size.n = 61;
  emulator::settings().epilogues = false;
  CHECK(with(true, false, false) == 2);
  CHECK(with(true, true, false) == 2);
  p.size.k = 0;
  CHECK(with(true, true, false) == 1);
  CHECK(with(false, false, false) == 1);
  p.beta = 1;
  CHECK(with(false, false, false) == 0);
  p.size.m = 0;
  CHECK(with(false, false, false) == 0);
  // The host waits for nothing but the copies of the test.
  p = {{40, 60, 20}};
  const Tensor x = numbers({40, 60}, 1, DType::f32).to(Device::cuda),
               out = Tensor::zeros({1}, DType::f64, Device::cuda);
  const auto before = emulator::counters().waits;
  const Context::Use use(Context::standard());
  GemmCall<float> g{.m = 40, .n = 40, .k = 60, .a = x.data<float>(), .b = x.data<float>(), .c = x.data<float>()};
  g.trans_b = true;
  const Tensor c = Tensor::zeros({40, 40}, DType::f32, Device::cuda);
  g.c = c.data<float>();
  g.sum_squares = out.data<double>();
  kernels<float>(Device::cuda).gemm(g);
  CHECK(emulator::counters().waits == before);
}

TEST_CASE("cuda: sums of squares, whatever rows of zeros lie between the others") {
  const EmulatedGpu gpu;
  const Context::Use use(Context::standard());
  const auto sum = [&]<class T>(Device device, const Tensor& x, T) {
    const Tensor out = Tensor::zeros({1}, DType::f64, device), there = x.to(dtype_of<T>).clone().to(device);
    const SquaresOf<T> all{x.dim(0), x.dim(1), there.template data<T>(), out.data<double>()};
    kernels<T>(device).sum_squares(1, &all);
    return out.to_vector()[0];
  };
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1},
                                   {1, 5000},
                                   {7, 33},
                                   {40, 2049},
                                   {2500, 3},
                                   {0, 4},
                                   {4, 0},
                                   {1, 2048},
                                   {1024, 1},
                                   {1025, 1}}) {
    const Tensor x = numbers({rows, cols}, 5, DType::f32);
    INFO(rows << " x " << cols);
    const double want = sum(Device::cpu, x, double());
    const double f32 = sum(Device::cuda, x, float()), f64 = sum(Device::cuda, x, double());
    CHECK(f64 == Approx(want).epsilon(1e-14));
    CHECK(f32 == f64);  // the elements are f32 numbers
    if (cols == 0) continue;
    // Rows of zeros before, between and behind.
    std::vector<double> values = x.to_vector(), spread(static_cast<size_t>(cols));
    for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
      const auto row = values.begin() + static_cast<ptrdiff_t>(r) * cols;
      spread.insert(spread.end(), row, row + cols);
      spread.resize(spread.size() + r % 3 * static_cast<size_t>(cols));
    }
    const Tensor wide = vec(spread).view({static_cast<int64_t>(spread.size()) / cols, cols});
    CHECK(sum(Device::cuda, wide, float()) == f64);
    CHECK(sum(Device::cuda, wide, double()) == f64);
  }
  for (const double bad : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    const double got = sum(Device::cuda, vec({1, 2, bad, 0, 3}).view({5, 1}), float());
    CHECK((std::isnan(bad) ? std::isnan(got) : got == bad));
  }
}
