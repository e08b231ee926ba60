// From data/ to model/: a packed batch as a model takes it, for training and evaluation alike.
#pragma once

#include "data/batch.h"
#include "model/distilbert.h"

namespace crisp {

enum class Labels : uint8_t { without, with };

/// On the model's device, in one copy.
inline Batch to_batch(const PackedBatch& batch, const DistilBert& model, Labels labels) {
  Batch::Options options{
      .device = model.device(), .tree_distances = batch.tree_distances, .heads = model.config().heads};
  if (labels == Labels::with) options.labels = batch.labels;
  return {batch.ids, batch.positions, batch.offsets, options};
}

}  // namespace crisp
