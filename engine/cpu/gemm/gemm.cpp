// The matrix product: on panels where there are vector registers for it, else by Eigen.
#include "engine/cpu/gemm/batch.h"

#if defined(__AVX2__)
#include "engine/cpu/gemm/panels.h"

namespace crisp::CRISP_ISA {
namespace {

// How numbers of type T are multiplied: one number a step. bf16.cpp has another such kind.
template <class T>
struct Plain {
  using Value = T;                        // of a, b, c and the sums
  using Word = T;                         // what one step takes of each operand
  static constexpr int depth = 1;         // elements along k in a word
  static constexpr bool in_place = true;  // a row-major a can be read where it lies
  CRISP_INLINE static Vec<T> multiply_add(Word a, Vec<Word> b, Vec<T> sum) { return sum + a * b; }
  // A vector of words that follow each other along k; `count` < depth * lanes elements are there, the rest is 0.
  CRISP_INLINE static Vec<Word> along_k(const T* p) { return load(p); }
  CRISP_INLINE static Word word_along_k(const T* p, int64_t) { return *p; }
  // The same where elements of one k lie beside each other: word j is made of p[j] (and of the next row's).
  CRISP_INLINE static Vec<Word> across_k(const T* p, int64_t) { return load(p); }
  CRISP_INLINE static Word word_across_k(const T* p, int64_t, int64_t) { return *p; }
  template <int n>
  CRISP_INLINE static void copy_across_k(const T* p, int64_t, Word* out) {
    for (int i = 0; i < n; ++i) out[i] = p[i];
  }
};

template <class T>
void one_product(const GemmCall<T>& g) {
  gemm_panels<Plain<T>>(g);
}

#else
// The portable matrix product: Eigen's single-threaded blocked product on fixed tiles of c inside our own parallel
// loop. The tiles and the blocking depend on the sizes only, never on the thread count or on the machine's caches, and
// so do the bits.
//
// Eigen is a header-only library of inline templates. Renaming its namespace keeps this instruction set's
// instantiations apart from everyone else's.
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/simd/math.h"

#define CRISP_CONCAT_(a, b) a##b
#define CRISP_CONCAT(a, b) CRISP_CONCAT_(a, b)
#define Eigen CRISP_CONCAT(CRISP_ISA, _eigen)
#define EIGEN_DONT_PARALLELIZE
#define EIGEN_NO_DEBUG
#define EIGEN_MPL2_ONLY
#include <Eigen/Core>

namespace crisp::CRISP_ISA {
namespace {

// Rows and columns of a tile of c. Large enough that packing both operands costs little beside the product, small
// enough that DistilBERT's shapes give every core of a small machine something to do.
constexpr int64_t tile_rows = 256;
constexpr int64_t tile_cols = 384;
// Depth of one block: one accumulator chain per element and block, so the depth decides the rounding.
constexpr int64_t block_depth = 384;
constexpr int64_t block_rows = 384;

CRISP_INLINE int64_t rounded_up(int64_t n, int64_t step) { return divide_up(n, step) * step; }

// The sizes of a packed block of each operand, in elements.
struct Packed {
  int64_t a, b;
  CRISP_INLINE Packed(int64_t rows, int64_t cols, int64_t depth) {
    const int64_t k = min_of(depth, block_depth);
    a = rounded_up(rounded_up(min_of(rows, block_rows), 16) * k, 64);
    b = rounded_up(cols, 16) * k;
  }
};

// Eigen's blocking object with our sizes and memory in place of its cache-size heuristics and malloc.
template <class T>
class Blocking : public Eigen::internal::level3_blocking<T, T> {
 public:
  Blocking(int64_t rows, int64_t cols, int64_t depth, T* memory) {
    this->m_mc = min_of(rows, block_rows);
    this->m_nc = cols;
    this->m_kc = min_of(depth, block_depth);
    this->m_blockA = memory;
    this->m_blockB = memory + Packed(rows, cols, depth).a;
  }
};

// c += op(a) op(b) on one tile; Eigen computes column-major products, so a row-major c is formed as its transpose.
template <class T, int OrderA, int OrderB>
void tile_product(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* c, int64_t ldc,
                  T* work) {
  using Product = Eigen::internal::general_matrix_matrix_product<Eigen::Index, T, OrderB, false, T, OrderA, false,
                                                                 Eigen::ColMajor, 1>;
  Blocking<T> blocking(n, m, k, work);
  Product::run(n, m, k, b, ldb, a, lda, c, 1, ldc, T(1), blocking, nullptr);
}

template <class T>
void gemm_tile(const GemmCall<T>& g, int64_t row, int64_t col, T* work) {
  // A row-major matrix is the column-major form of its transpose: swapping the operands' roles flips both orders.
  constexpr int plain = Eigen::ColMajor, flipped = Eigen::RowMajor;
  const int64_t m = min_of(tile_rows, g.m - row), n = min_of(tile_cols, g.n - col);
  const int64_t lda = g.lda, ldb = g.ldb, ldc = g.ldc;
  const T* a = g.a + (g.trans_a ? row : row * lda);
  const T* b = g.b + (g.trans_b ? col * ldb : col);
  T* c = g.c + row * ldc + col;
  if (g.beta == 0) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) c[i * ldc + j] = 0;
  }
  if (g.k > 0) {
    if (!g.trans_a && !g.trans_b) tile_product<T, plain, plain>(m, n, g.k, a, lda, b, ldb, c, ldc, work);
    if (!g.trans_a && g.trans_b) tile_product<T, plain, flipped>(m, n, g.k, a, lda, b, ldb, c, ldc, work);
    if (g.trans_a && !g.trans_b) tile_product<T, flipped, plain>(m, n, g.k, a, lda, b, ldb, c, ldc, work);
    if (g.trans_a && g.trans_b) tile_product<T, flipped, flipped>(m, n, g.k, a, lda, b, ldb, c, ldc, work);
  }
  if (g.bias) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) c[i * ldc + j] += g.bias[col + j];
  }
  if (g.gelu_out) {
    for (int64_t i = 0; i < m; ++i) {
      const T* x = c + i * ldc;
      T* y = g.gelu_out + (row + i) * ldc + col;
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) y[j] = formulas::Gelu<T, Math>::value(x[j]);
    }
  }
}

template <class T>
void one_product(const GemmCall<T>& g) {
  const int64_t across = divide_up(g.n, tile_cols), tiles = across * divide_up(g.m, tile_rows);
  // The tiles in the last row and column are the smallest.
  const Packed packed(min_of(tile_cols, g.n), min_of(tile_rows, g.m), g.k);
  const Workspaces scratch = reserve_workspaces(static_cast<size_t>(packed.a + packed.b) * sizeof(T));
  // Tiles differ in size, hence the dynamic schedule; each is computed the same way whoever takes it.
  parallel_tasks(tiles, 1, scratch.members(), [=](int64_t t) {
    gemm_tile(g, t / across * tile_rows, t % across * tile_cols, static_cast<T*>(scratch.mine()));
  });
  if (g.sum_squares)
    *g.sum_squares = sum_chunks(g.m * g.n, true, [c = g.c](int64_t i) {
      const auto x = static_cast<double>(c[i]);
      return x * x;
    });
}

#endif

template <class T>
void gemm(const GemmCall<T>& call) {
  for_products(call, one_product<T>);
}

}  // namespace

void fill_gemm(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) { table.gemm = gemm<T>; });
}

}  // namespace crisp::CRISP_ISA
