#include "train/batch_tensors.h"

namespace crisp {

BatchTensors to_tensors(const PackedBatch& batch, Device device) {
  return {Tensor::from(batch.ids, {batch.total()}, device), Tensor::from(batch.positions, {batch.total()}, device),
          Tensor::from(batch.offsets, {batch.batch_size() + 1}, device)};
}

Tensor label_tensor(const PackedBatch& batch, Device device) {
  return Tensor::from(batch.labels, {batch.batch_size()}, device);
}

}  // namespace crisp
