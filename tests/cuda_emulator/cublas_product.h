// A product of cublasLt's as plain loops that sum in f64, on operands rounded as the compute type says.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <cstring>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/findings.h"
#include "tests/cuda_emulator/memory.h"
#include "tests/cuda_emulator/race.h"

struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType_t type;
  uint64_t rows, columns;
  int64_t leading_dimension;
  int32_t batch = 1;
  int64_t stride = 0;  // elements from a product's matrix to the next one's
};
struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void* bias = nullptr;
};

namespace crisp::emulator {

// To nearest, ties to even, without the lower `bits` of the significand.
inline float rounded(float x, unsigned bits) {
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
  /// Of one product of the batch.
  Matrix number(int64_t product) const {
    return {data + product * layout.stride * static_cast<int64_t>(element_bytes()), layout};
  }
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
  void* workspace;
  size_t workspace_bytes;  // that the algorithm needs
  Where where;

  double operand(const Matrix& m, bool transposed, size_t row, size_t column) const {
    const double x = transposed ? m.value(column, row) : m.value(row, column);
    if (desc.compute == CUBLAS_COMPUTE_32F_FAST_TF32) return rounded(static_cast<float>(x), 13);
    if (desc.compute == CUBLAS_COMPUTE_32F_FAST_16BF) return rounded(static_cast<float>(x), 16);
    return x;
  }

  void run() const {
    ++counters().launches;
    if (workspace_bytes > 0) {
      std::memset(workspace, not_a_number, workspace_bytes);
      race::command_writes(workspace, workspace_bytes);
    }
    for (int64_t i = 0; i < d.layout.batch; ++i) {
      Product one = *this;
      one.a = a.number(i);
      one.b = b.number(i);
      one.d = d.number(i);
      one.run_one();
    }
  }

 private:
  void run_one() const {
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

}  // namespace crisp::emulator
