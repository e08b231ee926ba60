// Products of strided matrices and of batches: the bits of separate products of contiguous ones, whatever multiplies.
#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "engine/backend.h"
#include "engine/cpu/backend.h"
#include "engine/cpu/memory/allocator.h"
#include "tests/engine/emulated_tiles.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

size_t index(int64_t i) { return static_cast<size_t>(i); }

// How the matrices of a batch lie in memory, for rows of `cols` elements.
struct Layout {
  const char* name;
  int64_t ld, stride;  // as GemmCall has them
};

std::vector<Layout> layouts(int64_t batch, int64_t rows, int64_t cols) {
  const int64_t aligned = (cols + 16) / 16 * 16;
  return {{"one behind the other", 0, rows * cols},
          {"rows apart", cols + 3, rows * (cols + 3) + 5},
          {"rows on vectors' boundaries", aligned, rows * aligned},
          {"columns of wider rows", batch * (cols + 1), cols + 1}};
}

// `batch` matrices [rows, cols] in one piece of memory; what lies between them is `beside`.
template <class T>
struct Matrices {
  int64_t batch, rows, cols, ld, stride;
  std::vector<T, CachedAlloc<T>> memory;

  Matrices(int64_t batch_size, int64_t row_count, int64_t col_count, Layout layout, T beside)
      : batch(batch_size),
        rows(row_count),
        cols(col_count),
        ld(layout.ld ? layout.ld : cols),
        stride(layout.stride),
        memory(index((batch - 1) * stride + rows * ld + 1), beside) {}
  // f(element, its place) over all elements.
  template <class F>
  void each(F f) {
    for (int64_t i = 0; i < batch; ++i)
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < cols; ++c) f(index((i * rows + r) * cols + c), index(i * stride + r * ld + c));
  }
  void put(const std::vector<T>& values) {
    each([&](size_t element, size_t place) { memory[place] = values[element]; });
  }
  // The elements, and `beside` in their places.
  std::vector<T> take(T beside) {
    std::vector<T> values(index(batch * rows * cols));
    each([&](size_t element, size_t place) { values[element] = std::exchange(memory[place], beside); });
    return values;
  }
};

template <class T>
bool equal_bits(const std::vector<T>& x, const std::vector<T>& y) {
  return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0);
}

template <class T>
std::vector<T> random_values(int64_t n, uint64_t seed) {
  const std::vector<double> values = numbers({n}, seed, DType::f32).to_vector();
  return {values.begin(), values.end()};
}

// What follows the product.
enum class Variant { overwrite, add, bias, bias_and_gelu };

template <class T>
struct Problem {
  GemmCall<T> sizes;  // without pointers
  Variant variant = Variant::overwrite;
  std::vector<T> a, b, c, bias;  // one behind the other

  explicit Problem(const GemmCall<T>& call) : sizes(call) {
    const int64_t batch = call.batch, m = call.m, n = call.n, k = call.k;
    a = random_values<T>(batch * m * k, 1);
    b = random_values<T>(batch * k * n, 2);
    c = random_values<T>(batch * m * n, 3);
    bias = random_values<T>(n, 4);
  }
  GemmCall<T> call() const {
    GemmCall<T> g = sizes;
    g.beta = variant == Variant::add ? 1 : 0;
    g.bias = variant >= Variant::bias ? bias.data() : nullptr;
    return g;
  }
  struct Result {
    std::vector<T> c, gelu;
    double squares;
  };
  template <class F>
  Result separately(F gemm) const {
    Result result{c, std::vector<T>(c.size()), 0};
    GemmCall<T> g = call();
    g.batch = 1;
    for (int64_t i = 0; i < sizes.batch; ++i) {
      double squares = -1;
      g.a = a.data() + i * g.m * g.k;
      g.b = b.data() + i * g.k * g.n;
      g.c = result.c.data() + i * g.m * g.n;
      g.gelu_out = variant == Variant::bias_and_gelu ? result.gelu.data() + i * g.m * g.n : nullptr;
      g.sum_squares = &squares;
      gemm(g);
      result.squares += squares;
    }
    return result;
  }
  // As one call. Between the operands' rows there is NaN, between those of the results a number that has to stay.
  template <class F>
  Result together(F gemm, const Layout& of_a, const Layout& of_b, const Layout& of_c) const {
    constexpr T nan = std::numeric_limits<T>::quiet_NaN(), untouched = T(12345);
    GemmCall<T> g = call();
    Matrices<T> left(g.batch, g.trans_a ? g.k : g.m, g.trans_a ? g.m : g.k, of_a, nan);
    Matrices<T> right(g.batch, g.trans_b ? g.n : g.k, g.trans_b ? g.k : g.n, of_b, nan);
    Matrices<T> out(g.batch, g.m, g.n, of_c, untouched), activated(g.batch, g.m, g.n, of_c, untouched);
    left.put(a);
    right.put(b);
    out.put(variant == Variant::add ? c : std::vector<T>(c.size(), nan));  // beta = 0 reads nothing
    activated.put(std::vector<T>(c.size(), T(0)));
    double squares = -1;
    g.a = left.memory.data(), g.lda = of_a.ld, g.stride_a = of_a.stride;
    g.b = right.memory.data(), g.ldb = of_b.ld, g.stride_b = of_b.stride;
    g.c = out.memory.data(), g.ldc = of_c.ld, g.stride_c = of_c.stride;
    g.gelu_out = variant == Variant::bias_and_gelu ? activated.memory.data() : nullptr;
    g.sum_squares = of_c.ld == 0 ? &squares : nullptr;
    gemm(g);
    Result result{out.take(untouched), activated.take(untouched), squares};
    for (const Matrices<T>* after : {&out, &activated})
      CHECK(std::all_of(after->memory.begin(), after->memory.end(), [](T x) { return x == untouched; }));
    return result;
  }
};

template <class T>
using Gemm = void (*)(const GemmCall<T>&);

template <class T>
void check_batches(const char* name, MatmulPrecision precision, Gemm<T> kernel,
                   std::initializer_list<std::array<int64_t, 3>> sizes) {
  const Context::Use use(Context::standard());
  const auto gemm = [=](GemmCall<T> g) {
    g.precision = precision;
    kernel(g);
  };
  for (const auto& [m, n, k] : sizes) {
    for (int options = 0; options < 16; ++options) {
      Problem<T> problem(
          {.trans_a = (options & 1) != 0, .trans_b = (options & 2) != 0, .batch = 3, .m = m, .n = n, .k = k});
      problem.variant = static_cast<Variant>(options / 4);
      const auto expected = problem.separately(gemm);
      const GemmCall<T>& s = problem.sizes;
      const auto of_a = layouts(s.batch, s.trans_a ? k : m, s.trans_a ? m : k);
      const auto of_b = layouts(s.batch, s.trans_b ? n : k, s.trans_b ? k : n);
      const auto of_c = layouts(s.batch, m, n);
      for (size_t i = 0; i < of_c.size(); ++i) {  // each layout of each matrix
        const Layout &la = of_a[(i + 1) % 4], &lb = of_b[(i + 2) % 4], &lc = of_c[i];
        INFO(name << ", " << m << " x " << n << " x " << k << ", options " << options << "; a: " << la.name
                  << ", b: " << lb.name << ", c: " << lc.name);
        const auto result = problem.together(gemm, la, lb, lc);
        CHECK(equal_bits(result.c, expected.c));
        CHECK(equal_bits(result.gelu, expected.gelu));
        if (lc.ld == 0) CHECK(result.squares == expected.squares);
      }
    }
  }
}

}  // namespace

TEST_CASE("a strided product of a batch has the bits of separate products, and touches nothing else", "[isa]") {
  // Tails of rows and columns, nothing at all, several blocks of k, several threads.
  const auto sizes = {
      std::array<int64_t, 3>{1, 1, 1}, {5, 7, 0}, {0, 5, 3}, {32, 64, 65}, {17, 97, 63}, {40, 50, 801}, {97, 130, 70}};
  const Backend& cpu = backend(Device::cpu);
  using enum MatmulPrecision;
  for (const MatmulPrecision precision : {f32, bf16, bf16x3, bf16x6})
    if (cpu.supports(precision)) check_batches(name_of(precision), precision, cpu.f32.gemm, sizes);
  check_batches("f64", f32, cpu.f64.gemm, sizes);
}

TEST_CASE("tile products: a strided product of a batch has the bits of separate products") {
  const auto sizes = {std::array<int64_t, 3>{1, 1, 1}, {5, 7, 0}, {0, 5, 3}, {32, 64, 65}, {33, 47, 401}, {65, 80, 33}};
  // 64 and 80 columns, in one piece of aligned memory: the squares are wanted, so c goes past the caches.
  Gemm<float> gemm = cpu_emulated::gemm_tiles;
#if defined(CRISP_HAVE_EMULATED_AVX512_BF16)
  if (*cpu_bf16_unit()) gemm = cpu_emulated_avx512_bf16::gemm_tiles;
#endif
  using enum MatmulPrecision;
  for (const MatmulPrecision precision : {bf16, bf16x3, bf16x6})
    check_batches(name_of(precision), precision, gemm, sizes);
}

TEST_CASE("the products of a batch may share an operand", "[isa]") {
  const Context::Use use(Context::standard());
  const int64_t batch = 3, m = 9, n = 50, k = 20;
  const std::vector<double> a = random_values<double>(batch * m * k, 1), b = random_values<double>(k * n, 2);
  std::vector<double> c(index(batch * m * n)), expected = c;
  const auto gemm = backend(Device::cpu).f64.gemm;
  GemmCall<double> call{.m = m, .n = n, .k = k, .a = a.data(), .b = b.data(), .c = expected.data()};
  for (int64_t i = 0; i < batch; ++i, call.a += m * k, call.c += m * n) gemm(call);
  gemm({.batch = batch,
        .m = m,
        .n = n,
        .k = k,
        .a = a.data(),
        .stride_a = m * k,
        .b = b.data(),
        .c = c.data(),
        .stride_c = m * n});
  CHECK(equal_bits(c, expected));
  double squares = -1;
  gemm({.batch = 0, .m = m, .n = n, .k = k, .a = a.data(), .b = b.data(), .c = c.data(), .sum_squares = &squares});
  CHECK(squares == 0);
  CHECK(equal_bits(c, expected));
}

TEST_CASE("a product's sums of an operand are those of a plain loop, wherever its rows lie", "[isa]") {
  const auto check = []<class T>(T) {
    for (const auto& [m, n, k] : {std::array<int64_t, 3>{5, 7, 300}, {1, 1, 1}, {40, 0, 9}, {6, 3, 0}})
      for (const int64_t gap : {0, 3})
        for (const double beta : {0.0, 1.0}) {
          INFO(m << " x " << n << " x " << k << ", gap " << gap << ", beta " << beta);
          const DType type = dtype_of<T>;
          const int64_t row = m + gap;
          const Tensor a = numbers({k * row + 1}, 1, type), b = numbers({k, n}, 2, type), c = zeros({m, n}, type),
                       before = numbers({m}, 3, type),
                       sums = beta == 0 ? full({m}, type, std::numeric_limits<double>::quiet_NaN()) : before.clone();
          std::vector<double> expected(index(m));
          for (int64_t i = 0; i < m; ++i) {
            if (beta != 0) expected[index(i)] = static_cast<double>(before.data<T>()[i]);
            for (int64_t r = 0; r < k; ++r) expected[index(i)] += static_cast<double>(a.data<T>()[r * row + i]);
          }
          const Context::Use use(Context::standard());
          kernels<T>(Device::cpu)
              .gemm({.trans_a = true,
                     .m = m,
                     .n = n,
                     .k = k,
                     .a = a.data<T>(),
                     .lda = gap > 0 ? row : 0,
                     .b = b.data<T>(),
                     .c = c.data<T>(),
                     .a_sums = sums.data<T>(),
                     .beta_sums = beta});
          CHECK(relative_error(sums.to_vector(), expected) < (type == DType::f64 ? 1e-14 : 1e-7));
        }
  };
  check(float());
  check(double());
}
