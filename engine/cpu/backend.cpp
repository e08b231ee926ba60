#include "engine/cpu/backend.h"

#include <algorithm>
#include <concepts>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>

#include "engine/context.h"
#include "engine/cpu/memory/allocator.h"
#include "engine/cpu/tables.h"
#include "engine/fail.h"
#include "engine/host_memory.h"
#include "engine/system.h"

#if defined(CRISP_HAVE_AMX)
#include <cpuid.h>
#endif

namespace crisp {
namespace {

enum class Isa { generic, avx2, avx512 };
constexpr const char* isa_names[] = {"generic", "avx2", "avx512"};
static_assert(std::size(isa_names) == static_cast<size_t>(Isa::avx512) + 1);

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
  const auto* const named = std::find(std::begin(isa_names), std::end(isa_names), std::string_view(wish));
  if (named == std::end(isa_names)) fail<UsageError>("CRISP_ISA is \"{}\"; it must be generic, avx2 or avx512", wish);
  const auto isa = static_cast<Isa>(named - isa_names);
  if (isa > best) fail<UsageError>("CRISP_ISA asks for {}, which this machine or this build lacks", wish);
  return isa;
}

Isa isa() {
  static const Isa chosen = choose_isa();
  return chosen;
}

bool has_avx512_bf16() {
#if defined(CRISP_HAVE_AVX512_BF16)
  return isa() == Isa::avx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

// Asks the system for the right to use tile data. It holds for the whole process, but threads that were started before
// might lack the room to save it: hence asked as the first kernel table is.
bool request_amx() {
#if defined(CRISP_HAVE_AMX)
  constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24;  // CPUID 7.0, edx
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(edx & amx_bf16) || !(edx & amx_tile)) return false;
  return os::allow_tiles();
#else
  return false;
#endif
}

const Tables& tables() {
#if defined(CRISP_HAVE_X86_ISAS)
  if (isa() == Isa::avx512) return cpu_avx512::tables();
  if (isa() == Isa::avx2) return cpu_avx2::tables();
#endif
  return cpu_generic::tables();
}

bool supports(MatmulPrecision precision) {
  if (precision == MatmulPrecision::tf32) return false;
  return precision == MatmulPrecision::f32 || amx_usable() || (precision == MatmulPrecision::bf16 && has_avx512_bf16());
}

void product(const GemmCall<float>& call) {
  if (!supports(call.precision)) fail("this CPU has no {} products", name_of(call.precision));
  if (call.precision == MatmulPrecision::f32) return tables().f32.gemm(call);
#if defined(CRISP_HAVE_AMX)
  if (amx_usable()) return cpu_amx::gemm_tiles(call);
#endif
#if defined(CRISP_HAVE_AVX512_BF16)
  cpu_avx512_bf16::gemm_bf16(call);
#endif
}
void product(const GemmCall<double>& call) { tables().f64.gemm(call); }

template <class T>
const Kernels<T>& own_table() {
  if constexpr (std::same_as<T, double>) {
    return tables().f64;
  } else {
    return tables().f32;
  }
}

// The files of products know nothing of sums of an operand.
template <class T>
void gemm(const GemmCall<T>& call) {
  product(call);
  if (!call.a_sums) return;
  const int64_t row = call.lda > 0 ? call.lda : call.m;
  own_table<T>().column_sum(call.k, call.m, call.a, row, call.a_sums, call.beta_sums);
}

// The instruction set's table, but for the product.
template <class T>
Kernels<T> with_sums() {
  Kernels<T> table = own_table<T>();
  table.gemm = gemm<T>;
  return table;
}

std::string kernels_for(MatmulPrecision precision) {
  const bool f32 = precision == MatmulPrecision::f32;
  return fmt::format("{}{}{}", cpu_instruction_set(), f32 ? "" : "+", f32 ? "" : cpu_bf16_unit());
}

void copy(void* to, Device, const void* from, Device, size_t bytes) {
  if (bytes) std::memmove(to, from, bytes);  // views of one tensor may overlap
}

}  // namespace

const char* cpu_instruction_set() { return isa_names[static_cast<int>(isa())]; }

bool amx_usable() {
  static const bool usable = has_avx512_bf16() && request_amx();
  return usable;
}

const char* cpu_bf16_unit() { return amx_usable() ? "amx" : has_avx512_bf16() ? "avx512_bf16" : ""; }

const Backend& cpu_backend() {
  // Before anything computes, so that no child of fork() meets a thread that is at it.
  amx_usable();
  Context::standard();
  static const Kernels<float> f32 = with_sums<float>();
  static const Kernels<double> f64 = with_sums<double>();
  const auto peak_bytes = [] { return allocator_stats().peak_bytes_in_use; };
  static const Backend cpu{.name = "cpu",
                           .problem = [] { return std::string(); },
                           .allocate = cached_allocate,
                           .allocate_zeroed = cached_allocate_zeroed,
                           .free = cached_free,
                           .used_bytes = [] { return allocator_stats().bytes_in_use; },
                           .peak_bytes = peak_bytes,
                           .held_bytes = [] { return allocator_stats().bytes_reserved; },
                           .copy = copy,
                           .join = []() noexcept {},
                           .wait = [] {},
                           .moments = nullptr,
                           .products_form_squares = true,
                           .products_sum_operands = false,
                           .launches_kernels = false,
                           .supports = supports,
                           .kernels_for = kernels_for,
                           .f32 = f32,
                           .f64 = f64};
  return cpu;
}

}  // namespace crisp
