// cublasLt's products against plain loops in f64, with the tolerance that the operands' rounding allows.
#include <cublasLt.h>

#include <cmath>
#include <cstring>

#include "tests/cuda_emulator/support.h"

using namespace crisp;
using namespace crisp::test;
using Catch::Contains;
using Catch::StartsWith;

namespace {

struct Shape {
  size_t m, n, k;
};

// D [m, n] = alpha op(A) op(B) + beta D, column-major, with two rows of room below each column.
template <class T>
struct Product {
  static constexpr bool is_wide = sizeof(T) == 8;
  static constexpr auto type = is_wide ? CUDA_R_64F : sizeof(T) == 4 ? CUDA_R_32F : CUDA_R_16BF;
  using Result = std::conditional_t<is_wide, double, float>;
  static constexpr auto result_type = is_wide ? CUDA_R_64F : CUDA_R_32F;

  Shape shape;
  bool ta, tb;
  cublasComputeType_t compute;
  Result alpha = 1, beta = 0;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;

  size_t a_rows() const { return ta ? shape.k : shape.m; }
  size_t a_cols() const { return ta ? shape.m : shape.k; }
  size_t b_rows() const { return tb ? shape.n : shape.k; }
  size_t b_cols() const { return tb ? shape.k : shape.n; }
  static constexpr size_t gap = 2;

  cublasStatus_t run(const T* a, const T* b, Result* d, Result* bias) const {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t la, lb, ld;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t algorithm;
    int found = 0;
    REQUIRE(cublasLtCreate(&handle) == 0);
    REQUIRE(cublasLtMatmulDescCreate(&desc, compute, result_type) == 0);
    const cublasOperation_t oa = ta ? CUBLAS_OP_T : CUBLAS_OP_N, ob = tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    REQUIRE(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &oa, sizeof oa) == 0);
    REQUIRE(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSB, &ob, sizeof ob) == 0);
    REQUIRE(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue) == 0);
    REQUIRE(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias) == 0);
    const auto layout = [](cublasLtMatrixLayout_t* l, cudaDataType_t t, size_t rows, size_t cols) {
      REQUIRE(cublasLtMatrixLayoutCreate(l, t, rows, cols, static_cast<int64_t>(rows + gap)) == 0);
    };
    layout(&la, type, a_rows(), a_cols());
    layout(&lb, type, b_rows(), b_cols());
    layout(&ld, result_type, shape.m, shape.n);
    const uint64_t workspace = 1 << 20;
    REQUIRE(cublasLtMatmulPreferenceCreate(&preference) == 0);
    REQUIRE(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                 sizeof workspace) == 0);
    auto status = cublasLtMatmulAlgoGetHeuristic(handle, desc, la, lb, ld, ld, preference, 1, &algorithm, &found);
    if (status == CUBLAS_STATUS_SUCCESS)
      status =
          cublasLtMatmul(handle, desc, &alpha, a, la, b, lb, &beta, d, ld, d, ld, &algorithm.algo, nullptr, 0, nullptr);
    cublasLtMatmulPreferenceDestroy(preference);
    for (cublasLtMatrixLayout_t l : {la, lb, ld}) cublasLtMatrixLayoutDestroy(l);
    cublasLtMatmulDescDestroy(desc);
    cublasLtDestroy(handle);
    return status;
  }
};

double value(double x) { return x; }
double value(float x) { return static_cast<double>(x); }
double value(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float x;
  std::memcpy(&x, &wide, sizeof x);
  return static_cast<double>(x);
}

template <class T>
std::vector<T> matrix(size_t rows, size_t cols, uint64_t seed) {
  const size_t n = (rows + Product<T>::gap) * cols;
  if constexpr (sizeof(T) == 2) {  // bf16 by truncation: any number will do
    std::vector<T> bits;
    for (const float x : normals<float>(n, seed)) {
      uint32_t u;
      std::memcpy(&u, &x, sizeof u);
      bits.push_back(static_cast<T>(u >> 16));
    }
    return bits;
  } else {
    return normals<T>(n, seed);
  }
}

// The largest error of the product, in units of what rounding operands by `unit` and the result allows.
template <class T>
double worst(const Product<T>& p, double unit) {
  using Result = typename Product<T>::Result;
  const size_t m = p.shape.m, n = p.shape.n, k = p.shape.k;
  const size_t gap = Product<T>::gap;
  const auto a = matrix<T>(p.a_rows(), p.a_cols(), 1), b = matrix<T>(p.b_rows(), p.b_cols(), 2);
  const auto bias = normals<Result>(std::max(m, n), 4);
  auto before = normals<Result>((m + gap) * n, 3);
  if (p.beta == 0) std::fill(before.begin(), before.end(), static_cast<Result>(NAN));  // is not read
  const DeviceArray<T> da(a), db(b);
  const DeviceArray<Result> dd(before), dbias(bias);
  REQUIRE(p.run(da.get(), db.get(), dd.get(), dbias.get()) == CUBLAS_STATUS_SUCCESS);
  const auto got = dd.values(), bias_after = dbias.values();

  const auto a_at = [&](size_t i, size_t l) { return value(p.ta ? a[l + i * (k + gap)] : a[i + l * (m + gap)]); };
  const auto b_at = [&](size_t l, size_t j) { return value(p.tb ? b[j + l * (n + gap)] : b[l + j * (k + gap)]); };
  const double result_unit = Product<T>::is_wide ? 0x1p-53 : 0x1p-24;
  double largest = 0;
  for (size_t j = 0; j < n; ++j) {
    double column = 0;
    for (size_t l = 0; l < k; ++l) column += b_at(l, j);
    if (p.epilogue == CUBLASLT_EPILOGUE_BGRADB)
      CHECK(value(bias_after[j]) == Approx(column).epsilon(1e-6).margin(1e-6));
    for (size_t i = 0; i < m; ++i) {
      double sum = 0, size = 0;
      for (size_t l = 0; l < k; ++l) {
        sum += a_at(i, l) * b_at(l, j);
        size += std::abs(a_at(i, l) * b_at(l, j));
      }
      double want = value(p.alpha) * sum;
      if (p.beta != 0) want += value(p.beta) * value(before[i + j * (m + gap)]);
      if (p.epilogue == CUBLASLT_EPILOGUE_BIAS) want += value(bias[i]);
      const double allowed = (2 * unit + unit * unit) * std::abs(value(p.alpha)) * size +
                             result_unit * std::abs(want) * (1 + 2 * unit) + 4e-16 * (size + std::abs(want)) + 1e-300;
      const double error = std::abs(value(got[i + j * (m + gap)]) - want) / allowed;
      if (!(error <= largest)) largest = error;
    }
  }
  return largest;
}

const auto shapes = {Shape{5, 7, 3}, Shape{1, 1, 1}, Shape{13, 20, 32}, Shape{3, 2, 0}};

template <class T>
void check_all(cublasComputeType_t compute, double unit) {
  const Fresh fresh;
  double largest = 0;
  for (const Shape& shape : shapes)
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const auto epilogue : {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_BGRADB})
          for (const int beta : {0, 1}) {
            Product<T> p{shape, ta, tb, compute};
            p.alpha = static_cast<typename Product<T>::Result>(1.5);
            p.beta = static_cast<typename Product<T>::Result>(beta);
            p.epilogue = epilogue;
            INFO(shape.m << " x " << shape.n << " x " << shape.k << " " << ta << tb << " " << epilogue << " " << beta);
            const double error = worst(p, unit);
            CHECK(error <= 1);
            largest = std::max(largest, error);
          }
  // The rounding takes place: results are not far better than it allows.
  if (sizeof(T) == 4) CHECK(largest > 0.05);
  CHECK(emulator::take_findings().empty());
}

}  // namespace

TEST_CASE("products in f64") { check_all<double>(CUBLAS_COMPUTE_64F, 0); }
TEST_CASE("products in f32") { check_all<float>(CUBLAS_COMPUTE_32F, 0); }
TEST_CASE("products in tf32") { check_all<float>(CUBLAS_COMPUTE_32F_FAST_TF32, 0x1p-11); }
TEST_CASE("products of f32 as bf16") { check_all<float>(CUBLAS_COMPUTE_32F_FAST_16BF, 0x1p-8); }
TEST_CASE("products of bf16 are exact but for the result's rounding") { check_all<uint16_t>(CUBLAS_COMPUTE_32F, 0); }

TEST_CASE("operands are rounded to nearest, ties to even") {
  const Fresh fresh;
  for (const auto& [compute, ulp] :
       {std::pair{CUBLAS_COMPUTE_32F_FAST_TF32, 0x1p-10f}, {CUBLAS_COMPUTE_32F_FAST_16BF, 0x1p-7f}})
    for (const auto& [units, want] :
         {std::pair{0.5f, 0.0f}, {0.51f, 1.0f}, {1.0f, 1.0f}, {1.49f, 1.0f}, {1.5f, 2.0f}}) {
      const Product<float> p{{1, 1, 1}, false, false, compute};
      const DeviceArray<float> a(std::vector<float>(3, 1 + units * ulp)), one(std::vector<float>(3, 1.0f)), d(3);
      for (const bool swapped : {false, true}) {
        const DeviceArray<float>&left = swapped ? one : a, &right = swapped ? a : one;
        REQUIRE(p.run(left.get(), right.get(), d.get(), nullptr) == CUBLAS_STATUS_SUCCESS);
        float got = 0;
        REQUIRE(cudaMemcpy(&got, d.get(), sizeof got, cudaMemcpyDeviceToHost) == cudaSuccess);
        CHECK(got == 1 + want * ulp);
      }
    }
}

TEST_CASE("products that cublasLt refuses") {
  const Fresh fresh;
  const DeviceArray<float> a(normals<float>(64, 1)), b(normals<float>(64, 2)), d(std::vector<float>(64));
  Product<float> p{{4, 4, 4}, false, false, CUBLAS_COMPUTE_32F};
  const auto refused = [&](const float* from, float* bias) {
    CHECK(p.run(from, b.get(), d.get(), bias) == CUBLAS_STATUS_INVALID_VALUE);
    const auto found = emulator::take_findings();
    REQUIRE(found.size() == 1);
    CHECK_THAT(found[0], StartsWith("test_cublas_lt.cpp:"));
    return found[0];
  };
  const std::vector<float> host(64);
  CHECK_THAT(refused(host.data(), nullptr), Contains("a matrix that is not in one allocation of the device"));
  CHECK_THAT(refused(a.get() + 60, nullptr), Contains("a matrix that is not in one allocation"));
  p.epilogue = CUBLASLT_EPILOGUE_BIAS;
  CHECK_THAT(refused(a.get(), nullptr), Contains("a bias that is not"));
  p.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  p.compute = CUBLAS_COMPUTE_64F;
  CHECK_THAT(refused(a.get(), nullptr), Contains("types that do not go together"));
  cublasLtMatrixLayout_t layout;
  CHECK(cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, 8, 8, 7) == CUBLAS_STATUS_INVALID_VALUE);
  // An epilogue for which there is no algorithm is no fault.
  emulator::settings().epilogues = false;
  p.compute = CUBLAS_COMPUTE_32F;
  CHECK(p.run(a.get(), b.get(), d.get(), d.get()) == CUBLAS_STATUS_SUCCESS);
  p.epilogue = CUBLASLT_EPILOGUE_BGRADB;
  CHECK(p.run(a.get(), b.get(), d.get(), d.get()) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(emulator::take_findings().empty());
}

TEST_CASE("a product of what nobody wrote is found", "[checked]") {
  const Fresh fresh;
  const DeviceArray<float> a(64), b(normals<float>(64, 2)), d(64);
  const Product<float> p{{4, 4, 4}, false, false, CUBLAS_COMPUTE_32F};
  CHECK(p.run(a.get(), b.get(), d.get(), nullptr) == CUBLAS_STATUS_SUCCESS);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  const auto found = emulator::take_findings();
  REQUIRE(!found.empty());
  CHECK_THAT(found[0], StartsWith("test_cublas_lt.cpp:") && Contains("the product reads what nobody wrote"));
}
