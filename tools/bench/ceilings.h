// What this machine can do at best: arithmetic that never leaves the registers, and memory that is only streamed. The
// limits that everything else is measured against, at a number of threads. Of a GPU, its copies alone.
#pragma once

#include <cstdint>
#include <string>

#include "engine/context.h"
#include "engine/cpu/backend.h"
#include "engine/device.h"
#include "engine/dtype.h"
#include "tools/bench/timing.h"

namespace crisp::bench {

/// A limit in operations or bytes a second; rate.median is 0 where the machine lacks the instructions.
struct Ceiling {
  Spread rate;
  std::string how;  // "avx512 fma"
  explicit operator bool() const { return rate.median > 0; }
};

/// f32 multiply-adds of the instruction set that the kernels use (cpu_instruction_set()).
Ceiling fma_ceiling(int threads, const Effort& effort = {});
/// Products of bf16 numbers added in f32, by vdpbf16ps.
Ceiling dpbf16_ceiling(int threads, const Effort& effort = {});
/// The same by AMX tiles.
Ceiling amx_ceiling(int threads, const Effort& effort = {});
/// Bytes read of `bytes` bytes in order.
Ceiling read_ceiling(int threads, int64_t bytes, const Effort& effort = {});
/// Bytes moved when four arrays of `bytes` bytes together are read and three of them written back in place, as AdamW
/// needs it: 28 bytes an element.
Ceiling update_ceiling(int threads, int64_t bytes, const Effort& effort = {});

/// Bytes moved, read and written, when a device copies half of `bytes` within its memory.
Ceiling copy_ceiling(Device device, int64_t bytes, const Effort& effort = {});

/// The two loops themselves, over n elements (of which up to 127 may be left out; 64-byte aligned): for measurements
/// that must be alternated with others, since memory is as fast as its other users let it be.
void read_in_order(int threads, const float* data, int64_t n);
void update_in_place(int threads, float* parameter, float* gradient, float* m, float* v, int64_t n);

/// The limit of matrix products in the context: the faster of AMX and vdpbf16ps for bf16, a third and a sixth of it for
/// the split modes; half of f32's for f64. None is known of a device other than the CPU.
Ceiling product_ceiling(DType dtype, const Context& context, Device device, const Effort& effort = {});

}  // namespace crisp::bench
