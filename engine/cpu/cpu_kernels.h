// Shared by the CPU kernel files. Each of them is compiled once per instruction set, with CRISP_ISA naming the
// namespace (cpu_generic, cpu_avx2, cpu_avx512).
//
// Everything here and in the kernel files must live in that namespace or be always inlined: a template or inline
// function of another namespace, compiled for AVX-512, could be the copy that the linker keeps for everyone. So: no
// standard containers or algorithms in kernels. tests/check_isa_symbols.cmake looks for violations.
#pragma once

#include <cstdint>

#include "engine/cpu/memory/workspace.h"
#include "engine/kernels.h"

#ifndef CRISP_ISA
#error "compile the CPU kernels with -DCRISP_ISA=cpu_<instruction set>"
#endif

namespace crisp::CRISP_ISA {

// Each kernel file puts its functions into the table.
template <class T>
void fill_elementwise(Kernels<T>& table);
template <class T>
void fill_reduce(Kernels<T>& table);
template <class T>
void fill_move(Kernels<T>& table);
template <class T>
void fill_gemm(Kernels<T>& table);
template <class T>
void fill_softmax(Kernels<T>& table);
template <class T>
void fill_layer_norm(Kernels<T>& table);
template <class T>
void fill_rows(Kernels<T>& table);
template <class T>
void fill_attention(Kernels<T>& table);
template <class T>
void fill_attention_backward(Kernels<T>& table);
template <class T>
void fill_adamw(Kernels<T>& table);

/// Work below this many elements is not worth waking other threads for. Loops whose iterations are independent give the
/// same bits either way.
constexpr int64_t parallel_threshold = 16384;

}  // namespace crisp::CRISP_ISA
