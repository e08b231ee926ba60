#include "engine/cuda/cublas_lt.h"

#include "engine/fail.h"

#ifndef CUDA_EMULATED
#include <dlfcn.h>

#include <cstdlib>
#include <vector>
#endif

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

struct Opened {
  CublasLt functions{};
  std::string problem;
};

#ifdef CUDA_EMULATED

Opened open() {
  return {{.create = cublasLtCreate,
           .status_name = cublasLtGetStatusName,
           .desc_create = cublasLtMatmulDescCreate,
           .desc_destroy = cublasLtMatmulDescDestroy,
           .desc_set = cublasLtMatmulDescSetAttribute,
           .layout_create = cublasLtMatrixLayoutCreate,
           .layout_destroy = cublasLtMatrixLayoutDestroy,
           .layout_set = cublasLtMatrixLayoutSetAttribute,
           .preference_create = cublasLtMatmulPreferenceCreate,
           .preference_destroy = cublasLtMatmulPreferenceDestroy,
           .preference_set = cublasLtMatmulPreferenceSetAttribute,
           .heuristic = cublasLtMatmulAlgoGetHeuristic,
           .algorithm_check = cublasLtMatmulAlgoCheck,
           .matmul = [](auto... arguments) { return cublasLtMatmul(arguments...); }},
          {}};
}

#else

// The version of the toolkit that this was built with, whose runtime is in the program, then the other one whose
// functions are the same.
constexpr int built_with = CUDART_VERSION / 1000, other_version = built_with == 13 ? 12 : 13;

std::string file_of(int version) { return fmt::format("libcublasLt.so.{}", version); }

// Where the loader looks, then where CUDA is usually installed.
void* find_library() {
  std::vector<std::string> directories{""};
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char* root = std::getenv(variable); root && *root) directories.push_back(fmt::format("{}/lib64/", root));
  for (const char* root : {"/usr/local/cuda", "/opt/cuda"}) directories.push_back(fmt::format("{}/lib64/", root));
  for (const int version : {built_with, other_version}) {
    directories.push_back(fmt::format("/usr/local/cuda-{}/lib64/", version));
    for (const std::string& directory : directories)
      if (void* library = dlopen((directory + file_of(version)).c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  }
  return nullptr;
}

Opened open() {
  Opened opened;
  void* const library = find_library();
  if (!library) {
    opened.problem = fmt::format(
        "{} was not found: install NVIDIA's cuBLAS for CUDA {} (the package libcublas-{}-{} for example), or name its "
        "directory in LD_LIBRARY_PATH",
        file_of(built_with), built_with, built_with, CUDART_VERSION % 1000 / 10);
    return opened;
  }
  const auto take = [&]<class F>(const char* name, F& function) {
    function = reinterpret_cast<F>(dlsym(library, name));
    if (!function) opened.problem = fmt::format("the libcublasLt of this machine has no {}: install a newer one", name);
  };
  CublasLt& f = opened.functions;
  take("cublasLtCreate", f.create);
  take("cublasLtGetStatusName", f.status_name);
  take("cublasLtMatmulDescCreate", f.desc_create);
  take("cublasLtMatmulDescDestroy", f.desc_destroy);
  take("cublasLtMatmulDescSetAttribute", f.desc_set);
  take("cublasLtMatrixLayoutCreate", f.layout_create);
  take("cublasLtMatrixLayoutDestroy", f.layout_destroy);
  take("cublasLtMatrixLayoutSetAttribute", f.layout_set);
  take("cublasLtMatmulPreferenceCreate", f.preference_create);
  take("cublasLtMatmulPreferenceDestroy", f.preference_destroy);
  take("cublasLtMatmulPreferenceSetAttribute", f.preference_set);
  take("cublasLtMatmulAlgoGetHeuristic", f.heuristic);
  take("cublasLtMatmulAlgoCheck", f.algorithm_check);
  take("cublasLtMatmul", f.matmul);
  return opened;
}

#endif

const Opened& opened() {
  static const Opened once = open();
  return once;
}

}  // namespace

const std::string& cublas_lt_problem() { return opened().problem; }

const CublasLt& cublas_lt() {
  if (!cublas_lt_problem().empty()) fail("cuda: {}", cublas_lt_problem());
  return opened().functions;
}

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    fail("cublasLt failed in {}: {} ({})", what, cublas_lt().status_name(status), static_cast<int>(status));
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
