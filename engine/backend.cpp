// The registry of backends.
#include "engine/backend.h"

#include <array>
#include <atomic>

#include "engine/cpu/backend.h"
#if defined(CRISP_HAVE_CUDA)
#include "engine/cuda/backend.h"
#endif
#include "engine/fail.h"
#include "engine/kernel_list.h"
#include "engine/meta/backend.h"
#include "engine/profile.h"

namespace crisp {
namespace {

// The backend with tables that time its kernels.
template <Device device>
const Backend& profiled(const Backend& original) {
  static const Backend made{.name = original.name,
                            .problem = original.problem,
                            .allocate = original.allocate,
                            .allocate_zeroed = original.allocate_zeroed,
                            .free = original.free,
                            .used_bytes = original.used_bytes,
                            .peak_bytes = original.peak_bytes,
                            .held_bytes = original.held_bytes,
                            .copy = original.copy,
                            .join = original.join,
                            .wait = original.wait,
                            .moments = original.moments,
                            .answers = original.answers,
                            .steps = nullptr,  // each kernel is timed by itself, so none is put off
                            .products_form_squares = original.products_form_squares,
                            .products_sum_operands = original.products_sum_operands,
                            .launches_kernels = original.launches_kernels,
                            .supports = original.supports,
                            .kernels_for = original.kernels_for,
                            .f32 = timed<device>(original.f32, original.moments),
                            .f64 = timed<device>(original.f64, original.moments)};
  return made;
}

// Of devices other than the CPU.
std::atomic<const Backend*>& registered(Device device) {
  static std::array<std::atomic<const Backend*>, 256> backends{};
  return backends[static_cast<uint8_t>(device)];
}

// Null where this build has none.
const Backend* find_plain(Device device) {
  if (device == Device::cpu) {
    static const Backend& cpu = cpu_backend();
    return &cpu;
  }
  if (const Backend* found = registered(device)) return found;
#if defined(CRISP_HAVE_CUDA)
  if (device == Device::cuda) return &cuda::backend();
#endif
  if (device == Device::meta || device == Device::meta_cuda) return &meta::backend(device);
  return nullptr;
}

const Backend* find(Device device) {
  const Backend* const found = find_plain(device);
  if (!found || !profiling()) return found;
  if (device == Device::cpu) return &profiled<Device::cpu>(*found);
  if (device == Device::cuda) return &profiled<Device::cuda>(*found);
  return found;
}

std::string missing(Device device) { return fmt::format("this build has no {} backend", name_of(device)); }

}  // namespace

const Backend& backend(Device device) {
  if (const Backend* found = find(device)) return *found;
  fail("{}", missing(device));
}

std::string why_unavailable(Device device) {
  const Backend* found = find(device);
  return found ? found->problem() : missing(device);
}

void register_backend(Device device, const Backend& backend) {
  const Backend* there = nullptr;
  if (device == Device::cpu || (!registered(device).compare_exchange_strong(there, &backend) && there != &backend))
    fail("the device {} has a backend already", name_of(device));
}

const char* name_of(Device device) {
  if (device == Device::cpu) return "cpu";
  if (device == Device::cuda) return "cuda";  // whether or not this build has it
  const Backend* const found = find_plain(device);
  return found ? found->name : "unknown";
}

void copy_bytes(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  const Device who = to_device == Device::cpu ? from_device : to_device;
  backend(who).copy(to, to_device, from, from_device, bytes);
}

bool supports(Device device, MatmulPrecision precision) { return backend(device).supports(precision); }

std::string kernels_in_use(MatmulPrecision products, Device device) { return backend(device).kernels_for(products); }

const char* name_of(MatmulPrecision precision) {
  constexpr const char* names[] = {"f32", "bf16", "bf16x3", "bf16x6", "tf32"};
  return names[static_cast<size_t>(precision)];
}

void fail_missing_kernel(const char* kernel, Device device) { fail("{} has no {} kernel", kernel, name_of(device)); }

}  // namespace crisp
