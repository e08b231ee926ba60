// DistilBERT (Sanh et al., arXiv 1910.01108) with a sequence-classification head, over packed batches.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/ops.h"
#include "engine/tape.h"
#include "engine/tensor.h"
#include "model/config.h"

namespace crisp {

/// A trainable tensor under its Hugging Face name.
struct Parameter {
  std::string name;
  Tensor tensor;
  bool decays;   // weight decay applies: not to biases and LayerNorm
  bool in_head;  // pre_classifier and classifier
};

/// A packed batch on the model's device: all sequences one after the other, no padding.
struct BatchTensors {
  Tensor ids;        // i32 [total]
  Tensor positions;  // i32 [total], from 0 in each sequence
  Tensor offsets;    // i32 [batch + 1]
  int64_t batch_size() const { return offsets.dim(0) - 1; }
};

/// How one forward pass runs.
struct ForwardMode {
  bool training = false;  // dropout on; sparsity as in training
  uint64_t seed = 0;      // of the dropout stream
  uint32_t step = 0;      // micro-batch number: each draws its own dropout
  /// If given, receives one entry a layer, over all queries of all sequences.
  std::vector<AttentionStats>* stats = nullptr;
};

class DistilBert {
 public:
  /// Allocates the parameters, uninitialised: call initialise() or fill all of parameters().
  DistilBert(const DistilBertConfig& config, DType dtype, Device device = Device::cpu);

  /// Weights N(0, initializer_range), biases 0, LayerNorm 1 and 0, from the init stream of `seed`.
  void initialise(uint64_t seed);
  /// The same for the classification head only.
  void initialise_head(uint64_t seed);

  /// Logits [batch, num_labels].
  Tensor forward(Tape& tape, const BatchTensors& batch, const ForwardMode& mode) const;
  /// Hidden states of the last layer, [total, dim].
  Tensor encode(Tape& tape, const BatchTensors& batch, const ForwardMode& mode) const;

  const DistilBertConfig& config() const { return config_; }
  /// Settings that do not change the parameters (dropout rates, sparsity, labels' names) may be changed.
  DistilBertConfig& mutable_config() { return config_; }
  /// In a fixed order: embeddings, layers, head.
  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// One of the parameters, [vocab_size, dim]; it takes its gradient as rows.
  const Tensor& word_embeddings() const { return words_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

 private:
  struct Linear {
    std::string scope;  // for messages: "q_lin"
    Tensor weight, bias;
  };
  struct Norm {
    Tensor weight, bias;
  };
  struct Layer {
    std::string scope;
    Linear query, key, value, out;
    Norm attention_norm;
    Linear up, down;
    Norm output_norm;
  };
  enum class Rows { all, first };  // which rows of the last layer are wanted

  Linear add_linear(const std::string& name, int64_t out, int64_t in, bool in_head = false);
  Norm add_norm(const std::string& name);
  Tensor add(const std::string& name, const Shape& shape, bool decays, bool in_head);
  void initialise(const Parameter& parameter, uint32_t site, uint64_t seed);

  Tensor hidden_states(Tape& tape, const BatchTensors& batch, const ForwardMode& mode, Rows rows) const;
  Tensor layer(Tape& tape, int64_t index, const Tensor& x, const Tensor& queries, const Tensor& offsets, Rows rows,
               const ForwardMode& mode, AttentionStats* stats) const;
  Tensor attend_first(Tape& tape, int64_t index, const Tensor& x, const Tensor& q, const Tensor& offsets,
                      const ForwardMode& mode) const;
  AttentionRule rule(int64_t index, const ForwardMode& mode) const;
  static Tensor apply(Tape& tape, const Linear& layer, const Tensor& x);
  Dropout dropout(double p, const ForwardMode& mode, uint32_t site) const;

  DistilBertConfig config_;
  DType dtype_;
  Device device_;
  std::vector<Parameter> parameters_;
  Tensor words_, positions_;
  Norm embedding_norm_;
  std::vector<Layer> layers_;
  Linear pre_classifier_, classifier_;
};

}  // namespace crisp
