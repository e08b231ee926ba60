#include "engine/meta/backend.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "engine/context.h"
#include "engine/cpu/memory/allocator.h"
#include "engine/cpu/memory/workspace.h"
#include "engine/cuda/rules.h"
#include "engine/kernel_list.h"
#include "engine/meta/memory.h"

namespace crisp::meta {
namespace {

template <Device device>
Memory& memory() {
  return Memory::of(device);
}

// --- scratch memory --------------------------------------------------------------------------------------------------

template <Device device>
struct KeptScratch : Scratch {
  void* block = nullptr;
  size_t bytes = 0;
  ~KeptScratch() override { memory<device>().free(block); }
};
template <Device device>
std::unique_ptr<Scratch> make_scratch() {
  return std::make_unique<KeptScratch<device>>();
}

// A block that grows to the largest size that was asked for, as those of the devices.
template <Device device>
void take_scratch(size_t bytes) {
  auto& kept = static_cast<KeptScratch<device>&>(scratch_in_use(make_scratch<device>));
  if (bytes <= kept.bytes) return;
  memory<device>().free(std::exchange(kept.block, nullptr));
  kept.bytes = 0;
  kept.block = memory<device>().allocate_scratch(bytes);
  kept.bytes = bytes;
}

// --- kernels ---------------------------------------------------------------------------------------------------------

template <class T, size_t Index, auto Member, class Function>
struct Nothing;
template <class T, size_t Index, auto Member, class... Arguments>
struct Nothing<T, Index, Member, void (*)(Arguments...)> {
  static void call(Arguments...) {}
};

// What the host asks for.
template <Device device, class T>
void clip(const ClipCall<T>& call) {
  auto* const result = static_cast<ClipResult*>(memory<device>().open(call.result));
  *result = {.norm = 0, .other = 0, .loss = 0, .penalty = 0, .factor = 1, .is_finite = 1};
}
template <Device device, class T>
void all_finite(int64_t, const T*, int32_t* out) {
  *static_cast<int32_t*>(memory<device>().open(out)) = 1;
}

// Kernels of the CPU that ask for scratch memory before all else.
template <class T, size_t Index, auto Member, class Function>
struct AskCpu;
template <class T, size_t Index, auto Member, class... Arguments>
struct AskCpu<T, Index, Member, void (*)(Arguments...)> {
  static void call(Arguments... arguments) {
    take_scratch<Device::meta>(scratch_asked_for([&] { (crisp::kernels<T>(Device::cpu).*Member)(arguments...); }));
  }
};

template <class T>
Kernels<T> cpu_kernels() {
  Kernels<T> table = kernels_made_of<T, Nothing>();
  const Kernels<T> asking = kernels_made_of<T, AskCpu>();
  table.gemm = [](const GemmCall<T>& call) {
    if (call.m > 0 && call.n > 0) AskCpu<T, 0, &Kernels<T>::gemm, void (*)(const GemmCall<T>&)>::call(call);
  };
  table.layer_norm = asking.layer_norm;
  table.layer_norm_backward = asking.layer_norm_backward;
  table.column_sum = asking.column_sum;
  table.gelu_backward = asking.gelu_backward;
  table.attention = asking.attention;
  table.attention_backward = asking.attention_backward;
  table.clip = clip<Device::meta, T>;
  table.all_finite = all_finite<Device::meta, T>;
  return table;
}

void take_cuda_scratch(size_t bytes) {
  if (bytes > 0) take_scratch<Device::meta_cuda>(std::max(bytes, cuda_rules::least_scratch));
}

// cublasLt's workspaces are not known without it.
template <class T>
Kernels<T> cuda_kernels() {
  Kernels<T> table = kernels_made_of<T, Nothing>();
  table.gemm = [](const GemmCall<T>& call) {
    if (call.batch == 0 || call.m == 0 || call.n == 0 || call.k == 0 || !cuda_rules::runs_beside(call)) return;
    memory<Device::meta_cuda>().release_held();
    memory<Device::meta_cuda>().hold_freed();
  };
  table.layer_norm_backward = [](const LayerNormGradient<T>& call) { take_cuda_scratch(cuda_rules::scratch_of(call)); };
  table.attention_backward = [](const AttentionShape& shape, const AttentionGradient<T>& call) {
    take_cuda_scratch(cuda_rules::scratch_of(shape, call));
  };
  table.clip = clip<Device::meta_cuda, T>;
  table.all_finite = all_finite<Device::meta_cuda, T>;
  return table;
}

// --- the backends ----------------------------------------------------------------------------------------------------

template <Device device>
void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  if (bytes == 0) return;
  const void* const source = from_device == Device::cpu ? from : memory<device>().opened(from);
  if (!source) {  // zeros
    if (to_device != Device::cpu && !memory<device>().opened(to)) return;
    std::memset(to, 0, bytes);
  } else {
    std::memmove(to_device == Device::cpu ? to : memory<device>().open(to), source, bytes);
  }
}

template <Device device>
Backend made(const char* name, bool form_squares, bool sum_operands, bool launch, bool (*supports)(MatmulPrecision),
             std::string (*kernels_for)(MatmulPrecision), const Kernels<float>& f32, const Kernels<double>& f64) {
  const auto allocate = [](size_t bytes) { return memory<device>().allocate(bytes); };
  const auto used_bytes = [] { return memory<device>().used_bytes(); };
  return {.name = name,
          .problem = [] { return std::string(); },
          .allocate = allocate,
          .allocate_zeroed = allocate,
          .free = [](void* block) noexcept { memory<device>().free(block); },
          .used_bytes = used_bytes,
          .peak_bytes = [] { return memory<device>().peak_bytes(); },
          .held_bytes = used_bytes,
          .copy = copy<device>,
          .join = []() noexcept { memory<device>().release_held(); },
          .wait = [] {},
          .moments = nullptr,
          .products_form_squares = form_squares,
          .products_sum_operands = sum_operands,
          .launches_kernels = launch,
          .supports = supports,
          .kernels_for = kernels_for,
          .f32 = f32,
          .f64 = f64};
}

const Backend& like_cpu() {
  static const Kernels<float> f32 = cpu_kernels<float>();
  static const Kernels<double> f64 = cpu_kernels<double>();
  static const Backend& cpu = crisp::backend(Device::cpu);
  static const Backend made_of = made<Device::meta>("meta", cpu.products_form_squares, cpu.products_sum_operands,
                                                    cpu.launches_kernels, cpu.supports, cpu.kernels_for, f32, f64);
  return made_of;
}

const Backend& like_cuda() {
  static const Kernels<float> f32 = cuda_kernels<float>();
  static const Kernels<double> f64 = cuda_kernels<double>();
  static const Backend made_of = made<Device::meta_cuda>(
      "meta-cuda", cuda_rules::products_form_squares, cuda_rules::products_sum_operands, cuda_rules::launches_kernels,
      cuda_rules::supports, [](MatmulPrecision) { return std::string("cuda"); }, f32, f64);
  return made_of;
}

}  // namespace

Memory& Memory::of(Device device) {
  static Memory& as_cpu = *new Memory(block_bytes);
  static Memory& as_cuda = *new Memory(cuda_rules::block_bytes);
  return device == Device::meta ? as_cpu : as_cuda;
}

const Backend& backend(Device device) { return device == Device::meta ? like_cpu() : like_cuda(); }

}  // namespace crisp::meta
