// Shared by the CPU kernel files, which are compiled once per instruction set, with CRISP_ISA naming the namespace. All
// in them must live there or be always inlined: a template of another namespace, one of std say, compiled for AVX-512
// could be the copy that the linker keeps for everyone. tests/check_isa_symbols.cmake looks for violations.
#pragma once

#include <cstdint>

#include "engine/cpu/memory/workspace.h"
#include "engine/cpu/tables.h"

#ifndef CRISP_ISA
#error "compile the CPU kernels with -DCRISP_ISA=cpu_<instruction set>"
#endif

/// Behind a lambda's parameters: always inlined, however often it is called.
#define CRISP_INLINED __attribute__((always_inline))

namespace crisp::CRISP_ISA {

/// What each kernel file puts its functions into the tables with.
using Fill = void(Tables& tables);
Fill fill_elementwise, fill_reduce, fill_move, fill_gemm, fill_softmax, fill_layer_norm, fill_rows, fill_attention,
    fill_attention_backward, fill_adamw;

/// f(table) for both.
template <class F>
CRISP_INLINE void for_types(Tables& tables, F f) {
  f(tables.f32);
  f(tables.f64);
}

/// Work below this many elements is not worth waking other threads for. Loops whose iterations are independent give the
/// same bits either way.
constexpr int64_t parallel_threshold = 16384;

}  // namespace crisp::CRISP_ISA
