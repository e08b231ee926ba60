// From data/ to model/: a packed batch as tensors, for training and evaluation alike.
#pragma once

#include "data/batch.h"
#include "model/distilbert.h"

namespace crisp {

/// Ids, positions and offsets, copied to the device; tree distances, if any, in host memory.
BatchTensors to_tensors(const PackedBatch& batch, Device device);
/// i32 [batch].
Tensor label_tensor(const PackedBatch& batch, Device device);

}  // namespace crisp
