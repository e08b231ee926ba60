// cublasLt's functions, for products as plain loops (cublas_product.h). They refuse what the real ones would: sizes
// that do not fit, leading dimensions that are too small, types that do not go together. An algorithm remembers what it
// was chosen for: it takes no other product (but for numbers of rows and columns), no pointer that is less aligned than
// was promised, and no less workspace than it asked for.
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "tests/cuda_emulator/cublas_product.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/findings.h"
#include "tests/cuda_emulator/memory.h"
#include "tests/cuda_emulator/stream.h"

using namespace crisp::emulator;

struct cublasLtContext {};
struct cublasLtMatmulPreferenceOpaque_t {
  uint64_t workspace = 0;
  std::array<uint32_t, 4> alignments{256, 256, 256, 256};  // of a, b, c, d
};

namespace {

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

bool batches_fit(const Matrix& a, const Matrix& b, const Matrix& d) {
  return a.layout.batch == d.layout.batch && b.layout.batch == d.layout.batch;
}

bool is_empty(const Matrix& m) { return m.layout.rows == 0 || m.layout.columns == 0 || m.layout.batch == 0; }

bool lies_on_device(const Matrix& m) {
  if (is_empty(m)) return true;
  const char* const end = m.number(m.layout.batch - 1).at(m.layout.rows, m.layout.columns - 1);
  return is_allocated(m.data, static_cast<size_t>(end - m.data));
}

// Products of a batch would write to the same place.
bool overlaps_itself(const Matrix& m) {
  if (m.layout.batch < 2 || is_empty(m)) return false;
  const auto rows = static_cast<int64_t>(m.layout.rows), columns = static_cast<int64_t>(m.layout.columns);
  const int64_t ld = m.layout.leading_dimension, stride = m.layout.stride;
  return stride < (columns - 1) * ld + rows && !(stride >= rows && (m.layout.batch - 1) * stride + rows <= ld);
}

// What an algorithm was chosen for and what it needs, in the bits that a program sees as opaque.
struct Algorithm {
  uint64_t product;
  uint64_t workspace;
  std::array<uint32_t, 4> alignments;
  uint32_t bias_alignment;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));
// What it uses if it is granted so much.
constexpr uint64_t workspace_wish = 4096;

uint64_t identity(const cublasLtMatmulDescOpaque_t& desc, std::initializer_list<cublasLtMatrixLayout_t> layouts) {
  uint64_t hash = 14695981039346656037u;
  const auto add = [&](auto value) { hash = (hash ^ static_cast<uint64_t>(value)) * 1099511628211u; };
  for (const int value : {int{desc.compute}, int{desc.scale}, int{desc.a}, int{desc.b}, int{desc.epilogue}}) add(value);
  for (const cublasLtMatrixLayout_t l : layouts) {
    add(l->type);
    if (!settings().other_sizes) {
      add(l->rows);
      add(l->columns);
    }
    add(l->leading_dimension);
    add(l->batch);
    add(l->stride);
  }
  return hash;
}

uint32_t alignment_of(const void* p) {
  const auto address = reinterpret_cast<uintptr_t>(p) | 256;
  return static_cast<uint32_t>(address & (~address + 1));
}

template <class To>
cublasStatus_t take(To& to, const void* value, size_t bytes) {
  if (bytes != sizeof to) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t invalid(Where where, const std::string& text) {
  add_finding(place(where) + ": cublasLtMatmul of " + text);
  return CUBLAS_STATUS_INVALID_VALUE;
}

double scalar(const void* p, cudaDataType_t type) { return Matrix::load(static_cast<const char*>(p), type); }

}  // namespace

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "unknown";
}
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
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return take(desc->a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return take(desc->b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return take(desc->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return take(desc->bias, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, uint64_t rows,
                                          uint64_t columns, int64_t leading_dimension) {
  if (leading_dimension < static_cast<int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = new cublasLtMatrixLayoutOpaque_t{type, rows, columns, leading_dimension};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return take(layout->batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return take(layout->stride, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
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
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) return take(preference->workspace, value, bytes);
  const int matrix = attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
  if (matrix < 0 || matrix > 3) return CUBLAS_STATUS_INVALID_VALUE;
  return take(preference->alignments[static_cast<size_t>(matrix)], value, bytes);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference,
                                              int requested, cublasLtMatmulHeuristicResult_t* results, int* found) {
  *found = 0;
  ++counters().choices;
  if (requested < 1) return CUBLAS_STATUS_INVALID_VALUE;
  if (desc->epilogue != CUBLASLT_EPILOGUE_DEFAULT && !settings().epilogues) return CUBLAS_STATUS_NOT_SUPPORTED;
  const Algorithm algorithm{identity(*desc, {a, b, c, d}), std::min(preference->workspace, workspace_wish),
                            preference->alignments, alignment_of(desc->bias)};
  results[0] = {};
  std::memcpy(&results[0].algo, &algorithm, sizeof algorithm);
  results[0].workspaceSize = algorithm.workspace;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                       cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* chosen, cublasLtMatmulHeuristicResult_t* result) {
  Algorithm algorithm{};
  std::memcpy(&algorithm, chosen, sizeof algorithm);
  if (algorithm.product != identity(*desc, {a, b, c, d})) return CUBLAS_STATUS_NOT_SUPPORTED;
  *result = {};
  result->algo = *chosen;
  result->workspaceSize = algorithm.workspace;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* chosen, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream, Where where) {
  const auto matrix = [](const void* p, cublasLtMatrixLayout_t layout) {
    return Matrix{const_cast<char*>(static_cast<const char*>(p)), *layout};
  };
  Algorithm algorithm{};
  if (!chosen) return invalid(where, "no algorithm: the library would choose one, at each call anew");
  std::memcpy(&algorithm, chosen, sizeof algorithm);
  const Product product{*desc,
                        scalar(alpha, desc->scale),
                        scalar(beta, desc->scale),
                        matrix(a, a_layout),
                        matrix(b, b_layout),
                        matrix(d, d_layout),
                        workspace,
                        algorithm.workspace,
                        where};
  if (!types_fit(*desc, product.a, product.b, product.d)) return invalid(where, "types that do not go together");
  if (!sizes_fit(*desc, product.a, product.b, product.d)) return invalid(where, "matrices whose sizes do not fit");
  if (!batches_fit(product.a, product.b, product.d)) return invalid(where, "batches of different sizes");
  if (c != d || c_layout->leading_dimension != d_layout->leading_dimension || c_layout->batch != d_layout->batch ||
      c_layout->stride != d_layout->stride)
    return invalid(where, "a C that is not D, which is not emulated");
  if (overlaps_itself(product.d)) return invalid(where, "results that overlap");
  if (!lies_on_device(product.a) || !lies_on_device(product.b) || !lies_on_device(product.d))
    return invalid(where, "a matrix that is not in one allocation of the device");
  const bool with_bias = desc->epilogue != CUBLASLT_EPILOGUE_DEFAULT;
  if (with_bias &&
      !is_allocated(desc->bias, product.d.element_bytes() *
                                    (desc->epilogue == CUBLASLT_EPILOGUE_BIAS ? d_layout->rows : d_layout->columns)))
    return invalid(where, "a bias that is not in one allocation of the device");
  if (desc->epilogue == CUBLASLT_EPILOGUE_BGRADB && d_layout->batch > 1)
    return invalid(where, "a batch with gradients of biases, which is not emulated");

  if (algorithm.product != identity(*desc, {a_layout, b_layout, c_layout, d_layout}))
    return invalid(where, "an algorithm that was chosen for another product");
  const void* const pointers[] = {a, b, c, d};
  for (size_t i = 0; i < 4; ++i)
    if (reinterpret_cast<uintptr_t>(pointers[i]) % algorithm.alignments[i] != 0)
      return invalid(where, std::string("a pointer ") + "ABCD"[i] + " that is no multiple of the " +
                                std::to_string(algorithm.alignments[i]) + " bytes that were promised");
  if (with_bias && alignment_of(desc->bias) < algorithm.bias_alignment)
    return invalid(where, "a bias that is less aligned than the one that the algorithm was chosen with");
  if (workspace_bytes < algorithm.workspace)
    return invalid(where, "an algorithm that needs " + std::to_string(algorithm.workspace) +
                              " bytes of workspace, more than the " + std::to_string(workspace_bytes) + " given");
  if (workspace_bytes > 0 && !is_allocated(workspace, workspace_bytes))
    return invalid(where, "a workspace that is not in one allocation of the device");
  if (reinterpret_cast<uintptr_t>(workspace) % 256 != 0)
    return invalid(where, "a workspace that is no multiple of 256 bytes");
  if (enqueue(stream, Command::always(NodeKind::kernel, [product] { product.run(); })))
    return CUBLAS_STATUS_EXECUTION_FAILED;
  return CUBLAS_STATUS_SUCCESS;
}
