#include "model/distilbert.h"

#include <array>
#include <cmath>

#include "engine/error.h"

namespace crisp {
namespace {

// Sites of the dropout stream: one for every place that drops.
constexpr uint32_t embedding_site = 0;
constexpr uint32_t attention_site(int64_t layer) { return static_cast<uint32_t>(1 + 2 * layer); }
constexpr uint32_t feed_forward_site(int64_t layer) { return static_cast<uint32_t>(2 + 2 * layer); }
constexpr uint32_t classifier_site = 1u << 20;

// 0, step, .., n step: every sequence has `step` queries.
Tensor every(int64_t step, int64_t n) {
  const Tensor offsets = Tensor::empty({n + 1}, DType::i32);
  for (int64_t i = 0; i <= n; ++i) offsets.data<int32_t>()[i] = static_cast<int32_t>(i * step);
  return offsets;
}

// Rows 1, 0, .., 0.
Tensor ones_and_zeros(int64_t rows, int64_t cols, DType dtype) {
  const Tensor t = Tensor::zeros({rows, cols}, dtype);
  with_type(t, [&]<class T>() {
    for (int64_t r = 0; r < rows; ++r) t.data<T>()[r * cols] = T(1);
  });
  return t;
}

}  // namespace

DistilBert::DistilBert(const DistilBertConfig& config, DType dtype, Device device)
    : config_(config), dtype_(dtype), device_(device) {
  check_config(config, "model");
  const int64_t dim = config.dim;
  const std::string embeddings = "distilbert.embeddings.";
  words_ = add(embeddings + "word_embeddings.weight", {config.vocab_size, dim}, true, false);
  words_.set_row_gradient();
  positions_ = add(embeddings + "position_embeddings.weight", {config.max_positions, dim}, true, false);
  embedding_norm_ = add_norm(embeddings + "LayerNorm");
  for (int64_t l = 0; l < config.layers; ++l) {
    const std::string name = fmt::format("distilbert.transformer.layer.{}.", l);
    Layer layer;
    layer.scope = fmt::format("layer.{}", l);
    layer.query = add_linear(name + "attention.q_lin", dim, dim);
    layer.key = add_linear(name + "attention.k_lin", dim, dim);
    layer.value = add_linear(name + "attention.v_lin", dim, dim);
    layer.out = add_linear(name + "attention.out_lin", dim, dim);
    layer.attention_norm = add_norm(name + "sa_layer_norm");
    layer.up = add_linear(name + "ffn.lin1", config.hidden_dim, dim);
    layer.down = add_linear(name + "ffn.lin2", dim, config.hidden_dim);
    layer.output_norm = add_norm(name + "output_layer_norm");
    layers_.push_back(std::move(layer));
  }
  pre_classifier_ = add_linear("pre_classifier", dim, dim, true);
  classifier_ = add_linear("classifier", config.num_labels, dim, true);
}

Tensor DistilBert::add(const std::string& name, const Shape& shape, bool decays, bool in_head) {
  const Tensor tensor = Tensor::empty(shape, dtype_, device_);
  tensor.set_name(name).set_requires_grad();
  parameters_.push_back({name, tensor, decays, in_head});
  return tensor;
}

DistilBert::Linear DistilBert::add_linear(const std::string& name, int64_t out, int64_t in, bool in_head) {
  const Tensor weight = add(name + ".weight", {out, in}, true, in_head);
  return {name.substr(name.rfind('.') + 1), weight, add(name + ".bias", {out}, false, in_head)};
}

DistilBert::Norm DistilBert::add_norm(const std::string& name) {
  const Tensor weight = add(name + ".weight", {config_.dim}, false, false);
  return {weight, add(name + ".bias", {config_.dim}, false, false)};
}

void DistilBert::initialise(const Parameter& p, uint32_t site, uint64_t seed) {
  if (p.decays) {
    const RandomKey key{seed, Stream::init, 0, site};
    p.tensor.copy_from(Tensor::normal(p.tensor.shape(), dtype_, key, 0, config_.initializer_range));
  } else {
    const bool norm_weight = p.name.ends_with("orm.weight");
    p.tensor.copy_from(Tensor::full(p.tensor.shape(), dtype_, norm_weight ? 1 : 0));
  }
}

void DistilBert::initialise(uint64_t seed) {
  for (size_t i = 0; i < parameters_.size(); ++i) initialise(parameters_[i], static_cast<uint32_t>(i), seed);
}

void DistilBert::initialise_head(uint64_t seed) {
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (parameters_[i].in_head) initialise(parameters_[i], static_cast<uint32_t>(i), seed);
}

Tensor DistilBert::apply(Tape& tape, const Linear& layer, const Tensor& x) {
  const Tape::Scope scope(tape, layer.scope);
  return linear(tape, x, layer.weight, layer.bias);
}

Dropout DistilBert::dropout(double p, const ForwardMode& mode, uint32_t site) const {
  if (!mode.training) return {};
  return {p, {mode.seed, Stream::dropout, mode.step, site}};
}

AttentionRule DistilBert::rule(int64_t index, const ForwardMode& mode) const {
  return {.heads = config_.heads,
          .scale = 1 / std::sqrt(static_cast<double>(config_.head_dim())),
          .selection = config_.sparsity.selection(index, mode.training),
          .sparsity = config_.sparsity.sparsity(index),
          .dropout = dropout(config_.attention_dropout, mode, attention_site(index))};
}

// One query a sequence needs no keys and values of its own: see absorb_keys() in engine/ops.h. A query's heads are
// `heads` queries of one head, in the same order, so that dropout draws the same numbers.
Tensor DistilBert::attend_first(Tape& tape, int64_t index, const Tensor& x, const Tensor& q, const Tensor& offsets,
                                const ForwardMode& mode) const {
  const Layer& w = layers_[static_cast<size_t>(index)];
  const int64_t width = (config_.dim / 16 + 1) * 16;  // of the inputs, a 1 for the biases, zeros to whole cache lines
  const Tensor x1 = concat(tape, std::array{x, ones_and_zeros(x.dim(0), width - config_.dim, x.dtype())}, 1);
  AttentionRule of_one_head = rule(index, mode);
  of_one_head.heads = 1;
  const Tensor queries = absorb_keys(tape, q, w.key.weight, w.key.bias, config_.heads, width);
  const Tensor sums = attention(tape, queries, x1, x1, every(config_.heads, q.dim(0)), offsets, of_one_head);
  return absorb_values(tape, sums, w.value.weight, w.value.bias, config_.heads);
}

// `queries` are the rows of x whose new hidden states are wanted: all of them, or the first of each sequence.
Tensor DistilBert::layer(Tape& tape, int64_t index, const Tensor& x, const Tensor& queries, const Tensor& offsets,
                         Rows rows, const ForwardMode& mode, AttentionStats* stats) const {
  const Layer& w = layers_[static_cast<size_t>(index)];
  const Tape::Scope scope(tape, w.scope);
  Tensor normed;
  {
    const Tape::Scope attention_scope(tape, "attention");
    const Tensor q = apply(tape, w.query, queries);
    const Tensor context = rows == Rows::first ? attend_first(tape, index, x, q, offsets, mode)
                                               : attention(tape, q, apply(tape, w.key, x), apply(tape, w.value, x),
                                                           offsets, offsets, rule(index, mode), stats);
    normed = residual_layer_norm(tape, queries, apply(tape, w.out, context), {}, w.attention_norm.weight,
                                 w.attention_norm.bias, config_.layer_norm_epsilon);
  }
  const Tape::Scope feed_forward_scope(tape, "ffn");
  const Tensor down = feed_forward(tape, normed, w.up.weight, w.up.bias, w.down.weight, w.down.bias);
  return residual_layer_norm(tape, normed, down, dropout(config_.dropout, mode, feed_forward_site(index)),
                             w.output_norm.weight, w.output_norm.bias, config_.layer_norm_epsilon);
}

Tensor DistilBert::hidden_states(Tape& tape, const BatchTensors& batch, const ForwardMode& mode, Rows rows) const {
  const Tape::Scope scope(tape, "DistilBert");
  Tensor x;  // [total, dim]
  {
    const Tape::Scope embedding_scope(tape, "embeddings");
    x = embeddings_layer_norm(tape, words_, positions_, batch.ids, batch.positions, embedding_norm_.weight,
                              embedding_norm_.bias, config_.layer_norm_epsilon,
                              dropout(config_.dropout, mode, embedding_site));
  }
  const Tensor& offsets = batch.offsets;
  const auto full_layer = [&](int64_t l) {
    AttentionStats* stats = mode.stats ? &mode.stats->emplace_back() : nullptr;
    return layer(tape, l, x, x, offsets, Rows::all, mode, stats);
  };
  const int64_t last = config_.layers - 1;
  for (int64_t l = 0; l < last; ++l) x = full_layer(l);
  if (rows == Rows::all) return full_layer(last);

  const int64_t batch_size = batch.batch_size();
  const Tensor first = offsets.view_rows(0, batch_size);  // [CLS] is the first token of each sequence
  // A threshold over a head's whole score matrix needs every query of the last layer.
  if (config_.sparsity.selection(last, mode.training) == Selection::percentile_head)
    return embedding(tape, full_layer(last), first);
  // Statistics need them too, but must not change a bit of the logits: that layer is computed beside the short one.
  if (mode.stats) full_layer(last);
  return layer(tape, last, x, embedding(tape, x, first), offsets, Rows::first, mode, nullptr);
}

Tensor DistilBert::encode(Tape& tape, const BatchTensors& batch, const ForwardMode& mode) const {
  return hidden_states(tape, batch, mode, Rows::all);
}

Tensor DistilBert::forward(Tape& tape, const BatchTensors& batch, const ForwardMode& mode) const {
  const Tensor cls = hidden_states(tape, batch, mode, Rows::first);  // [batch, dim]
  const Tape::Scope scope(tape, "head");
  const Tensor hidden = relu(tape, apply(tape, pre_classifier_, cls));
  const Tensor dropped = crisp::dropout(tape, hidden, dropout(config_.classifier_dropout, mode, classifier_site));
  return apply(tape, classifier_, dropped);
}

}  // namespace crisp
