// The CPU backend's kernel tables, one pair per instruction set. engine/backend.cpp chooses among them at run time.
#pragma once

#include "engine/kernels.h"

#define CRISP_DECLARE_TABLES(isa)       \
  namespace crisp::isa {                \
  const Kernels<float>& table(float);   \
  const Kernels<double>& table(double); \
  }

CRISP_DECLARE_TABLES(cpu_generic)
CRISP_DECLARE_TABLES(cpu_avx2)
CRISP_DECLARE_TABLES(cpu_avx512)
#undef CRISP_DECLARE_TABLES
