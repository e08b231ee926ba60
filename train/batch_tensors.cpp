#include "train/batch_tensors.h"

namespace crisp {

BatchTensors to_tensors(const PackedBatch& batch, Device device) {
  BatchTensors tensors{Tensor::from(batch.ids, {batch.total()}, device),
                       Tensor::from(batch.positions, {batch.total()}, device),
                       Tensor::from(batch.offsets, {batch.batch_size() + 1}, device)};
  if (!batch.tree_distances.empty())
    tensors.tree_distances = Tensor::from(batch.tree_distances, {static_cast<int64_t>(batch.tree_distances.size())});
  return tensors;
}

Tensor label_tensor(const PackedBatch& batch, Device device) {
  return Tensor::from(batch.labels, {batch.batch_size()}, device);
}

}  // namespace crisp
