// The matrix products behind linear() and matmul(), called through the kernel table: every mode that this machine has,
// against plain loops in f64.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <random>

#include "engine/backend.h"
#include "engine/cpu/backend.h"
#include "engine/cpu/memory/allocator.h"
#include "tests/engine/emulated_tiles.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

struct Size {
  int64_t m, n, k;
};

std::vector<float> random_values(int64_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = normal(generator);
  return values;
}

// One product with everything that GemmCall offers, and its own memory. T is float or double.
template <class T>
struct Product {
  Size size;
  bool trans_a, trans_b;
  MatmulPrecision precision = MatmulPrecision::f32;
  double beta = 0;
  bool with_bias = false, with_gelu = false;
  std::vector<T> a, b, c, bias, gelu;
  double squares = -1;

  Product(Size s, bool ta, bool tb, unsigned seed = 1) : size(s), trans_a(ta), trans_b(tb) {
    const auto fill = [&](std::vector<T>& to, int64_t n, unsigned offset) {
      const std::vector<float> values = random_values(n, seed + offset);
      to.assign(values.begin(), values.end());
    };
    fill(a, s.m * s.k, 0);
    fill(b, s.k * s.n, 1);
    fill(c, s.m * s.n, 2);
    fill(bias, s.n, 3);
    gelu.assign(c.size(), T(0));
  }
  GemmCall<T> call() {
    GemmCall<T> g{
        .precision = precision, .trans_a = trans_a, .trans_b = trans_b, .m = size.m, .n = size.n, .k = size.k};
    g.a = a.data();
    g.b = b.data();
    g.c = c.data();
    g.beta = beta;
    if (with_bias) g.bias = bias.data();
    if (with_gelu) g.gelu_out = gelu.data();
    g.sum_squares = &squares;
    return g;
  }
  // Runs with c `shift` elements behind a multiple of 64 bytes, because where c is written past the caches depends on
  // that. Nothing beside c may change.
  template <class F>
  void run(F gemm, size_t shift) {
    constexpr T untouched = T(12345);
    std::vector<T, CachedAlloc<T>> memory(c.size() + 16, untouched);
    REQUIRE(reinterpret_cast<uintptr_t>(memory.data()) % 64 == 0);
    GemmCall<T> g = call();
    g.c = memory.data() + shift;
    std::copy(c.begin(), c.end(), g.c);
    const Context::Use use(Context::standard());
    gemm(g);
    std::copy_n(g.c, c.size(), c.begin());
    const auto changed = [](T x) { return x != untouched; };
    CHECK(std::none_of(memory.begin(), memory.begin() + static_cast<ptrdiff_t>(shift), changed));
    CHECK(std::none_of(memory.begin() + static_cast<ptrdiff_t>(shift + c.size()), memory.end(), changed));
  }
  // In f64 from `a` and `b` as `rounded` sees them; the values before the activation.
  template <class F>
  std::vector<double> expected(F rounded) const {
    const auto [m, n, k] = size;
    std::vector<double> x(static_cast<size_t>(m * n));
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double sum = beta == 0 ? 0.0 : static_cast<double>(c[static_cast<size_t>(i * n + j)]);
        for (int64_t p = 0; p < k; ++p)
          sum += rounded(a[static_cast<size_t>(trans_a ? p * m + i : i * k + p)]) *
                 rounded(b[static_cast<size_t>(trans_b ? j * k + p : p * n + j)]);
        x[static_cast<size_t>(i * n + j)] = sum + (with_bias ? static_cast<double>(bias[static_cast<size_t>(j)]) : 0.0);
      }
    }
    return x;
  }
  std::vector<double> expected() const {
    return expected([](T x) { return static_cast<double>(x); });
  }
};

template <class T>
std::vector<double> as_doubles(const std::vector<T>& values) {
  return {values.begin(), values.end()};
}

double bf16_rounded(float x) { return static_cast<double>(to_float(to_bfloat16(x))); }

struct Mode {
  MatmulPrecision precision;
  double at_768;  // relative error against f64 at k = 768: the limit that performance measurements promise
  const char* name = name_of(precision);

  void gemm(GemmCall<float> call, const Context& context = Context::standard()) const {
    const Context::Use use(context);
    call.precision = precision;
    backend(Device::cpu).f32.gemm(call);
  }
};
// Those that this machine has.
std::vector<Mode> modes() {
  using enum MatmulPrecision;
  std::vector<Mode> all{{f32, 6e-7}, {bf16, 2.6e-3}, {bf16x3, 6e-6}, {bf16x6, 4e-7}};
  std::erase_if(all, [](const Mode& mode) { return !supports(Device::cpu, mode.precision); });
  return all;
}

const std::vector<Size>& sizes() {
  // Around the tiles (4 and 8 rows; 24 and 48 columns; 32 x 32), the chunks of rows and the blocks of k.
  static const std::vector<Size> all{{1, 1, 1},      {0, 5, 3},      {5, 0, 3},       {5, 7, 0},     {3, 24, 5},
                                     {4, 23, 17},    {7, 25, 31},    {8, 48, 32},     {9, 47, 33},   {15, 49, 64},
                                     {16, 96, 65},   {17, 97, 63},   {31, 31, 100},   {33, 33, 129}, {97, 50, 40},
                                     {193, 26, 70},  {257, 48, 70},  {40, 60, 767},   {40, 96, 768}, {11, 50, 769},
                                     {35, 51, 1537}, {300, 400, 50}, {100, 100, 3000}};
  return all;
}

std::string describe(Size s, bool trans_a, bool trans_b) {
  return fmt::format("{} x {} x {}{}{}", s.m, s.n, s.k, trans_a ? ", a transposed" : "",
                     trans_b ? ", b transposed" : "");
}

}  // namespace

TEST_CASE("f32 and f64 products equal plain loops in f64, with every tail and epilogue", "[isa]") {
  const auto check = [&]<class T>(const Kernels<T>& table, double tolerance) {
    for (const Size& s : sizes()) {
      for (const bool trans_a : {false, true}) {
        for (const bool trans_b : {false, true}) {
          for (const int variant : {0, 1, 2, 3}) {  // plain, beta, bias, bias and gelu
            INFO(describe(s, trans_a, trans_b) << ", variant " << variant << ", " << sizeof(T) << " bytes");
            Product<T> p(s, trans_a, trans_b);
            p.beta = variant == 1 ? 1 : 0;
            p.with_bias = variant >= 2;
            p.with_gelu = variant == 3;
            const std::vector<double> expected = p.expected();
            if (p.beta == 0) p.c.assign(p.c.size(), std::numeric_limits<T>::quiet_NaN());  // must not be read
            const std::vector<T> start = p.c;
            p.run(table.gemm, 1);
            const std::vector<T> cached = p.c;
            p.c = start;
            p.run(table.gemm, 0);
            // A c that lies on a vector's boundary may be written past the caches: the same bits.
            CHECK((p.c.empty() || std::memcmp(p.c.data(), cached.data(), p.c.size() * sizeof(T)) == 0));
            CHECK(relative_error(as_doubles(p.c), expected) <= tolerance);
            double squares = 0;
            for (const T x : p.c) squares += static_cast<double>(x) * static_cast<double>(x);
            CHECK(p.squares == Approx(squares).epsilon(1e-12));
            if (!p.with_gelu) continue;
            std::vector<double> activated;
            for (const T x : p.c)
              activated.push_back(static_cast<double>(x) * 0.5 * std::erfc(-static_cast<double>(x) / std::sqrt(2.0)));
            CHECK(relative_error(as_doubles(p.gelu), activated) <= (sizeof(T) == 4 ? 3e-7 : 1e-15));
          }
        }
      }
    }
  };
  check(backend(Device::cpu).f32, 2e-6);
  check(backend(Device::cpu).f64, 4e-15);
}

TEST_CASE("every precision keeps its promise against f64 at k = 768") {
  const Size s{64, 96, 768};
  for (const Mode& mode : modes()) {
    for (const auto& [trans_a, trans_b] : {std::pair{false, true}, {false, false}, {true, false}}) {
      INFO(mode.name << " " << describe(s, trans_a, trans_b));
      Product<float> p(s, trans_a, trans_b);
      const std::vector<double> expected = p.expected();
      mode.gemm(p.call());
      CHECK(relative_error(as_doubles(p.c), expected) <= mode.at_768);
    }
  }
}

TEST_CASE("a bf16 product is that of the operands rounded to bf16, with every tail and epilogue") {
  if (!supports(Device::cpu, MatmulPrecision::bf16)) CRISP_SKIP("this CPU multiplies no bf16 numbers");
  const auto gemm = [](GemmCall<float> call) {
    call.precision = MatmulPrecision::bf16;
    backend(Device::cpu).f32.gemm(call);
  };
  for (const Size& s : sizes()) {
    for (const bool trans_a : {false, true}) {
      for (const bool trans_b : {false, true}) {
        for (const bool beta : {false, true}) {
          INFO(describe(s, trans_a, trans_b) << ", beta " << beta);
          Product<float> p(s, trans_a, trans_b);
          p.beta = beta ? 1 : 0;
          p.with_bias = !beta;
          const std::vector<double> expected = p.expected(bf16_rounded);
          if (!beta) p.c.assign(p.c.size(), std::nanf(""));
          const std::vector<float> start = p.c;
          p.run(gemm, 1);
          const std::vector<float> cached = p.c;
          p.c = start;
          p.run(gemm, 0);
          CHECK((p.c.empty() || std::memcmp(p.c.data(), cached.data(), p.c.size() * sizeof(float)) == 0));
          CHECK(relative_error(as_doubles(p.c), expected) <= 3e-6);
          double squares = 0;
          for (const float x : p.c) squares += static_cast<double>(x) * static_cast<double>(x);
          CHECK(p.squares == Approx(squares).epsilon(1e-12));
        }
      }
    }
  }
}

TEST_CASE("a product's bits do not depend on the threads, and not on the other rows and columns") {
  const Context alone({.threads = 1});
  for (const Mode& mode : modes()) {
    for (const auto& [trans_a, trans_b] : {std::pair{false, true}, {false, false}, {true, false}}) {
      INFO(mode.name << describe({426, 200, 1000}, trans_a, trans_b));
      Product<float> p({426, 200, 1000}, trans_a, trans_b);
      mode.gemm(p.call(), alone);
      const std::vector<float> one = p.c;
      const double squares = p.squares;
      for (const int threads : {2, 3, 4}) {
        const Context context({.threads = threads});
        p.c.assign(p.c.size(), 0.0f);
        mode.gemm(p.call(), context);
        CHECK(std::memcmp(p.c.data(), one.data(), one.size() * sizeof(float)) == 0);
        CHECK(p.squares == squares);
      }
      if (trans_a || std::string(cpu_instruction_set()) == "generic") continue;
      // The first 5 rows alone.
      Product<float> few({5, 200, 1000}, trans_a, trans_b);
      std::copy_n(p.a.begin(), few.a.size(), few.a.begin());
      few.b = p.b;
      mode.gemm(few.call());
      CHECK(std::memcmp(few.c.data(), one.data(), few.c.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("NaN and infinity survive every precision") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Mode& mode : modes()) {
    for (const float bad : {std::nanf(""), -std::nanf(""), infinity, -infinity, std::bit_cast<float>(0x7f800001u),
                            std::bit_cast<float>(0xffffffffu)}) {
      for (const bool in_a : {true, false}) {
        for (const auto& [trans_a, trans_b] : {std::pair{false, true}, {false, false}, {true, false}}) {
          INFO(mode.name << " " << bad << (in_a ? " in a " : " in b ") << describe({20, 50, 70}, trans_a, trans_b));
          Product<float> p({20, 50, 70}, trans_a, trans_b);
          const int64_t i = 7, j = 33, k = 69;
          if (in_a) {
            p.a[static_cast<size_t>(trans_a ? k * 20 + i : i * 70 + k)] = bad;
          } else {
            p.b[static_cast<size_t>(trans_b ? j * 70 + k : k * 50 + j)] = bad;
          }
          mode.gemm(p.call());
          // The row of a (the column of b) is broken, everything else is not.
          for (int64_t r = 0; r < 20; ++r) {
            for (int64_t c = 0; c < 50; ++c) {
              const bool hit = in_a ? r == i : c == j;
              if (std::isfinite(p.c[static_cast<size_t>(r * 50 + c)]) == hit) FAIL_CHECK("at " << r << ", " << c);
            }
          }
          CHECK(!std::isfinite(p.squares));
        }
      }
    }
  }
}

TEST_CASE("each element of a product is finite, infinite or NaN as a plain loop has it", "[isa]") {
  enum class Class { finite, plus_infinity, minus_infinity, not_a_number };
  using enum Class;
  const auto class_of = [](double x) {
    return std::isnan(x) ? not_a_number : !std::isinf(x) ? finite : x > 0 ? plus_infinity : minus_infinity;
  };
  const auto check = [&]<class T>(const char* name, MatmulPrecision precision, void (*gemm)(const GemmCall<T>&),
                                  auto rounded) {
    const T infinity = std::numeric_limits<T>::infinity();
    for (const Size& s : {Size{20, 50, 70}, Size{37, 96, 801}}) {
      for (const auto& [trans_a, trans_b] : {std::pair{false, true}, {false, false}, {true, false}, {true, true}}) {
        for (const bool beta : {false, true}) {
          INFO(name << " " << describe(s, trans_a, trans_b) << ", beta " << beta);
          Product<T> p(s, trans_a, trans_b);
          p.beta = beta ? 1 : 0;
          p.with_bias = !beta;
          const auto a = [&, ta = trans_a](int64_t i, int64_t k) -> T& {
            return p.a[static_cast<size_t>(ta ? k * s.m + i : i * s.k + k)];
          };
          const auto b = [&, tb = trans_b](int64_t k, int64_t j) -> T& {
            return p.b[static_cast<size_t>(tb ? j * s.k + k : k * s.n + j)];
          };
          const int64_t last = s.k - 1;  // alone in its vector, or in its pair
          a(1, 3) = infinity;
          a(2, last) = -infinity;
          a(3, 3) = a(3, 40) = infinity;  // of one sign or of both, as b has it
          a(5, 11) = std::numeric_limits<T>::quiet_NaN();
          a(18, 12) = a(18, 13) = infinity;
          b(3, 7) = 0;  // times infinity
          b(20, 30) = -infinity;
          b(last, 49) = infinity;
          b(30, s.n - 2) = std::numeric_limits<T>::quiet_NaN();
          if (beta) {
            p.c[0] = infinity;
            p.c[static_cast<size_t>(s.n + 5)] = -infinity;
          } else {
            p.bias[17] = infinity;
          }
          const std::vector<double> expected = p.expected(rounded);
          for (const Class c : {finite, plus_infinity, minus_infinity, not_a_number})
            REQUIRE(std::any_of(expected.begin(), expected.end(), [&](double x) { return class_of(x) == c; }));
          p.precision = precision;
          p.run(gemm, 0);
          for (size_t i = 0; i < expected.size(); ++i)
            if (class_of(static_cast<double>(p.c[i])) != class_of(expected[i]))
              FAIL_CHECK("at " << i << ": " << p.c[i] << ", not " << expected[i]);
        }
      }
    }
  };
  const Backend& cpu = backend(Device::cpu);
  const auto as_it_is = [](auto x) { return static_cast<double>(x); };
  const auto f32 = MatmulPrecision::f32, bf16 = MatmulPrecision::bf16;
  check("f32", f32, cpu.f32.gemm, as_it_is);
  check("f64", f32, cpu.f64.gemm, as_it_is);
  if (cpu.supports(bf16)) check("bf16", bf16, cpu.f32.gemm, bf16_rounded);
  check("bf16 on emulated tiles", bf16, &cpu_emulated::gemm_tiles, bf16_rounded);
}
