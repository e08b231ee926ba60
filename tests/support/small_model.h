// A small DistilBERT with random weights and random packed batches for it.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "engine/random.h"
#include "model/distilbert.h"
#include "tests/support/test_device.h"

namespace crisp::test {

/// 3 layers of 3 heads of 4; no dropout.
inline DistilBertConfig small_config() {
  DistilBertConfig config;
  config.vocab_size = 30;
  config.max_positions = 40;
  config.dim = 12;
  config.hidden_dim = 20;
  config.layers = 3;
  config.heads = 3;
  config.num_labels = 3;
  config.dropout = config.attention_dropout = config.classifier_dropout = 0;
  return config;
}

/// Random biases and LayerNorm parameters too, and weights large enough that no softmax is flat.
inline DistilBert random_model(const DistilBertConfig& config, DType dtype, uint64_t seed = 1) {
  DistilBert model(config, dtype, test_device());
  uint32_t site = 0;
  for (const Parameter& p : model.parameters()) {
    const bool norm_weight = p.name.ends_with("orm.weight");
    const double deviation = p.decays ? 0.5 : 0.2;
    const RandomKey key{.seed = seed, .stream = Stream::init, .site = site++};
    p.tensor.copy_from(Tensor::normal(p.tensor.shape(), dtype, key, norm_weight ? 1 : 0, deviation));
  }
  return model;
}

inline std::vector<Tensor> tensors_of(const DistilBert& model) {
  std::vector<Tensor> tensors;
  for (const Parameter& p : model.parameters()) tensors.push_back(p.tensor);
  return tensors;
}

/// Packed sequences, with distances between the tokens of each if they are given.
inline Batch pack(const std::vector<std::vector<int32_t>>& sequences, const std::vector<int32_t>& tree_distances = {}) {
  std::vector<int32_t> ids, positions, offsets{0};
  for (const auto& sequence : sequences) {
    for (size_t i = 0; i < sequence.size(); ++i) {
      ids.push_back(sequence[i]);
      positions.push_back(static_cast<int32_t>(i));
    }
    offsets.push_back(static_cast<int32_t>(ids.size()));
  }
  return {ids, positions, offsets, {.device = test_device(), .tree_distances = tree_distances}};
}

/// Random ids below `vocab`.
inline std::vector<std::vector<int32_t>> random_sequences(const std::vector<int>& lengths, int64_t vocab,
                                                          uint64_t seed = 1) {
  std::vector<std::vector<int32_t>> sequences;
  uint64_t element = 0;
  for (const int n : lengths) {
    auto& sequence = sequences.emplace_back();
    for (int i = 0; i < n; ++i)
      sequence.push_back(static_cast<int32_t>(random_word({.seed = seed}, element++) % static_cast<uint32_t>(vocab)));
  }
  return sequences;
}

/// Copies on a device.
inline DistilBert model_on(Device device, const DistilBert& model) {
  DistilBert copy(model.config(), model.dtype(), device);
  for (size_t i = 0; i < model.parameters().size(); ++i)
    copy.parameters()[i].tensor.copy_from(model.parameters()[i].tensor);
  return copy;
}
inline Batch batch_on(Device device, const Batch& batch) {
  return {batch.words().ids().host,
          batch.positions().ids().host,
          batch.sequences().kv_offsets().host,
          {.device = device, .tree_distances = batch.tree_distances()}};
}

inline Tensor labels_for(int64_t batch, int64_t classes) {
  const Tensor labels = Tensor::empty({batch}, DType::i32);
  for (int64_t i = 0; i < batch; ++i) labels.data<int32_t>()[i] = static_cast<int32_t>(i * 5 % classes);
  return labels.to(test_device());
}

/// Wherever they are.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = a.detach().to(Device::cpu), y = b.detach().to(Device::cpu);
  return x.shape() == y.shape() && x.dtype() == y.dtype() && std::memcmp(x.raw(), y.raw(), x.bytes()) == 0;
}

}  // namespace crisp::test
