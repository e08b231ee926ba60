#include "engine/backend.h"

#include <cstdlib>
#include <cstring>
#include <string_view>

#include "engine/allocator.h"
#include "engine/cpu/tables.h"

namespace crisp {
namespace {

enum class Isa { generic, avx2, avx512 };

Isa best_isa() {
#if defined(CRISP_HAVE_X86_ISAS)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return Isa::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::generic;
}

Isa choose_isa() {
  const Isa best = best_isa();
  const char* wish = std::getenv("CRISP_ISA");
  if (!wish || !*wish) return best;
  const std::string_view name = wish;
  const Isa isa = name == "generic" ? Isa::generic : name == "avx2" ? Isa::avx2 : Isa::avx512;
  if (isa == Isa::avx512 && name != "avx512")
    fail<UsageError>("CRISP_ISA is \"{}\"; it must be generic, avx2 or avx512", name);
  if (isa > best) fail<UsageError>("CRISP_ISA asks for {}, which this machine or this build lacks", name);
  return isa;
}

Isa isa() {
  static const Isa chosen = choose_isa();
  return chosen;
}

template <class T>
const Kernels<T>& cpu_table() {
#if defined(CRISP_HAVE_X86_ISAS)
  if (isa() == Isa::avx512) return cpu_avx512::table(T{});
  if (isa() == Isa::avx2) return cpu_avx2::table(T{});
#endif
  return cpu_generic::table(T{});
}

void cpu_copy(void* to, Device, const void* from, Device, size_t bytes) {
  if (bytes) std::memcpy(to, from, bytes);
}

}  // namespace

const char* cpu_instruction_set() {
  switch (isa()) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    case Isa::generic:
      break;
  }
  return "generic";
}

const Backend& backend(Device device) {
  static const Backend cpu{"cpu",    cached_allocate,    cached_allocate_zeroed, cached_free,
                           cpu_copy, cpu_table<float>(), cpu_table<double>()};
  if (device == Device::cuda) fail("this build has no cuda backend");
  return cpu;
}

}  // namespace crisp
