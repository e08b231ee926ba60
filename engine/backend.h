// A device's memory and its kernel tables.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "engine/device.h"
#include "engine/dtype.h"
#include "engine/kernels.h"

namespace crisp {

/// Moments in the order of a device's queue, by its own clock: what the profile times kernels by.
struct Moments {
  /// The moment when all that was called before has run. Belongs to the caller.
  void* (*record)();
  /// Seconds between two of them. Waits until both have come.
  double (*seconds)(void* begin, void* end);
  /// Gives it back.
  void (*forget)(void* moment) noexcept;
};

/// Answers of the device that the host asks for now and reads later: see Answer (answer.h).
struct Answers {
  static constexpr size_t most_bytes = 256;
  /// The bytes at `from` as they are when all that was called before has run. Belongs to the caller.
  void* (*ask)(const void* from, size_t bytes);
  /// Waits until the answer has come, not for what was called since. Throws Error where something before it failed.
  void (*read)(const void* answer, void* to, size_t bytes);
  /// Gives it back, whether it has come or not.
  void (*forget)(void* answer) noexcept;
};

/// How the calls of a training step reach a device.
enum class StepMode : uint8_t {
  calls,      // each by itself
  graphs,     // gathered in a few graphs, each larger than the one before: the device has work while the host goes on
  one_graph,  // in one, which the device begins when the step has been called
};

/// What StepCalls asks of a device that can gather calls. The results are those of the calls one by one, bit for bit.
struct Steps {
  struct Counts {
    int64_t launched;  // graphs that ran
    int64_t made;      // that were new; the others were made of earlier ones, with other arguments
  };
  void (*begin)();
  /// All that was called has been given to the device. Throws Error where that fails; while an exception is under way,
  /// the next begin() throws instead.
  void (*end)(bool during_exception);
  StepMode (*mode)();
  /// Of the steps that begin from now on.
  void (*set_mode)(StepMode mode);
  Counts (*counts)();
};

struct Backend {
  const char* name;
  /// Why it cannot be used on this machine, a sentence without its end; empty where it can. Else allocate() throws it.
  std::string (*problem)();
  void* (*allocate)(size_t bytes);
  void* (*allocate_zeroed)(size_t bytes);
  void (*free)(void* block) noexcept;
  /// The bytes that are in use now, and the most that were at one time since the process began.
  int64_t (*used_bytes)();
  int64_t (*peak_bytes)();
  /// The bytes that it has from the device now, in use or kept for later.
  int64_t (*held_bytes)();
  void (*copy)(void* to, Device to_device, const void* from, Device from_device, size_t bytes);
  /// Makes what may run beside the rest (GemmCall::beside) end before what is called from now on begins.
  void (*join)() noexcept;
  /// Returns when all that was called before has run. Throws Error where some of it failed.
  void (*wait)();
  /// Null where a kernel has run when its call returns, so that the host's clock times it.
  const Moments* moments;
  /// Null where the host has an answer as soon as it asks.
  const Answers* answers = nullptr;
  /// Null where there is nothing to gather.
  const Steps* steps = nullptr;
  /// Whether sums of squares cost next to nothing where a product has just been written (GemmCall::sum_squares); else
  /// one pass over all gradients forms them.
  bool products_form_squares;
  /// Whether GemmCall::a_sums cost next to nothing; else a bias's gradient is better formed where the operand is
  /// written.
  bool products_sum_operands;
  /// Whether every kernel is a launch: then few large ones are faster than many small ones that compute less.
  bool launches_kernels;
  /// Whether its f32 products can be computed so.
  bool (*supports)(MatmulPrecision precision);
  /// What its kernels are called where products are computed so: see kernels_in_use().
  std::string (*kernels_for)(MatmulPrecision precision);
  const Kernels<float>& f32;
  const Kernels<double>& f64;
};

/// Throws Error where this build lacks the device.
const Backend& backend(Device device);
/// Why nothing can be computed there, a sentence without its end: "this build has no cuda backend". Empty where it can.
std::string why_unavailable(Device device);
/// Makes the backend of a device known; it must stay. Throws Error where the device has another one already.
void register_backend(Device device, const Backend& backend);
/// Copies between the memories of two devices, or within one's, of which one is the CPU if they differ. The two places
/// may overlap.
void copy_bytes(void* to, Device to_device, const void* from, Device from_device, size_t bytes);

template <ComputeElement T>
const Kernels<T>& kernels(Device device) {
  if constexpr (std::same_as<T, double>) {
    return backend(device).f64;
  } else {
    return backend(device).f32;
  }
}

/// A step's calls, from its making to end(): until then the device may put off what is called, unless somebody waits
/// for it. However a step ends, what was called runs. Steps of several threads may overlap.
class StepCalls {
 public:
  explicit StepCalls(Device device) : steps_(backend(device).steps) {
    if (steps_) steps_->begin();
  }
  ~StepCalls() {
    if (steps_) steps_->end(true);
  }
  StepCalls(const StepCalls&) = delete;
  StepCalls& operator=(const StepCalls&) = delete;
  void end() {
    if (const Steps* const steps = std::exchange(steps_, nullptr)) steps->end(false);
  }

 private:
  const Steps* steps_;
};

/// Whether the device has kernels for such products.
bool supports(Device device, MatmulPrecision precision);
/// The kernels that compute with such products, which decide the last bits of a result: on the CPU its instruction set,
/// and behind a "+" the unit that multiplies bf16 numbers, where products take it: "avx2", "avx512+amx",
/// "avx512+avx512_bf16". The spelling of every report and file.
std::string kernels_in_use(MatmulPrecision products, Device device = Device::cpu);

/// "f32", "bf16", ...
const char* name_of(MatmulPrecision precision);

}  // namespace crisp
