#include "engine/cuda/backend.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <memory>
#include <string>

#include "engine/context.h"
#include "engine/cuda/answers.h"
#include "engine/cuda/branch.h"
#include "engine/cuda/cublas_lt.h"
#include "engine/cuda/memory.h"
#include "engine/cuda/moments.h"
#include "engine/cuda/recording.h"
#include "engine/cuda/rules.h"
#include "engine/cuda/runtime.h"
#include "engine/cuda/staging.h"
#include "engine/cuda/tables.h"
#include "engine/fail.h"
#include "engine/kernel_list.h"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

// A sentence, or nothing.
std::string find_problem() {
  int count = 0, driver = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) {
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    cudaGetLastError();
    if (driver == 0) return "no NVIDIA driver is installed on this machine";
    return fmt::format("the NVIDIA driver supports CUDA {}.{}, but this build needs CUDA {}.{}: install a newer driver",
                       driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  }
  cudaGetLastError();
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
    return "the NVIDIA driver finds no GPU (CUDA_VISIBLE_DEVICES may hide it)";
  if (error != cudaSuccess) return fmt::format("CUDA cannot be used: {}", cudaGetErrorString(error));
  // Parameters of a launch above 4 KB came with CUDA 12.1, whatever a driver says of compatibility.
  if (cudaDriverGetVersion(&driver) == cudaSuccess && driver < 12010)
    return fmt::format("the NVIDIA driver supports CUDA {}.{}, but CUDA 12.1 is needed: install a newer driver",
                       driver / 1000, driver % 1000 / 10);
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) return "the GPU does not answer";
  if (properties.major < 8)
    return fmt::format("the GPU {} has compute capability {}.{}, but 8.0 or higher is needed", properties.name,
                       properties.major, properties.minor);
  return cublas_lt_problem();
}

std::string problem() {
  static const std::string found = find_problem();
  return found;
}

// What a context keeps for one thread at a time.
struct DeviceScratch : Scratch {
  void* memory = nullptr;
  size_t bytes = 0;
  ~DeviceScratch() override { Memory::the().free(memory); }
};
std::unique_ptr<Scratch> make_scratch() { return std::make_unique<DeviceScratch>(); }

void* allocate(size_t bytes) {
  static const bool usable = [] {
    if (!problem().empty()) fail("{}", problem());
    return true;
  }();
  (void)usable;
  return Memory::the().allocate(bytes);
}
void* allocate_zeroed(size_t bytes) {
  void* const p = allocate(bytes);
  const Command command;
  check(cudaMemsetAsync(p, 0, bytes, stream()), "filling memory with zeros");
  return p;
}
void free(void* block) noexcept { Memory::the().free(block); }
int64_t used_bytes() { return Memory::the().bytes_in_use(); }
int64_t peak_bytes() { return Memory::the().peak_bytes(); }
int64_t held_bytes() { return Memory::the().bytes_held(); }

void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  if (to_device == Device::cpu) {
    copy_to_host(to, from, bytes);
  } else if (from_device == Device::cpu) {
    copy_to_device(to, from, bytes);
  } else {
    copy_within(to, from, bytes);
  }
}

void wait() {
  const AtOnce at_once;
  join();
  check(cudaStreamSynchronize(stream()), "waiting for the GPU");
}

std::string kernels_for(MatmulPrecision precision) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "asking for the GPU's properties");
  return fmt::format("cuda-sm_{}{}{} ({})", properties.major, properties.minor,
                     precision == MatmulPrecision::f32 ? "" : fmt::format("+{}", name_of(precision)), properties.name);
}

const Tables& tables() {
  static const Tables filled = [] {
    Tables made;
    Fill* const all[] = {fill_elementwise, fill_reduce,     fill_move,      fill_gemm,
                         fill_softmax,     fill_layer_norm, fill_attention, fill_attention_backward,
                         fill_adamw};
    for (Fill* const fill : all) fill(made);
    return Tables{complete<Device::cuda>(made.f32), complete<Device::cuda>(made.f64)};
  }();
  return filled;
}

}  // namespace

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    fail("CUDA failed in {}: {} ({})", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

cudaStream_t stream() {
  static const cudaStream_t made = [] {
    cudaStream_t s = nullptr;
    check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "making a queue");
    return s;
  }();
  return made;
}

void* scratch(size_t bytes) {
  auto& kept = static_cast<DeviceScratch&>(scratch_in_use(make_scratch));
  if (kept.bytes < bytes) {
    Memory::the().free(std::exchange(kept.memory, nullptr));
    kept.bytes = 0;
    const size_t room = std::max(bytes, cuda_rules::least_scratch);
    kept.memory = Memory::the().allocate(room);
    kept.bytes = room;
  }
  return kept.memory;
}

const Backend& backend() {
  static const Backend cuda{.name = "cuda",
                            .problem = problem,
                            .allocate = allocate,
                            .allocate_zeroed = allocate_zeroed,
                            .free = free,
                            .used_bytes = used_bytes,
                            .peak_bytes = peak_bytes,
                            .held_bytes = held_bytes,
                            .copy = copy,
                            .join = join,
                            .wait = wait,
                            .moments = &moments(),
                            .answers = &answers(),
                            .steps = &steps(),
                            .products_form_squares = cuda_rules::products_form_squares,
                            .products_sum_operands = cuda_rules::products_sum_operands,
                            .launches_kernels = cuda_rules::launches_kernels,
                            .supports = cuda_rules::supports,
                            .kernels_for = kernels_for,
                            .f32 = tables().f32,
                            .f64 = tables().f64};
  return cuda;
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
