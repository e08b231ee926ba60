// How much memory a training step, or an inference, will take: found by running one on a device without data
// (engine/meta/backend.h).
#pragma once

#include <cstdint>

#include "data/batch.h"
#include "engine/context.h"
#include "engine/meta/meter.h"
#include "model/config.h"
#include "train/core/trainer_options.h"

namespace crisp {

struct StepMemoryOptions {
  DType dtype = DType::f32;
  bool on_gpu = false;     // else on the CPU
  bool inference = false;  // the forward pass alone, as an evaluation runs it
  int64_t gradient_accumulation_steps = 1;
};

/// The labels of a step's memory, beside the meter's own (engine/meta/meter.h) and "embeddings", "layer.0", ...,
/// "head": what the forward pass makes there, and, where it is saved, keeps for the way back.
namespace step_memory_label {
constexpr const char *weights = "weights", *gradients = "gradients", *moments = "moments",
                     *backward = "gradients of activations",  // and what else the backward pass makes and drops
                         *others = "batch, loss, norms";
}  // namespace step_memory_label

/// The peak of the steps on batches of all `sentences`: tensors, scratch memory of kernels (of cublasLt's nothing is
/// known without a GPU) and, on the CPU, the lists beside tensors, as `peak_tensor_bytes` of a run counts them. Takes
/// no memory for tensors and a few milliseconds a layer.
meta::Meter::Peak step_memory(const DistilBertConfig& config, const TokenizedDataset& sentences,
                              const StepMemoryOptions& options, const Context::Settings& settings);

}  // namespace crisp
