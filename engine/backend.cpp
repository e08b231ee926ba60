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
#include "engine/profile.h"

namespace crisp {
namespace {

const Backend& cpu() {
  static const Backend& cpu = cpu_backend();
  static const Backend profiled{.name = cpu.name,
                                .problem = cpu.problem,
                                .allocate = cpu.allocate,
                                .allocate_zeroed = cpu.allocate_zeroed,
                                .free = cpu.free,
                                .peak_bytes = cpu.peak_bytes,
                                .copy = cpu.copy,
                                .join = cpu.join,
                                .products_form_squares = cpu.products_form_squares,
                                .products_sum_operands = cpu.products_sum_operands,
                                .launches_kernels = cpu.launches_kernels,
                                .supports = cpu.supports,
                                .kernels_for = cpu.kernels_for,
                                .f32 = timed(cpu.f32),
                                .f64 = timed(cpu.f64)};
  return profiling() ? profiled : cpu;
}

// Of devices other than the CPU.
std::atomic<const Backend*>& registered(Device device) {
  static std::array<std::atomic<const Backend*>, 256> backends{};
  return backends[static_cast<uint8_t>(device)];
}

// Null where this build has none.
const Backend* find(Device device) {
  if (device == Device::cpu) return &cpu();
  if (const Backend* found = registered(device)) return found;
#if defined(CRISP_HAVE_CUDA)
  if (device == Device::cuda) return &cuda::backend();
#endif
  return nullptr;
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
  if (const Backend* found = registered(device)) return found->name;
  return device == Device::cuda ? "cuda" : "unknown";
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
