// The matrix products for AMX (engine/cpu/gemm/tiles.h) on an emulated tile unit, and against it where there is AMX.
#include <algorithm>
#include <array>
#include <cfloat>

#include "engine/backend.h"
#include "engine/context.h"
#include "engine/cpu/backend.h"
#include "engine/cpu/memory/allocator.h"
#include "tests/engine/emulated_tiles.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

using Gemm = void (*)(const GemmCall<float>&);
using Matrix = std::vector<float>;

struct Mode {
  const char* name;
  MatmulPrecision precision;
  int parts;
  Gemm product;

  void gemm(GemmCall<float> call, const Context& context = Context::standard()) const {
    const Context::Use use(context);
    call.precision = precision;
    product(call);
  }
};

std::vector<Mode> modes_of(Gemm product) {
  return {{"bf16", MatmulPrecision::bf16, 1, product},
          {"bf16x3", MatmulPrecision::bf16x3, 2, product},
          {"bf16x6", MatmulPrecision::bf16x6, 3, product}};
}

// The emulated modes, compiled for AVX-512 BF16 where this machine can run that.
std::vector<Mode> modes() {
#if defined(CRISP_HAVE_EMULATED_AVX512_BF16)
  if (*cpu_bf16_unit()) return modes_of(cpu_emulated_avx512_bf16::gemm_tiles);
#endif
  return modes_of(cpu_emulated::gemm_tiles);
}

size_t size(int64_t rows, int64_t cols) { return static_cast<size_t>(rows * cols); }
size_t index(int64_t i) { return static_cast<size_t>(i); }

Matrix normal(int64_t rows, int64_t cols, uint64_t seed) {
  const auto values = numbers({rows * cols}, seed, DType::f32).to_vector();
  return {values.begin(), values.end()};
}

// Whole numbers from -4 to 4: their products and sums are exact in every mode.
Matrix whole(int64_t rows, int64_t cols, uint64_t seed) {
  Matrix x = normal(rows, cols, seed);
  for (float& v : x) v = std::round(std::fmin(std::fmax(2 * v, -4.0f), 4.0f));
  return x;
}

// A product of owned operands.
struct Problem {
  int64_t m, n, k;
  bool trans_a = false, trans_b = false;
  Matrix a{}, b{}, c{}, bias{}, gelu{};
  double beta = 0, sum_squares = -1;

  GemmCall<float> call() {
    return {.trans_a = trans_a,
            .trans_b = trans_b,
            .m = m,
            .n = n,
            .k = k,
            .a = a.data(),
            .b = b.data(),
            .c = c.data(),
            .beta = beta,
            .bias = bias.empty() ? nullptr : bias.data(),
            .gelu_out = gelu.empty() ? nullptr : gelu.data(),
            .sum_squares = &sum_squares};
  }
  float left(int64_t i, int64_t p) const { return a[index(trans_a ? p * m + i : i * k + p)]; }
  float right(int64_t p, int64_t j) const { return b[index(trans_b ? j * k + p : p * n + j)]; }
  template <class T>
  T product(int64_t i, int64_t j) const {
    T sum = 0;
    for (int64_t p = 0; p < k; ++p) sum += static_cast<T>(left(i, p)) * static_cast<T>(right(p, j));
    return sum;
  }
  std::vector<double> expected() const {
    std::vector<double> all;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) all.push_back(product<double>(i, j));
    return all;
  }
};

Problem random_problem(int64_t m, int64_t n, int64_t k, uint64_t seed) {
  return {.m = m, .n = n, .k = k, .a = normal(m, k, seed), .b = normal(k, n, seed + 1), .c = Matrix(size(m, n))};
}

std::vector<double> run(const Mode& mode, Problem& p) {
  mode.gemm(p.call());
  return {p.c.begin(), p.c.end()};
}

// One NaN is as good as another: its sign and payload hang on the order in which the compiler names operands.
template <class T>
bool equal_bits(T x, T y) {
  return (std::isnan(x) && std::isnan(y)) || std::memcmp(&x, &y, sizeof x) == 0;
}
bool equal_bits(const Matrix& x, const Matrix& y) {
  return std::equal(x.begin(), x.end(), y.begin(), y.end(), equal_bits<float>);
}

// Everything that GemmCall asks for, on whole numbers, so that c is known exactly.
void check_exactly(const Mode& mode, int64_t m, int64_t n, int64_t k, int options) {
  Problem p{.m = m, .n = n, .k = k, .a = whole(m, k, 1), .b = whole(k, n, 2), .c = whole(m, n, 3)};
  p.trans_a = options & 1;
  p.trans_b = options & 2;
  p.beta = options & 4 ? 1 : 0;
  const bool bias = !p.beta && (options & 8), gelu = !p.beta && (options & 16);
  INFO(mode.name << " " << m << " " << n << " " << k << " options " << options);
  if (bias) p.bias = normal(1, n, 4);
  if (gelu) p.gelu.assign(size(m, n), std::nanf(""));
  const Matrix before = p.c;
  if (p.beta == 0) p.c.assign(size(m, n), std::nanf(""));  // must not be read
  GemmCall<float> call = p.call();
  if (options & 32) call.sum_squares = nullptr;
  mode.gemm(call);
  double squares = 0;
  bool exact = true;
  double gelu_error = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const size_t at = index(i * n + j);
      float expected = static_cast<float>(p.product<double>(i, j)) + (p.beta ? before[at] : 0.0f);
      if (bias) expected += p.bias[index(j)];
      exact = exact && p.c[at] == expected;
      squares += static_cast<double>(expected) * static_cast<double>(expected);
      if (gelu) {
        const double x = expected, y = 0.5 * x * std::erfc(-x / std::sqrt(2.0));
        gelu_error = std::fmax(gelu_error, std::fabs(p.gelu[at] - y) - 2e-6 * std::fabs(y));
      }
    }
  }
  CHECK(exact);
  CHECK(gelu_error <= FLT_MIN);
  CHECK(p.sum_squares == (options & 32 ? Approx(-1) : Approx(squares).epsilon(1e-13)));
}

}  // namespace

TEST_CASE("tile products: every size around the tiles' bounds, exactly") {
  const std::vector<int64_t> sizes{0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65};
  int options = 0;
  for (const Mode& mode : modes()) {
    for (const int64_t m : sizes)
      for (const int64_t n : sizes)
        for (const int64_t k : {int64_t{0}, int64_t{1}, sizes[index((m + n) % 12)], int64_t{70}})
          check_exactly(mode, m, n, k, options++ % 64);
  }
}

TEST_CASE("tile products: transposed operands, beta, bias and GELU in every combination, exactly") {
  for (const Mode& mode : modes()) {
    for (int options = 0; options < 64; ++options) {
      check_exactly(mode, 65, 47, 33, options);
      check_exactly(mode, 64, 96, 64, options);
      check_exactly(mode, 33, 34, 801, options);  // chunks of k: two of 416, or three of 288
    }
  }
}

TEST_CASE("tile products: strips of rows and groups of columns, exactly") {
  // More rows than are packed at a time; more columns than the cache share holds at this depth.
  for (const Mode& mode : modes()) {
    check_exactly(mode, 4100, 3, 5, 0);
    check_exactly(mode, 3, 1100, 770, 2);
    check_exactly(mode, 1, 600, 1600, 0);
  }
}

TEST_CASE("tile products: the error against f64 is the mode's") {
  const Mode f32{"f32", MatmulPrecision::f32, 0, backend(Device::cpu).f32.gemm};
  for (const int64_t k : {768, 3072}) {
    Problem p = random_problem(64, 96, k, 7);
    const auto expected = p.expected();
    const double sgemm = relative_error(run(f32, p), expected);
    std::printf("[error] k = %ld: f32 %.2e", static_cast<long>(k), sgemm);
    for (const Mode& mode : modes()) {
      const double error = relative_error(run(mode, p), expected);
      std::printf(", %s %.2e", mode.name, error);
      INFO(mode.name << ", k = " << k << ": " << error << "; f32: " << sgemm);
      // The lower bounds notice a mode that does more work than it should, or a test that measures nothing.
      if (mode.parts == 1) CHECK((error > 2.2e-3 && error < 2.5e-3));
      if (mode.parts == 2) CHECK((error > 3.5e-6 && error < 4.8e-6));
      if (mode.parts == 3) CHECK((error > 2e-8 && error < 3e-7 && error < sgemm));
    }
    std::printf("\n");
  }
}

TEST_CASE("tile products: the same bits at any thread count, and for a row whatever the others are") {
  const Context alone({.threads = 1});
  for (const Mode& mode : modes()) {
    // Wide; tall, so that threads share rows, too; several chunks.
    for (const auto& [m, n, k] : {std::array<int64_t, 3>{130, 200, 60}, {300, 40, 800}, {70, 75, 900}}) {
      Problem p = random_problem(m, n, k, 11);
      p.bias = normal(1, n, 12);
      p.gelu = Matrix(size(m, n));
      mode.gemm(p.call(), alone);
      for (const int threads : {2, 3, 4}) {
        Problem q = p;
        q.c.assign(size(m, n), 0);
        q.gelu.assign(size(m, n), 0);
        const Context context({.threads = threads});
        mode.gemm(q.call(), context);
        INFO(mode.name << ", " << threads << " threads");
        CHECK(equal_bits(p.c, q.c));
        CHECK(equal_bits(p.gelu, q.gelu));
        CHECK(equal_bits(p.sum_squares, q.sum_squares));
      }
      Problem row{.m = 1, .n = n, .k = k, .b = p.b, .c = Matrix(size(1, n)), .bias = p.bias};
      row.a.assign(p.a.begin() + (m - 1) * k, p.a.end());
      mode.gemm(row.call());
      CHECK(equal_bits(row.c, Matrix(p.c.end() - n, p.c.end())));
    }
  }
}

TEST_CASE("tile products: what is not finite stays so, and stays where it belongs") {
  std::vector<float> bad{HUGE_VALF, -HUGE_VALF};
  // NaNs that rounding could carry over into zero, and one that cutting off would turn into infinity.
  for (const uint32_t bits : {0x7fffffffu, 0xffffffffu, 0x7fc00000u, 0x7f800001u, 0xff80ffffu, 0x7fbfffffu}) {
    float nan;
    std::memcpy(&nan, &bits, 4);
    bad.push_back(nan);
  }
  for (const Mode& mode : modes()) {
    for (const float x : bad) {
      for (int options = 0; options < 8; ++options) {
        Problem p = random_problem(35, 37, 70, 21);
        p.trans_a = options & 1;
        p.trans_b = options & 2;
        // Zeros meet the value, too: 0 * infinity is NaN.
        for (size_t i = 0; i < p.a.size(); i += 5) p.a[i] = 0;
        for (size_t i = 0; i < p.b.size(); i += 7) p.b[i] = -0.0f;
        (options & 4 ? p.a : p.b)[1234] = x;
        mode.gemm(p.call());
        bool same = true;
        for (int64_t i = 0; i < p.m; ++i) {
          for (int64_t j = 0; j < p.n; ++j) {
            const float expected = p.product<float>(i, j), actual = p.c[index(i * p.n + j)];
            same = same && std::isfinite(expected) == std::isfinite(actual);
            if (std::isnan(x)) same = same && std::isnan(expected) == std::isnan(actual);
          }
        }
        INFO(mode.name << " " << x << " options " << options);
        CHECK(same);
        CHECK(!std::isfinite(p.sum_squares));
      }
    }
    // Both operands at once, every pair of special values.
    for (const float x : {HUGE_VALF, -HUGE_VALF, std::nanf(""), 0.0f, 1.0f, FLT_MIN / 8}) {
      for (const float y : {HUGE_VALF, -HUGE_VALF, std::nanf(""), 0.0f, -1.0f, FLT_MIN / 8}) {
        Problem p{.m = 1, .n = 1, .k = 1, .a = {x}, .b = {y}, .c = {0}};
        mode.gemm(p.call());
        INFO(mode.name << " " << x << " * " << y << " = " << p.c[0]);
        CHECK((std::isfinite(x * y) || !std::isfinite(p.c[0])));
        CHECK((!std::isfinite(x) || !std::isfinite(y) || std::isfinite(p.c[0])));
      }
    }
    // bias brings its own.
    Problem p = random_problem(3, 2, 4, 22);
    p.bias = {1, std::nanf("")};
    mode.gemm(p.call());
    CHECK(std::isfinite(p.c[2]));
    CHECK(std::isnan(p.c[3]));
  }
}

TEST_CASE("tile products: the largest numbers") {
  for (const Mode& mode : modes()) {
    const auto product = [&](std::vector<float> a, std::vector<float> b) {
      Problem p{.m = 1, .n = 1, .k = static_cast<int64_t>(a.size()), .a = a, .b = b, .c = {0}};
      mode.gemm(p.call());
      return p.c[0];
    };
    INFO(mode.name);
    CHECK(!std::isfinite(product({FLT_MAX, FLT_MAX}, {1, 1})));
    CHECK(!std::isfinite(product({1e30f}, {1e30f})));
    // A split does not overflow where f32 does not. One bf16 number does: the nearest to FLT_MAX is infinity.
    for (const float x : {FLT_MAX, -FLT_MAX, 3.4e38f}) {
      if (mode.parts == 1)
        CHECK(std::isinf(product({x}, {0.5f})));
      else
        CHECK(product({x}, {0.5f}) == Approx(x * 0.5f).epsilon(mode.parts == 2 ? 1e-5 : 1e-7));
    }
    // Three parts are the number itself; products with powers of two are exact.
    if (mode.parts == 3) {
      const Matrix x = normal(1, 64, 31);
      for (const float v : x) CHECK(product({v}, {0.25f}) == 0.25f * v);
      CHECK(product({FLT_MAX}, {0.5f}) == 0.5f * FLT_MAX);
      CHECK(product({1.5e-31f}, {8}) == 8 * 1.5e-31f);
    }
    // Ties of the rounding to bf16 go to even.
    if (mode.parts == 1) {
      CHECK(product({1 + 1.0f / 256}, {1}) == 1);
      CHECK(product({1 + 3.0f / 256}, {1}) == 1 + 4.0f / 256);
    }
  }
}

TEST_CASE("the emulated unit adds as TDPBF16PS does") {
  const Mode bf16 = modes()[0];
  const auto product = [&](std::vector<float> a, std::vector<float> b) {
    Problem p{.m = 1, .n = 1, .k = static_cast<int64_t>(a.size()), .a = a, .b = b, .c = {0}};
    bf16.gemm(p.call());
    return p.c[0];
  };
  const float big = 16777216;                            // 2^24: 1 is lost beside it
  CHECK(product({big, 1, -big, 1}, {1, 1, 1, 1}) == 2);  // even and odd elements apart
  CHECK(product({big, 0, 1, 0, -big}, {1, 1, 1, 1, 1}) == 0);
  CHECK(product({1, 0, big, 0, -big}, {1, 1, 1, 1, 1}) == 0);
  // Fused: the product is not rounded before the addition, and may leave f32's range.
  CHECK(product({-0x1.8p127f, 0, 0x1p127f}, {1, 0, 2}) == 0x1p126f);
  // A second instruction adds to the first one's sum.
  std::vector<float> a(33, 0), ones(33, 1);
  a[0] = big;
  a[2] = -big;
  a[32] = 1;
  CHECK(product(a, ones) == 1);
  // Subnormal operands and results are zero.
  CHECK(product({FLT_MIN / 2}, {big}) == 0);
  CHECK(product({std::nextafter(FLT_MIN, 0.0f)}, {big}) == 0);  // not rounded up
  CHECK(product({FLT_MIN}, {0.5f}) == 0);
  CHECK(product({FLT_MIN}, {-1}) == -FLT_MIN);
}

TEST_CASE("tile products: compiled with AVX-512 BF16 they have the bits of the plain build") {
#if defined(CRISP_HAVE_EMULATED_AVX512_BF16)
  if (!*cpu_bf16_unit()) CRISP_SKIP("this machine has no AVX-512 BF16");
  const auto plain = modes_of(cpu_emulated::gemm_tiles), wide = modes_of(cpu_emulated_avx512_bf16::gemm_tiles);
  for (size_t i = 0; i < plain.size(); ++i) {
    for (int options = 0; options < 4; ++options) {
      Problem p = random_problem(67, 50, 830, 41);
      p.trans_a = options & 1;
      p.trans_b = options & 2;
      p.a[100] = std::nanf("");
      p.b[200] = HUGE_VALF;
      p.a[300] = -FLT_MAX;
      p.a[400] = FLT_MIN / 2;
      p.b[400] = -std::nextafter(FLT_MIN, 0.0f);
      Problem q = p;
      plain[i].gemm(p.call());
      wide[i].gemm(q.call());
      CHECK(equal_bits(p.c, q.c));
    }
  }
#else
  CRISP_SKIP("this build has no AVX-512 BF16");
#endif
}

TEST_CASE("AMX has the bits of the emulated unit") {
  if (!amx_usable()) CRISP_SKIP("this machine has no AMX");
  const auto real = modes_of(backend(Device::cpu).f32.gemm), emulated = modes();
  // Ragged, in several chunks; and whole blocks in one chunk, whose sums go past the caches where their rows are
  // aligned and nothing is added.
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{99, 130, 1000}, {96, 128, 300}}) {
    for (size_t i = 0; i < emulated.size(); ++i) {
      for (int options = 0; options < 16; ++options) {
        Problem p = random_problem(m, n, k, 51);
        p.trans_a = options & 1;
        p.trans_b = options & 2;
        p.beta = options & 4 ? 1 : 0;
        p.a[0] = 1e-39f;
        p.b[0] = -FLT_MAX;
        p.c = normal(m, n, 53);
        Problem q = p;
        std::vector<float, CachedAlloc<float>> memory(p.c.size() + 16);
        REQUIRE(reinterpret_cast<uintptr_t>(memory.data()) % 64 == 0);
        float* const c = memory.data() + (options & 8 ? 1 : 0);
        std::copy(p.c.begin(), p.c.end(), c);
        GemmCall<float> call = p.call();
        call.c = c;
        real[i].gemm(call);
        emulated[i].gemm(q.call());
        INFO(emulated[i].name << ", " << m << " x " << n << " x " << k << ", options " << options);
        CHECK(equal_bits(Matrix(c, c + p.c.size()), q.c));
        CHECK(equal_bits(p.sum_squares, q.sum_squares));
      }
    }
  }
}
