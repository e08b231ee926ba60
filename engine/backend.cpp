// The registry of backends.
#include "engine/backend.h"

#include <array>
#include <atomic>

#include "engine/cpu/backend.h"
#include "engine/fail.h"
#include "engine/kernel_list.h"
#include "engine/profile.h"

namespace crisp {
namespace {

const Backend& cpu() {
  static const Backend& cpu = cpu_backend();
  static const Backend profiled{cpu.name, cpu.allocate, cpu.allocate_zeroed, cpu.free,       cpu.peak_bytes,
                                cpu.copy, cpu.supports, cpu.kernels_for,     timed(cpu.f32), timed(cpu.f64)};
  return profiling() ? profiled : cpu;
}

// Of devices other than the CPU.
std::atomic<const Backend*>& registered(Device device) {
  static std::array<std::atomic<const Backend*>, 256> backends{};
  return backends[static_cast<uint8_t>(device)];
}

}  // namespace

const Backend& backend(Device device) {
  if (device == Device::cpu) return cpu();
  const Backend* found = registered(device);
  if (!found) fail("this build has no {} backend", name_of(device));
  return *found;
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
  constexpr const char* names[] = {"f32", "bf16", "bf16x3", "bf16x6"};
  return names[static_cast<size_t>(precision)];
}

void fail_missing_kernel(const char* kernel, Device device) { fail("{} has no {} kernel", kernel, name_of(device)); }

}  // namespace crisp
