// DistilBERT (Sanh et al., arXiv 1910.01108) with a sequence-classification head, over packed batches.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/ops.h"
#include "engine/tape.h"
#include "engine/tensor.h"
#include "model/batch.h"
#include "model/config.h"
#include "model/key_lists.h"

namespace crisp {

/// A trainable tensor under its Hugging Face name.
struct Parameter {
  std::string name;
  Tensor tensor;
  bool decays;           // weight decay applies: not to biases and LayerNorm
  bool in_head;          // pre_classifier and classifier
  bool is_span = false;  // learned degrees, [heads]: at a rate of their own, and in config.json instead of the weights
};

/// What a parameter of this name and shape is to be, of the model's dtype and device; an empty handle: a new tensor.
using ParameterSource = std::function<Tensor(const std::string& name, const Shape& shape)>;

/// How one forward pass runs.
struct ForwardMode {
  bool training = false;  // dropout on; sparsity as in training
  uint64_t seed = 0;      // of the dropout stream
  uint32_t step = 0;      // micro-batch number: each draws its own dropout
  double progress = 1;    // the part of the training steps that is over, in [0, 1]: for a sparsity that rises
  /// If given, receives one entry a layer, over all queries of all sequences.
  std::vector<AttentionStats>* stats = nullptr;
  /// The same, for inspection: receives each layer's weights, of all queries (attention_weights() in engine/ops.h).
  std::vector<Tensor>* weights = nullptr;
  /// The same: receives the embeddings' output and each layer's, [total, dim], as constants.
  std::vector<Tensor>* hidden = nullptr;
};

/// Its tensors are handles, so a copy would share weights and gradients: it moves, clone() copies the weights, and
/// with_own_gradients() shares them alone.
class DistilBert {
 public:
  /// Allocates the parameters, uninitialised: call initialise() or fill all of parameters(). But those that `source`
  /// has it takes as they are. That is not asked for queries', keys' and values', which lie in memory together.
  DistilBert(const DistilBertConfig& config, DType dtype, Device device = Device::cpu,
             const ParameterSource& source = {});

  DistilBert(DistilBert&&) = default;
  DistilBert& operator=(DistilBert&&) = default;
  /// A model with the same settings and copies of the weights (of one in training: of Trainer::model()); gradients are
  /// not copied.
  DistilBert clone() const;
  /// The same weights; gradients are apart from this model's, so that threads may ask for theirs at the same time.
  DistilBert with_own_gradients() const;

  /// Weights N(0, initializer_range), biases 0, LayerNorm 1 and 0, from the init stream of `seed`.
  void initialise(uint64_t seed);
  /// The same for the classification head only.
  void initialise_head(uint64_t seed);

  /// Logits [batch, num_labels].
  Tensor forward(Tape& tape, const Batch& batch, const ForwardMode& mode) const;
  /// Hidden states of the last layer, [total, dim].
  Tensor encode(Tape& tape, const Batch& batch, const ForwardMode& mode) const;

  const DistilBertConfig& config() const { return config_; }
  /// Settings that do not change the parameters (dropout rates, labels' names, sparsity without learned spans) may be
  /// changed.
  DistilBertConfig& mutable_config() { return config_; }
  /// Replaces config().sparsity. Parameters of learned spans that there were are gone; new ones have the values of
  /// config.spans or span_init. Whoever holds parameters() has to ask again, and a Trainer of the model is of no use
  /// then.
  void set_sparsity(const SparsityConfig& config);
  /// The current learned degrees, [layer][head], a layer without them having none; empty where no layer has any.
  std::vector<std::vector<double>> spans() const;
  /// span_penalty times the mean over all learned degrees, for the loss; an empty handle where there is none.
  Tensor span_penalty(Tape& tape) const;
  /// Brings learned degrees that an update has moved out of 0 .. max_positions back: the loss is flat outside. `clip`,
  /// unless it is empty, is the update's clip_gradients(): where it is not finite, nothing changes.
  void clamp_spans(const Context& context, const Tensor& clip = {}) const;

  /// In a fixed order: embeddings, layers, head, learned spans.
  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// One of the parameters, [vocab_size, dim]; it takes its gradient as rows.
  const Tensor& word_embeddings() const { return words_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

 private:
  DistilBert(const DistilBert&) = default;

  struct Linear : LinearLayer {
    std::string scope;  // for messages: "q_lin"
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
    Tensor span = {};  // learned degrees, if there are any
  };
  enum class Wanted { all, first };  // which rows of the last layer are
  // What all layers of one forward pass share.
  struct Pass {
    const Batch& batch;
    const ForwardMode& mode;
    const int threads;
    // Where they decide which keys are listed: see read_for_lists().
    std::vector<double> similarities = {};  // of words
    std::vector<std::vector<double>> spans = {};
  };

  Linear add_linear(const std::string& name, int64_t out, int64_t in, const ParameterSource& source,
                    bool in_head = false);
  Linear add_linear(const std::string& name, const LinearLayer& parameters, bool in_head);
  void add_projections(Layer& layer, const std::string& name);
  Norm add_norm(const std::string& name, const ParameterSource& source);
  Tensor add(const std::string& name, const Tensor& tensor, bool decays, bool in_head);
  Tensor empty(const Shape& shape) const { return Tensor::empty(shape, dtype_, device_); }
  Tensor made(const std::string& name, const Shape& shape, const ParameterSource& source) const;
  void initialise(const Parameter& parameter, uint32_t site, uint64_t seed);

  Tensor hidden_states(Tape& tape, const Batch& batch, const ForwardMode& mode, Wanted wanted) const;
  Tensor layer(Tape& tape, int64_t index, const Tensor& x, const Tensor& queries, Wanted wanted, Pass& pass,
               AttentionStats* stats) const;
  Tensor attend(Tape& tape, int64_t index, const Tensor& x, const Tensor& queries, Wanted wanted, Pass& pass,
                AttentionStats* stats) const;
  Tensor attend_first(Tape& tape, int64_t index, const Tensor& x, const Tensor& q, Pass& pass) const;
  AttentionRule rule(int64_t index, Pass& pass, const ListedQueries& queries) const;
  void read_for_lists(const Context& context, Pass& pass) const;
  void add_lists(AttentionRule& rule, int64_t index, Pass& pass, const ListedQueries& queries) const;
  bool by_rows_alone(int64_t index, const ForwardMode& mode) const;
  void add_spans();
  static Tensor apply(Tape& tape, const Linear& layer, const Tensor& x);
  static Tensor apply(Tape& tape, const char* scope, std::span<const LinearLayer> layers, const Tensor& x);
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
