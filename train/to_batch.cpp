#include "train/to_batch.h"

namespace crisp {

Batch to_batch(const PackedBatch& batch, const DistilBert& model, Labels labels) {
  Batch::Options options{
      .device = model.device(), .tree_distances = batch.tree_distances, .heads = model.config().heads};
  if (labels == Labels::with) options.labels = batch.labels;
  return {batch.ids, batch.positions, batch.offsets, options};
}

}  // namespace crisp
