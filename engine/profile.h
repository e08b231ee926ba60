// Where the time goes, kernel by kernel: while a profile runs, backend() hands out kernel tables whose entries time the
// originals. Switched off, the tables are the originals, and nothing is measured or paid for.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/kernel_list.h"

namespace crisp {

constexpr int kernel_kinds = 5;
/// "gemm", "attention", "norms_and_activations", "optimizer", "other".
const char* name_of(KernelKind kind);

/// What one entry of Kernels<T> did since start_profile(), f32 and f64 together.
struct KernelProfile {
  const char* name;  // of the entry
  KernelKind kind;
  int64_t calls = 0;
  double seconds = 0;
  double flops = 0;  // of matrix products; 0 for all other kernels, whose limit is memory
};

/// Forgets what was measured and switches the profile on, for kernels of the CPU and the GPU that are looked up from
/// now on. A GPU's are timed by its own clock, from the moment when it is done with all before the call to the moment
/// when it is done with the call: a few microseconds of launching are part of it, and the marks slow down the steps
/// between.
void start_profile();
/// Switches it off. What was measured stays.
void stop_profile();
bool profiling();
/// One element for each entry of Kernels<T>, in its order. Waits for kernels that have been called. Time that a kernel
/// spends while another one runs on another thread counts for both.
std::vector<KernelProfile> profile();

/// A table that times the kernels of `original`, which is the only table of its type and device that is ever given, by
/// its backend's moments or, without them, the host's clock. For backend(): Device::cpu and Device::cuda.
template <Device device, class T>
const Kernels<T>& timed(const Kernels<T>& original, const Moments* moments);

}  // namespace crisp
