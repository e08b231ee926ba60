// cublasLt, NVIDIA's library of matrix products, opened at run time: it is larger than all else together, and what is
// built here has to start without it, too.
#pragma once

#include <cublasLt.h>

#include <string>

#ifndef CRISP_CUDA_NAMESPACE
#define CRISP_CUDA_NAMESPACE cuda
#endif

namespace crisp::CRISP_CUDA_NAMESPACE {

/// The functions that are used, by their names there.
struct CublasLt {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtGetStatusName) status_name;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmulAlgoCheck) algorithm_check;
  // Written out, since the emulator's has one parameter more.
  cublasStatus_t (*matmul)(cublasLtHandle_t, cublasLtMatmulDesc_t, const void* alpha, const void* a,
                           cublasLtMatrixLayout_t, const void* b, cublasLtMatrixLayout_t, const void* beta,
                           const void* c, cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t,
                           const cublasLtMatmulAlgo_t*, void* workspace, size_t workspace_bytes, cudaStream_t);
};

/// Why there is no cublasLt, a sentence that says what to do; empty where there is one.
const std::string& cublas_lt_problem();
/// Throws Error with cublas_lt_problem().
const CublasLt& cublas_lt();
/// Throws Error, "cublasLt failed in WHAT: ..", unless the call succeeded.
void check(cublasStatus_t status, const char* what);

}  // namespace crisp::CRISP_CUDA_NAMESPACE
