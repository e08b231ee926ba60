// Elementwise kernels: unary and broadcast binary operations, scaling, dropout.
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/dropout.h"
#include "engine/cpu/simd/math.h"

namespace crisp::CRISP_ISA {
namespace {

using formulas::with_formula;

template <class T>
void unary(UnaryOp op, int64_t n, const T* x, T* y) {
  with_formula<T, Math>(
      op, [=](auto formula) { for_elements(n, [=](int64_t i) CRISP_INLINED { y[i] = formula.value(x[i]); }); });
}

// Of x and y the one that the derivative is not written in may be null.
template <class T>
void unary_backward(UnaryOp op, int64_t n, const T* x, const T* y, const T* dy, T* dx, double beta) {
  with_formula<T, Math>(op, [=](auto formula) {
    const T* const saved = formula.in_output ? y : x;
    for_chunks(n, [=](int64_t begin, int64_t end) {
      const auto product = [=](int64_t i) CRISP_INLINED { return dy[i] * formula.derivative(saved[i]); };
      put(begin, end, dx, beta, product);
    });
  });
}

template <class T>
void gelu_backward(int64_t rows, int64_t cols, const T* x, const T* dy, T* dx, T* y, T* dbias, double beta) {
  using Gelu = formulas::Gelu<T, Math>;
  column_sums(rows, cols, dbias, beta, [=](int64_t first, int64_t count, int64_t col, int64_t width, double* total) {
    for (int64_t c = 0; c < width; ++c) total[c] = 0;
    for (int64_t r = first; r < first + count; ++r) {
      const int64_t at = r * cols + col;
      if (y) {
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) {
          const auto gelu = Gelu::both(x[at + c]);
          dx[at + c] = dy[at + c] * gelu.derivative;
          y[at + c] = gelu.value;
        }
      } else {
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) dx[at + c] = dy[at + c] * Gelu::derivative(x[at + c]);
      }
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) total[c] += static_cast<double>(dx[at + c]);
    }
  });
}

// Offsets of a row (all dimensions but the last) of the output in the operands.
struct Offsets {
  int64_t a, b;
};
CRISP_INLINE Offsets row_offsets(const BroadcastPlan& p, int64_t row) {
  Offsets at{0, 0};
  for (int d = 4; d >= 0; --d) {
    const int64_t i = row % p.dims[d];
    row /= p.dims[d];
    at.a += i * p.stride_a[d];
    at.b += i * p.stride_b[d];
  }
  return at;
}

template <class Formula, class T>
void binary_loop(const BroadcastPlan& p, const T* a, const T* b, T* out) {
  if (p.same) {
    return for_elements(p.numel, [=](int64_t i) CRISP_INLINED { out[i] = Formula::value(a[i], b[i]); });
  }
  const int64_t cols = p.dims[5], sa = p.stride_a[5], sb = p.stride_b[5];
  for_row_chunks(p.numel / cols, cols, [=, &p](int64_t row, int64_t begin, int64_t end) {
    const Offsets at = row_offsets(p, row);
    const T* x = a + at.a;
    const T* y = b + at.b;
    T* z = out + row * cols;
    if (sa == 1 && sb == 1) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) z[i] = Formula::value(x[i], y[i]);
    } else {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) z[i] = Formula::value(x[i * sa], y[i * sb]);
    }
  });
}

template <class T>
void binary(BinaryOp op, const BroadcastPlan& plan, const T* a, const T* b, T* out) {
  if (plan.numel == 0) return;
  with_formula<T>(op, [&](auto formula) { binary_loop<decltype(formula)>(plan, a, b, out); });
}

// The output's dimensions split into those that the operand has (kept) and those along which it was broadcast (summed).
struct Split {
  int64_t kept_rows = 1, summed_rows = 1;  // over the first five dimensions
  bool summed[6];
};
CRISP_INLINE Split split(const BroadcastPlan& p, const int64_t* strides) {
  Split s;
  for (int d = 0; d < 6; ++d) {
    s.summed[d] = strides[d] == 0 && p.dims[d] != 1;
    if (d < 5) (s.summed[d] ? s.summed_rows : s.kept_rows) *= p.dims[d];
  }
  return s;
}

// The output row that belongs to the given index among the kept and among the summed dimensions.
CRISP_INLINE int64_t joined_row(const BroadcastPlan& p, const Split& s, int64_t kept, int64_t summed) {
  int64_t row = 0, step = 1;
  for (int d = 4; d >= 0; --d) {
    int64_t& index = s.summed[d] ? summed : kept;
    row += index % p.dims[d] * step;
    index /= p.dims[d];
    step *= p.dims[d];
  }
  return row;
}

template <class Formula, int wrt, class T>
CRISP_INLINE T gradient(T dy, T a, T b) {
  return wrt == 0 ? Formula::da(dy, a, b) : Formula::db(dy, a, b);
}

// Each element (or block of a row) of dx is one task and sums its contributions in the output's order, in f64.
template <class Formula, int wrt, class T>
void binary_backward_loop(const BroadcastPlan& p, const T* a, const T* b, const T* dy, T* dx, double beta) {
  const int64_t* own_strides = wrt == 0 ? p.stride_a : p.stride_b;
  const Split s = split(p, own_strides);
  const int64_t cols = p.dims[5], sa = p.stride_a[5], sb = p.stride_b[5];
  const bool parallel = p.numel >= parallel_threshold;
  if (p.numel == 0) {  // the operand may have elements all the same: a sum over nothing
    const int64_t count = s.kept_rows * (s.summed[5] ? 1 : cols);
    for (int64_t i = 0; beta == 0 && i < count; ++i) dx[i] = 0;
    return;
  }
  if (s.summed[5]) {
    parallel_for(s.kept_rows, threads_if(parallel), [=](int64_t kept) {
      double total = 0;
      for (int64_t k = 0; k < s.summed_rows; ++k) {
        const int64_t row = joined_row(p, s, kept, k);
        const Offsets at = row_offsets(p, row);
        const T* g = dy + row * cols;
        double part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = 0; i < cols; ++i)
          part += static_cast<double>(gradient<Formula, wrt>(g[i], a[at.a + i * sa], b[at.b + i * sb]));
        total += part;
      }
      const Offsets at = row_offsets(p, joined_row(p, s, kept, 0));
      T& d = dx[wrt == 0 ? at.a : at.b];
      d = static_cast<T>(total) + (beta == 0 ? T(0) : d);
    });
    return;
  }
  const int64_t blocks = divide_up(cols, block_cols);
  parallel_for(s.kept_rows * blocks, threads_if(parallel), [=](int64_t task) {
    const int64_t kept = task / blocks, begin = task % blocks * block_cols, width = min_of(block_cols, cols - begin);
    double total[block_cols];
    for (int64_t i = 0; i < width; ++i) total[i] = 0;
    for (int64_t k = 0; k < s.summed_rows; ++k) {
      const int64_t row = joined_row(p, s, kept, k);
      const Offsets at = row_offsets(p, row);
      const int64_t from_a = at.a + begin * sa, from_b = at.b + begin * sb;
      const T* g = dy + row * cols + begin;
#pragma omp simd
      for (int64_t i = 0; i < width; ++i)
        total[i] += static_cast<double>(gradient<Formula, wrt>(g[i], a[from_a + i * sa], b[from_b + i * sb]));
    }
    const Offsets at = row_offsets(p, joined_row(p, s, kept, 0));
    T* d = dx + (wrt == 0 ? at.a : at.b) + begin;
    for (int64_t i = 0; i < width; ++i) d[i] = static_cast<T>(total[i]) + (beta == 0 ? T(0) : d[i]);
  });
}

template <class T>
void binary_backward(BinaryOp op, int wrt, const BroadcastPlan& plan, const T* a, const T* b, const T* dy, T* dx,
                     double beta) {
  with_formula<T>(op, [&](auto formula) {
    if (wrt == 0) {
      binary_backward_loop<decltype(formula), 0>(plan, a, b, dy, dx, beta);
    } else {
      binary_backward_loop<decltype(formula), 1>(plan, a, b, dy, dx, beta);
    }
  });
}

template <class T>
void scale(int64_t n, double alpha, const T* x, T* out, double beta) {
  const T factor = static_cast<T>(alpha), keep = static_cast<T>(beta);
  if (keep == T(0)) {
    for_elements(n, [=](int64_t i) CRISP_INLINED { out[i] = factor * x[i]; });
  } else {
    for_elements(n, [=](int64_t i) CRISP_INLINED { out[i] = factor * x[i] + keep * out[i]; });
  }
}

template <class T>
void dropout(int64_t n, const Dropout& d, const T* x, T* y, double beta) {
  for_chunks(n, [=](int64_t begin, int64_t end) {
    constexpr int64_t width = 1024;
    T buffer[dropout_room(width)];
    for (int64_t from = begin; from < end; from += width) {
      const int64_t count = min_of(width, end - from);
      const T* factor = dropout_factors(d, from, count, buffer);
      if (beta == 0) {
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) y[from + i] = formulas::dropout(x[from + i], factor[i]);
      } else {
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) y[from + i] += formulas::kept(x[from + i], factor[i]) * factor[i];
      }
    }
  });
}

}  // namespace

void fill_elementwise(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) {
    table.unary = unary<T>;
    table.unary_backward = unary_backward<T>;
    table.gelu_backward = gelu_backward<T>;
    table.binary = binary<T>;
    table.binary_backward = binary_backward<T>;
    table.scale = scale<T>;
    table.dropout = dropout<T>;
  });
}

}  // namespace crisp::CRISP_ISA
