// Elementwise kernels: unary and broadcast binary operations, scaling, dropout.
#include "engine/cuda/packs.cuh"
#include "engine/cuda/sums.cuh"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

using formulas::with_formula;

template <class Formula, class T>
void unary_loop(int64_t n, const T* x, T* y) {
  for_elements("unary", n, [=] __device__(int64_t i) { y[i] = Formula::value(x[i]); });
}

template <class T>
void unary(UnaryOp op, int64_t n, const T* x, T* y) {
  with_formula<T, Math>(op, [=](auto formula) { unary_loop<decltype(formula)>(n, x, y); });
}

template <class Formula, class T>
void unary_backward_loop(int64_t n, const T* saved, const T* dy, T* dx, double beta) {
  for_elements("unary_backward", n,
               [=] __device__(int64_t i) { put(dx[i], dy[i] * Formula::derivative(saved[i]), beta); });
}

// Of x and y the one that the derivative is not written in may be null.
template <class T>
void unary_backward(UnaryOp op, int64_t n, const T* x, const T* y, const T* dy, T* dx, double beta) {
  with_formula<T, Math>(
      op, [=](auto formula) { unary_backward_loop<decltype(formula)>(n, formula.in_output ? y : x, dy, dx, beta); });
}

template <class T>
void gelu_backward(int64_t rows, int64_t cols, const T* x, const T* dy, T* dx, T* y, T* dbias, double beta) {
  const auto element = [=] __device__(int64_t i) {
    const auto gelu = formulas::Gelu<T, Math>::both(x[i]);
    if (y) y[i] = gelu.value;
    return dx[i] = dy[i] * gelu.derivative;
  };
  if (!dbias) return for_elements("gelu_backward", rows * cols, element);
  column_sums(
      "gelu_backward", 1, rows, cols, [=] __device__(int64_t, int64_t r, int64_t c) { return element(r * cols + c); },
      PutSum<T>{dbias, beta});
}

// Where an element of the output lies, and those of the operands that it is made of.
struct Offsets {
  int64_t out, a, b;
};

// Some dimensions of a broadcast operation, the last one last.
struct Walk {
  int count = 0;
  int64_t size = 1;
  int64_t dims[6] = {};
  Offsets strides[6] = {};

  // Those whose stride in an operand is 0 (is_zero), or is not; with `strides` null, all.
  Walk(const BroadcastPlan& p, const int64_t* strides_of, bool is_zero) {
    int64_t step = 1;
    for (int d = 5; d >= 0; step *= p.dims[d--]) {
      if (p.dims[d] == 1 || (strides_of && (strides_of[d] == 0) != is_zero)) continue;
      dims[count] = p.dims[d];
      strides[count++] = {step, p.stride_a[d], p.stride_b[d]};
      size *= p.dims[d];
    }
  }

  __device__ __forceinline__ Offsets operator()(int64_t i) const {
    Offsets at{0, 0, 0};
#pragma unroll 1
    for (int d = 0; d < count; ++d) {
      const Cell cell = d + 1 < count ? cell_of(i, dims[d]) : Cell{0, i};
      at.out += cell.col * strides[d].out;
      at.a += cell.col * strides[d].a;
      at.b += cell.col * strides[d].b;
      i = cell.row;
    }
    return at;
  }
};

template <class Formula, class T>
void binary_loop(const BroadcastPlan& p, const T* a, const T* b, T* out) {
  if (p.same) {
    for_elements("binary", p.numel, [=] __device__(int64_t i) { out[i] = Formula::value(a[i], b[i]); });
    return;
  }
  const Walk walk(p, nullptr, false);
  for_elements("binary", p.numel, [=] __device__(int64_t i) {
    const Offsets at = walk(i);
    out[i] = Formula::value(a[at.a], b[at.b]);
  });
}

template <class T>
void binary(BinaryOp op, const BroadcastPlan& plan, const T* a, const T* b, T* out) {
  with_formula<T>(op, [&](auto formula) { binary_loop<decltype(formula)>(plan, a, b, out); });
}

// The dimensions that the operand has are `kept`, in its order, so that index i among them is its element i; along
// those that it was broadcast, contributions are `summed`.
template <class Formula, int wrt, class T>
void binary_backward_loop(const BroadcastPlan& p, const T* a, const T* b, const T* dy, T* dx, double beta) {
  const int64_t* const strides = wrt == 0 ? p.stride_a : p.stride_b;
  const Walk kept(p, strides, false), summed(p, strides, true);
  const auto gradient = [=] __device__(int64_t k, int64_t s) {
    const Offsets i = kept(k), j = summed(s);
    const T g = dy[i.out + j.out], x = a[i.a + j.a], y = b[i.b + j.b];
    return wrt == 0 ? Formula::da(g, x, y) : Formula::db(g, x, y);
  };
  const PutSum<T> finish{dx, beta};
  if (summed.count == 0) {
    for_elements("binary_backward", kept.size, [=] __device__(int64_t i) { put(dx[i], gradient(i, 0), beta); });
  } else if (p.dims[5] != 1 && strides[5] == 0) {
    row_sums(
        "binary_backward", kept.size, summed.size,
        [=] __device__(int64_t k, int64_t s, int64_t) { return gradient(k, s); }, finish);
  } else {
    column_sums(
        "binary_backward", 1, summed.size, kept.size,
        [=] __device__(int64_t, int64_t s, int64_t k) { return gradient(k, s); }, finish);
  }
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
  for_elements("scale", n, [=] __device__(int64_t i) {
    const T product = factor * x[i];
    out[i] = keep == T(0) ? product : product + keep * out[i];
  });
}

template <int width, class T>
void dropout_packs(int64_t n, const Dropout& dropout, const T* x, T* y, double beta) {
  for_elements("dropout", divide_up(n, width), [=] __device__(int64_t pack) {
    const int64_t first = pack * width;
    const auto factors = dropout_factors<T, width>(dropout, first);
    if (first + width <= n) {
      auto out = load<width>(x + first);
#pragma unroll
      for (int i = 0; i < width; ++i) out.v[i] = formulas::dropout(out.v[i], factors.v[i]);
      put_pack(y + first, out, beta);
      return;
    }
#pragma unroll
    for (int i = 0; i < width; ++i)
      if (first + i < n) put(y[first + i], formulas::dropout(x[first + i], factors.v[i]), beta);
  });
}

template <class T>
void dropout(int64_t n, const Dropout& d, const T* x, T* y, double beta) {
  if (are_aligned({x, y})) {
    dropout_packs<4>(n, d, x, y, beta);
  } else {
    dropout_packs<1>(n, d, x, y, beta);
  }
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

}  // namespace crisp::CRISP_CUDA_NAMESPACE
