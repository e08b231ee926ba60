// The matrix product: on panels where there are vector registers for it, else by Eigen.
#include "engine/cpu/gemm/batch.h"

#if defined(__AVX2__)
#include "engine/cpu/gemm/panels.h"
#endif

namespace crisp::CRISP_ISA {

template <class T>
void eigen_gemm(const GemmCall<T>& g);  // eigen.cpp: one product, with its leading dimensions

namespace {

template <class T>
void gemm(const GemmCall<T>& call) {
  for_products(call, [](const GemmCall<T>& g) {
#if defined(__AVX2__)
    gemm_panels<Plain<T>>(g);
#else
    eigen_gemm(g);
#endif
  });
}

}  // namespace

void fill_gemm(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) { table.gemm = gemm<T>; });
}

}  // namespace crisp::CRISP_ISA
