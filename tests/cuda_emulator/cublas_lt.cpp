// cublasLt's products as plain loops that sum in f64, on operands rounded as the compute type says. Refuses what the
// real one would: sizes that do not fit, leading dimensions that are too small, types that do not go together.
#include <cublasLt.h>

#include <cstring>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/findings.h"
#include "tests/cuda_emulator/memory.h"
#include "tests/cuda_emulator/race.h"
#include "tests/cuda_emulator/stream.h"

using namespace crisp::emulator;

struct cublasLtContext {};
struct cublasLtMatmulPreferenceOpaque_t {
  uint64_t workspace = 0;
};
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType_t type;
  uint64_t rows, columns;
  int64_t leading_dimension;
};
struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void* bias = nullptr;
};

namespace {

// To nearest, ties to even, without the lower `bits` of the significand.
float rounded(float x, unsigned bits) {
  uint32_t u;
  std::memcpy(&u, &x, sizeof u);
  if ((u & 0x7f800000u) == 0x7f800000u) return x;
  u += ((1u << (bits - 1)) - 1) + (u >> bits & 1);
  u &= ~((1u << bits) - 1);
  std::memcpy(&x, &u, sizeof x);
  return x;
}

// One matrix in memory, by its elements' type.
struct Matrix {
  char* data;
  cublasLtMatrixLayoutOpaque_t layout;

  size_t element_bytes() const { return layout.type == CUDA_R_64F ? 8 : layout.type == CUDA_R_32F ? 4 : 2; }
  char* at(size_t row, size_t column) const {
    return data + (row + column * static_cast<size_t>(layout.leading_dimension)) * element_bytes();
  }
  double value(size_t row, size_t column) const { return load(at(row, column), layout.type); }
  static double load(const char* p, cudaDataType_t type) {
    if (type == CUDA_R_64F) {
      double x;
      std::memcpy(&x, p, sizeof x);
      return x;
    }
    uint32_t u = 0;
    std::memcpy(type == CUDA_R_32F ? reinterpret_cast<char*>(&u) : reinterpret_cast<char*>(&u) + 2, p,
                type == CUDA_R_32F ? 4 : 2);
    float x;
    std::memcpy(&x, &u, sizeof x);
    return x;
  }
  static void store(char* p, cudaDataType_t type, double value) {
    if (type == CUDA_R_64F) {
      std::memcpy(p, &value, sizeof value);
      return;
    }
    const float x = type == CUDA_R_32F ? static_cast<float>(value) : rounded(static_cast<float>(value), 16);
    uint32_t u;
    std::memcpy(&u, &x, sizeof u);
    if (type == CUDA_R_16BF) u >>= 16;
    std::memcpy(p, &u, type == CUDA_R_32F ? 4 : 2);
  }
  // What memory the columns take, for the check of reads and writes: gaps between columns are nobody's.
  template <class Do>
  void each_column(Do run) const {
    for (size_t j = 0; j < layout.columns; ++j) run(at(0, j), layout.rows * element_bytes());
  }
};

struct Product {
  cublasLtMatmulDescOpaque_t desc;
  double alpha, beta;
  Matrix a, b, d;
  Where where;

  double operand(const Matrix& m, bool transposed, size_t row, size_t column) const {
    const double x = transposed ? m.value(column, row) : m.value(row, column);
    if (desc.compute == CUBLAS_COMPUTE_32F_FAST_TF32) return rounded(static_cast<float>(x), 13);
    if (desc.compute == CUBLAS_COMPUTE_32F_FAST_16BF) return rounded(static_cast<float>(x), 16);
    return x;
  }

  void run() const {
    ++counters().launches;
    const auto check = [&](const Matrix& m) {
      m.each_column([&](const char* p, size_t bytes) { race::command_reads(p, bytes, where, "the product"); });
    };
    const size_t bias_count = desc.epilogue == CUBLASLT_EPILOGUE_BIAS ? d.layout.rows : d.layout.columns;
    const size_t bias_bytes = bias_count * d.element_bytes();
    check(a);
    check(b);
    if (beta != 0) check(d);
    if (desc.epilogue == CUBLASLT_EPILOGUE_BIAS) race::command_reads(desc.bias, bias_bytes, where, "the product");
    const bool ta = desc.a == CUBLAS_OP_T, tb = desc.b == CUBLAS_OP_T;
    const size_t depth = ta ? a.layout.rows : a.layout.columns;
    for (size_t j = 0; j < d.layout.columns; ++j)
      for (size_t i = 0; i < d.layout.rows; ++i) {
        double sum = 0;
        for (size_t k = 0; k < depth; ++k) sum += operand(a, ta, i, k) * operand(b, tb, k, j);
        double result = alpha * sum;
        if (beta != 0) result += beta * d.value(i, j);  // beta = 0 reads nothing
        if (desc.epilogue == CUBLASLT_EPILOGUE_BIAS) result += Matrix::load(bias(i), d.layout.type);
        Matrix::store(d.at(i, j), d.layout.type, result);
      }
    d.each_column([](const char* p, size_t bytes) { race::command_writes(p, bytes); });
    if (desc.epilogue != CUBLASLT_EPILOGUE_BGRADB) return;
    for (size_t j = 0; j < d.layout.columns; ++j) {
      double sum = 0;
      for (size_t k = 0; k < depth; ++k) sum += tb ? b.value(j, k) : b.value(k, j);
      Matrix::store(bias(j), d.layout.type, sum);
    }
    race::command_writes(desc.bias, bias_bytes);
  }
  char* bias(size_t i) const { return static_cast<char*>(desc.bias) + i * d.element_bytes(); }
};

// The types that go together: f64 throughout, or f32 results of operands that are both f32 or both bf16.
bool types_fit(const cublasLtMatmulDescOpaque_t& desc, const Matrix& a, const Matrix& b, const Matrix& d) {
  if (a.layout.type != b.layout.type) return false;
  if (desc.compute == CUBLAS_COMPUTE_64F)
    return desc.scale == CUDA_R_64F && a.layout.type == CUDA_R_64F && d.layout.type == CUDA_R_64F;
  if (desc.scale != CUDA_R_32F || a.layout.type == CUDA_R_64F) return false;
  if (a.layout.type == CUDA_R_16BF && desc.compute != CUBLAS_COMPUTE_32F) return false;
  return d.layout.type == CUDA_R_32F || (d.layout.type == CUDA_R_16BF && a.layout.type == CUDA_R_16BF);
}

bool sizes_fit(const cublasLtMatmulDescOpaque_t& desc, const Matrix& a, const Matrix& b, const Matrix& d) {
  const bool ta = desc.a == CUBLAS_OP_T, tb = desc.b == CUBLAS_OP_T;
  return (ta ? a.layout.columns : a.layout.rows) == d.layout.rows &&
         (tb ? b.layout.rows : b.layout.columns) == d.layout.columns &&
         (ta ? a.layout.rows : a.layout.columns) == (tb ? b.layout.columns : b.layout.rows);
}

bool lies_on_device(const Matrix& m) {
  if (m.layout.rows == 0 || m.layout.columns == 0) return true;
  return is_allocated(m.data, static_cast<size_t>(m.at(m.layout.rows, m.layout.columns - 1) - m.data));
}

cublasStatus_t invalid(Where where, const char* text) {
  add_finding(place(where) + ": cublasLtMatmul of " + text);
  return CUBLAS_STATUS_INVALID_VALUE;
}

double scalar(const void* p, cudaDataType_t type) { return Matrix::load(static_cast<const char*>(p), type); }

}  // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute, cudaDataType_t scale) {
  *desc = new cublasLtMatmulDescOpaque_t{compute, scale};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  delete desc;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  const auto take = [&](auto& to) {
    if (bytes != sizeof to) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
  };
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return take(desc->a);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return take(desc->b);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return take(desc->epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return take(desc->bias);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, uint64_t rows,
                                          uint64_t columns, int64_t leading_dimension) {
  if (leading_dimension < static_cast<int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = new cublasLtMatrixLayoutOpaque_t{type, rows, columns, leading_dimension};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new cublasLtMatmulPreferenceOpaque_t;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t, const void* value,
                                                    size_t bytes) {
  if (bytes != sizeof preference->workspace) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&preference->workspace, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t, int requested,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  *found = 0;
  if (requested < 1) return CUBLAS_STATUS_INVALID_VALUE;
  if (desc->epilogue != CUBLASLT_EPILOGUE_DEFAULT && !settings().epilogues) return CUBLAS_STATUS_NOT_SUPPORTED;
  results[0] = {};
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t*, void*, size_t,
                              cudaStream_t stream, Where where) {
  const auto matrix = [](const void* p, cublasLtMatrixLayout_t layout) {
    return Matrix{const_cast<char*>(static_cast<const char*>(p)), *layout};
  };
  const Product product{*desc,
                        scalar(alpha, desc->scale),
                        scalar(beta, desc->scale),
                        matrix(a, a_layout),
                        matrix(b, b_layout),
                        matrix(d, d_layout),
                        where};
  if (!types_fit(*desc, product.a, product.b, product.d)) return invalid(where, "types that do not go together");
  if (!sizes_fit(*desc, product.a, product.b, product.d)) return invalid(where, "matrices whose sizes do not fit");
  if (c != d || c_layout->leading_dimension != d_layout->leading_dimension)
    return invalid(where, "a C that is not D, which is not emulated");
  if (!lies_on_device(product.a) || !lies_on_device(product.b) || !lies_on_device(product.d))
    return invalid(where, "a matrix that is not in one allocation of the device");
  const bool with_bias = desc->epilogue != CUBLASLT_EPILOGUE_DEFAULT;
  if (with_bias &&
      !is_allocated(desc->bias, product.d.element_bytes() *
                                    (desc->epilogue == CUBLASLT_EPILOGUE_BIAS ? d_layout->rows : d_layout->columns)))
    return invalid(where, "a bias that is not in one allocation of the device");
  enqueue(stream, Command::always([product] { product.run(); }));
  return CUBLAS_STATUS_SUCCESS;
}
