// From data/ to model/: a packed batch as a model takes it, for training and evaluation alike.
#pragma once

#include "data/batch.h"
#include "model/distilbert.h"

namespace crisp {

enum class Labels : uint8_t { without, with };

/// On the model's device, in one copy.
Batch to_batch(const PackedBatch& batch, const DistilBert& model, Labels labels);

}  // namespace crisp
