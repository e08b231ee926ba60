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
  // Of a batch: how many, and elements from a matrix to the next.
  int32_t batch = 1, b_batch = 1;
  int64_t stride_a = 0, stride_b = 0, stride_d = 0;
  uint32_t alignment = 256;
  const Result* chosen_with = nullptr;  // a bias other than the product's
  int64_t other_gap = 0;                // of the D that the algorithm is chosen for
  size_t other_columns = 0;             // that it has more
  size_t given = 1 << 20;               // bytes of workspace
  ptrdiff_t shift = 0;                  // of the workspace

  size_t a_rows() const { return ta ? shape.k : shape.m; }
  size_t a_cols() const { return ta ? shape.m : shape.k; }
  size_t b_rows() const { return tb ? shape.n : shape.k; }
  size_t b_cols() const { return tb ? shape.k : shape.n; }
  static constexpr size_t gap = 2;

  cublasStatus_t run(const T* a, const T* b, Result* d, Result* bias) const {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t la, lb, ld, chosen_d;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t algorithm;
    int found = 0;
    REQUIRE(cublasLtCreate(&handle) == 0);
    REQUIRE(cublasLtMatmulDescCreate(&desc, compute, result_type) == 0);
    const auto describe = [&](cublasLtMatmulDescAttributes_t attribute, auto v) {
      REQUIRE(cublasLtMatmulDescSetAttribute(desc, attribute, &v, sizeof v) == 0);
    };
    describe(CUBLASLT_MATMUL_DESC_TRANSA, ta ? CUBLAS_OP_T : CUBLAS_OP_N);
    describe(CUBLASLT_MATMUL_DESC_TRANSB, tb ? CUBLAS_OP_T : CUBLAS_OP_N);
    describe(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    describe(CUBLASLT_MATMUL_DESC_BIAS_POINTER, chosen_with ? chosen_with : bias);
    const auto layout = [](cublasLtMatrixLayout_t* l, cudaDataType_t t, size_t rows, size_t cols, int32_t count,
                           int64_t stride, int64_t more = 0) {
      REQUIRE(cublasLtMatrixLayoutCreate(l, t, rows, cols, static_cast<int64_t>(rows + gap) + more) == 0);
      REQUIRE(cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count) == 0);
      REQUIRE(cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                               sizeof stride) == 0);
    };
    layout(&la, type, a_rows(), a_cols(), batch, stride_a);
    layout(&lb, type, b_rows(), b_cols(), batch * b_batch, stride_b);
    layout(&ld, result_type, shape.m, shape.n, batch, stride_d);
    layout(&chosen_d, result_type, shape.m, shape.n + other_columns, batch, stride_d, other_gap);
    REQUIRE(cublasLtMatmulPreferenceCreate(&preference) == 0);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto v) {
      REQUIRE(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &v, sizeof v) == 0);
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{1} << 20);
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      if (alignment != 256) prefer(attribute, alignment);
    auto status =
        cublasLtMatmulAlgoGetHeuristic(handle, desc, la, lb, chosen_d, chosen_d, preference, 1, &algorithm, &found);
    describe(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    const DeviceArray<char> workspace(given + 256);
    if (status == CUBLAS_STATUS_SUCCESS)
      status = cublasLtMatmul(handle, desc, &alpha, a, la, b, lb, &beta, d, ld, d, ld, &algorithm.algo,
                              workspace.get() + shift, given, nullptr);
    cublasLtMatmulPreferenceDestroy(preference);
    for (cublasLtMatrixLayout_t l : {la, lb, ld, chosen_d}) cublasLtMatrixLayoutDestroy(l);
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

TEST_CASE("each product of a batch is a product of its own") {
  const Fresh fresh;
  const auto a = normals<float>(64, 1), b = normals<float>(64, 2), bias = normals<float>(3, 3);
  Product<float> p{{3, 2, 4}, false, true, CUBLAS_COMPUTE_32F};
  p.epilogue = CUBLASLT_EPILOGUE_BIAS;
  p.alignment = 4;
  const DeviceArray<float> da(a), db(b), dbias(bias), together(std::vector<float>(64, -1.0f)),
      alone(std::vector<float>(64, -1.0f));
  for (const int64_t stride_b : {0, 7}) {
    for (int i = 0; i < 3; ++i)
      REQUIRE(p.run(da.get() + 20 * i, db.get() + stride_b * i, alone.get() + 11 * i, dbias.get()) == 0);
    Product<float> all = p;
    all.batch = 3;
    all.stride_a = 20;
    all.stride_b = stride_b;
    all.stride_d = 11;
    const auto before = emulator::counters().launches;
    REQUIRE(all.run(da.get(), db.get(), together.get(), dbias.get()) == 0);
    CHECK(together.values() == alone.values());
    CHECK(emulator::counters().launches == before + 1);
  }
  // Side by side in the columns of one matrix.
  p.shape.m = 1;
  p.batch = 3;
  p.stride_d = 1;
  CHECK(p.run(da.get(), db.get(), together.get(), dbias.get()) == 0);
  CHECK(emulator::take_findings().empty());
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
  const float* const from = a.get();
  p.alignment = 8;
  CHECK_THAT(refused(from + 1, nullptr), Contains("a pointer A that is no multiple of the 8 bytes that were promised"));
  p.alignment = 256;
  CHECK_THAT(refused(from + 4, nullptr), Contains("no multiple of the 256 bytes"));
  p.given = 1024;
  CHECK_THAT(refused(from, nullptr), Contains("needs 4096 bytes of workspace, more than the 1024 given"));
  p.given = 1 << 20;
  p.shift = 128;
  CHECK_THAT(refused(from, nullptr), Contains("a workspace that is no multiple of 256 bytes"));
  p.shift = 256 * 256;
  CHECK_THAT(refused(from, nullptr), Contains("a workspace that is not in one allocation"));
  p.shift = 0;
  p.other_gap = 1;
  CHECK_THAT(refused(from, nullptr), Contains("an algorithm that was chosen for another product"));
  p.other_gap = 0;
  p.other_columns = 1;
  emulator::settings().other_sizes = false;
  CHECK_THAT(refused(from, nullptr), Contains("an algorithm that was chosen for another product"));
  emulator::settings().other_sizes = true;
  p.other_columns = 0;
  p.epilogue = CUBLASLT_EPILOGUE_BIAS;
  p.chosen_with = d.get();
  CHECK_THAT(refused(from, d.get() + 1), Contains("a bias that is less aligned"));
  p.epilogue = CUBLASLT_EPILOGUE_BGRADB;
  p.batch = 2;
  p.stride_d = 24;
  CHECK_THAT(refused(from, d.get()), Contains("a batch with gradients of biases"));
  p.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  p.stride_d = 21;
  CHECK_THAT(refused(from, nullptr), Contains("results that overlap"));
  p.b_batch = 2;
  CHECK_THAT(refused(from, nullptr), Contains("batches of different sizes"));
  p.b_batch = p.batch = 1;
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
