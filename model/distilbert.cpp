#include "model/distilbert.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/adamw.h"
#include "engine/backend.h"
#include "engine/error.h"
#include "model/methods/method.h"
#include "model/random_sites.h"

namespace crisp {
namespace {

// (x | 1 | 0 ..) of `width` columns.
Tensor with_one(Tape& tape, const Tensor& x, int64_t width) {
  const int64_t rows = x.dim(0);
  const auto constant = [&](int64_t cols, double value) {
    return filled(tape.context(), {rows, cols}, x.dtype(), value, x.device());
  };
  return concat(tape, std::array{x, constant(1, 1), constant(width - x.dim(1) - 1, 0)}, 1);
}

}  // namespace

DistilBert::DistilBert(const DistilBertConfig& config, DType dtype, Device device, const ParameterSource& source)
    : config_(config), dtype_(dtype), device_(device) {
  check_config(config, "model");
  const int64_t dim = config.dim;
  const std::string embeddings = "distilbert.embeddings.";
  const auto table = [&](const std::string& name, int64_t rows) {
    return add(name, made(name, {rows, dim}, source), true, false);
  };
  words_ = table(embeddings + "word_embeddings.weight", config.vocab_size);
  words_.take_grad_by_rows();
  positions_ = table(embeddings + "position_embeddings.weight", config.max_positions);
  embedding_norm_ = add_norm(embeddings + "LayerNorm", source);
  for (int64_t l = 0; l < config.layers; ++l) {
    const std::string name = fmt::format("distilbert.transformer.layer.{}.", l);
    Layer layer;
    layer.scope = fmt::format("layer.{}", l);
    add_projections(layer, name + "attention.");
    layer.out = add_linear(name + "attention.out_lin", dim, dim, source);
    layer.attention_norm = add_norm(name + "sa_layer_norm", source);
    layer.up = add_linear(name + "ffn.lin1", config.hidden_dim, dim, source);
    layer.down = add_linear(name + "ffn.lin2", dim, config.hidden_dim, source);
    layer.output_norm = add_norm(name + "output_layer_norm", source);
    layers_.push_back(std::move(layer));
  }
  pre_classifier_ = add_linear("pre_classifier", dim, dim, source, true);
  classifier_ = add_linear("classifier", config.num_labels, dim, source, true);
  add_spans();
}

DistilBert DistilBert::clone() const {
  DistilBert copy(config_, dtype_, device_);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& from = parameters_[i].tensor;
    copy.parameters_[i].tensor.set_requires_grad(from.requires_grad()).copy_from(from);
  }
  return copy;
}

DistilBert DistilBert::with_own_gradients() const {
  DistilBert copy(*this);
  auto own = [each = copy.parameters_.begin()](Tensor& tensor) mutable {
    const bool by_rows = tensor.gradient().by_rows();
    tensor = tensor.detach().set_requires_grad(tensor.requires_grad());
    if (by_rows) tensor.take_grad_by_rows();
    (each++)->tensor = tensor;
  };
  const auto own_both = [&](auto& part) {
    own(part.weight);
    own(part.bias);
  };
  // In the order of parameters().
  own(copy.words_);
  own(copy.positions_);
  own_both(copy.embedding_norm_);
  for (Layer& l : copy.layers_) {
    for (Linear* part : {&l.query, &l.key, &l.value, &l.out}) own_both(*part);
    own_both(l.attention_norm);
    for (Linear* part : {&l.up, &l.down}) own_both(*part);
    own_both(l.output_norm);
  }
  own_both(copy.pre_classifier_);
  own_both(copy.classifier_);
  for (Layer& l : copy.layers_)
    if (l.span) own(l.span);
  return copy;
}

Tensor DistilBert::add(const std::string& name, const Tensor& tensor, bool decays, bool in_head) {
  tensor.set_name(name).set_requires_grad();
  parameters_.push_back({name, tensor, decays, in_head});
  return tensor;
}

Tensor DistilBert::made(const std::string& name, const Shape& shape, const ParameterSource& source) const {
  const Tensor given = source ? source(name, shape) : Tensor();
  return given ? given : empty(shape);
}

DistilBert::Linear DistilBert::add_linear(const std::string& name, int64_t out, int64_t in,
                                          const ParameterSource& source, bool in_head) {
  return add_linear(name, {made(name + ".weight", {out, in}, source), made(name + ".bias", {out}, source)}, in_head);
}

DistilBert::Linear DistilBert::add_linear(const std::string& name, const LinearLayer& parameters, bool in_head) {
  add(name + ".weight", parameters.weight, true, in_head);
  add(name + ".bias", parameters.bias, false, in_head);
  return {parameters, name.substr(name.rfind('.') + 1)};
}

// One under the other in memory, so that one product does for all three: see linears().
void DistilBert::add_projections(Layer& layer, const std::string& name) {
  const int64_t dim = config_.dim;
  const Tensor weights = empty({3 * dim, dim}), biases = empty({3 * dim});
  const auto part = [&](const char* which, int64_t i) {
    return add_linear(name + which, {weights.view_rows(i * dim, dim), biases.view_rows(i * dim, dim)}, false);
  };
  layer.query = part("q_lin", 0);
  layer.key = part("k_lin", 1);
  layer.value = part("v_lin", 2);
}

DistilBert::Norm DistilBert::add_norm(const std::string& name, const ParameterSource& source) {
  const auto vector = [&](const std::string& its_name) {
    return add(its_name, made(its_name, {config_.dim}, source), false, false);
  };
  const Tensor weight = vector(name + ".weight");
  return {weight, vector(name + ".bias")};
}

void DistilBert::initialise(const Parameter& p, uint32_t site, uint64_t seed) {
  if (p.decays) {
    const RandomKey key{seed, Stream::init, 0, site};
    p.tensor.copy_from(Tensor::normal(p.tensor.shape(), dtype_, key, 0, config_.initializer_range));
  } else {
    const double value = p.is_span ? config_.sparsity.span_init.value() : p.name.ends_with("orm.weight") ? 1 : 0;
    p.tensor.copy_from(Tensor::full(p.tensor.shape(), dtype_, value));
  }
}

void DistilBert::initialise(uint64_t seed) {
  for (size_t i = 0; i < parameters_.size(); ++i) initialise(parameters_[i], static_cast<uint32_t>(i), seed);
}

void DistilBert::initialise_head(uint64_t seed) {
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (parameters_[i].in_head) initialise(parameters_[i], static_cast<uint32_t>(i), seed);
}

void DistilBert::add_spans() {
  const SparsityConfig& c = config_.sparsity;
  for (int64_t l = 0; l < config_.layers; ++l) {
    Layer& layer = layers_[static_cast<size_t>(l)];
    layer.span = {};
    if (!c.has_spans(l)) continue;
    const std::vector<double> values =
        c.spans.empty() ? std::vector<double>(static_cast<size_t>(config_.heads), c.span_init.value())
                        : c.spans.at(static_cast<size_t>(l));
    layer.span =
        add(fmt::format("distilbert.transformer.layer.{}.attention.span", l), empty({config_.heads}), false, false);
    layer.span.copy_from(Tensor::from(values, {config_.heads}, dtype_));
    parameters_.back().is_span = true;
  }
}

void DistilBert::set_sparsity(const SparsityConfig& config) {
  std::erase_if(parameters_, [](const Parameter& p) { return p.is_span; });
  config_.sparsity = config;
  add_spans();
}

std::vector<std::vector<double>> DistilBert::spans() const {
  std::vector<std::vector<double>> spans;
  bool any = false;
  for (const Layer& layer : layers_) {
    spans.push_back(layer.span ? layer.span.to_vector() : std::vector<double>());
    any |= static_cast<bool>(layer.span);
  }
  return any ? spans : std::vector<std::vector<double>>();
}

Tensor DistilBert::span_penalty(Tape& tape) const {
  std::vector<Tensor> spans;
  for (const Layer& layer : layers_)
    if (layer.span) spans.push_back(layer.span);
  const double penalty = config_.sparsity.span_penalty.value_or(0);
  if (spans.empty() || penalty == 0) return {};
  return scale(tape, mean(tape, concat(tape, spans, 0)), penalty);
}

void DistilBert::clamp_spans(const Context& context, const Tensor& clip) const {
  for (const Layer& layer : layers_)
    if (layer.span) crisp::clamp(layer.span, 0, static_cast<double>(config_.max_positions), context, clip);
}

Tensor DistilBert::apply(Tape& tape, const Linear& layer, const Tensor& x) {
  const Tape::Scope scope(tape, layer.scope);
  return linear(tape, x, layer.weight, layer.bias);
}

Tensor DistilBert::apply(Tape& tape, const char* scope, std::span<const LinearLayer> layers, const Tensor& x) {
  const Tape::Scope named(tape, scope);
  return linears(tape, x, layers);
}

Dropout DistilBert::dropout(double p, const ForwardMode& mode, uint32_t site) const {
  if (!mode.training) return {};
  return {p, {mode.seed, Stream::dropout, mode.step, site}};
}

// Whether one query's weights depend on its own scores alone, and on its head by nothing else, so that its heads can be
// queries of one head.
bool DistilBert::by_rows_alone(int64_t index, const ForwardMode& mode) const {
  const SparsityConfig& c = config_.sparsity;
  if (mode.training && c.key_dropout > 0 && c.key_dropout_columns && c.is_active(index)) return false;
  if (!c.applies(index, mode.training, mode.progress)) return true;
  return !about(c.method).whole_matrix && !lists_differ_by_head(c);
}

AttentionRule DistilBert::rule(int64_t index, Pass& pass, const ListedQueries& queries) const {
  const SparsityConfig& c = config_.sparsity;
  const ForwardMode& mode = pass.mode;
  AttentionRule rule{.heads = config_.heads,
                     .scale = 1 / std::sqrt(static_cast<double>(config_.head_dim())),
                     .dropout = dropout(config_.attention_dropout, mode, attention_site(index))};
  const auto masks = [&](uint32_t site) { return RandomKey{mode.seed, Stream::masks, mode.step, site}; };
  if (!c.is_active(index)) return rule;
  rule.keep_first = c.keep_first;
  rule.keep_last = c.keep_last;
  rule.keep_diagonal = c.keep_diagonal;
  if (mode.training) rule.key_dropout = {c.key_dropout, masks(key_dropout_site(index)), c.key_dropout_columns};
  if (!c.applies(index, mode.training, mode.progress)) return rule;
  rule.sparsity = c.sparsity(index, mode.training, mode.progress);
  const Method& method = about(c.method);
  rule.selection = method.selection;
  rule.normaliser = method.normaliser;
  if (method.complete)
    method.complete(rule, {.config = c,
                           .training = mode.training,
                           .span = layers_[static_cast<size_t>(index)].span,
                           .random = masks(attention_drop_site(index))});
  if (rule.selection == Selection::listed) add_lists(rule, index, pass, queries);
  return rule;
}

// Lists are made by the host. What it needs of the weights it reads here, before the first layer: a layer waits for
// nothing.
void DistilBert::read_for_lists(const Context& context, Pass& pass) const {
  const SparsityConfig& c = config_.sparsity;
  if (!c.applies_somewhere(pass.mode.training, pass.mode.progress)) return;
  const Method& method = about(c.method);
  if (method.learns_spans && !pass.mode.training) pass.spans = spans();
  if (!method.needs_words) return;
  Tape constants(context, Tape::Mode::inference);
  const Tensor words = embedding(constants, words_.detach(), pass.batch.words()).to(Device::cpu);
  pass.similarities = word_similarities(words, pass.batch.sequences().kv_offsets().host, pass.threads);
}

void DistilBert::add_lists(AttentionRule& rule, int64_t index, Pass& pass, const ListedQueries& queries) const {
  const SparsityConfig& c = config_.sparsity;
  const Batch& batch = pass.batch;
  const auto& offsets = batch.sequences().kv_offsets().host;
  std::vector<int64_t> windows;
  if (about(c.method).learns_spans)
    for (const double z : pass.spans[static_cast<size_t>(index)])
      windows.push_back(hard_window(z, c.span_ramp.value()));
  const KeyLists lists = key_lists(c, index, rule.sparsity, config_.heads,
                                   {.offsets = offsets,
                                    .similarities = pass.similarities,
                                    .tree_distances = batch.tree_distances(),
                                    .windows = windows},
                                   pass.threads, queries);
  const Segments segments = queries.first_only ? batch.first_queries(queries.copies) : batch.sequences();
  rule.lists = on(device_, ListedKeys(segments, lists.heads, lists.starts, lists.keys));
}

// One query a sequence needs no keys and values of its own: see absorb_keys() in engine/ops.h. The products are small.
// A query's heads are `heads` queries of one head, in the same order, so that dropout draws the same numbers.
Tensor DistilBert::attend_first(Tape& tape, int64_t index, const Tensor& x, const Tensor& q, Pass& pass) const {
  const Layer& w = layers_[static_cast<size_t>(index)];
  const int64_t width = (config_.dim / 16 + 1) * 16;  // of the inputs, a 1 for the biases, zeros to whole cache lines
  const Tensor x1 = with_one(tape, x, width);
  AttentionRule of_one_head = rule(index, pass, {.first_only = true, .copies = config_.heads});
  of_one_head.heads = 1;
  // The queries are all the first of their sequence, though they stand at 0 .. heads - 1.
  of_one_head.keep_first |= of_one_head.keep_diagonal;
  of_one_head.keep_diagonal = false;
  const Tensor queries = absorb_keys(tape, q, w.key.weight, w.key.bias, config_.heads, width);
  const Tensor sums = attention(tape, queries, x1, x1, pass.batch.first_queries(config_.heads), of_one_head);
  return absorb_values(tape, sums, w.value.weight, w.value.bias, config_.heads);
}

// `queries` are all rows of x, or the first of each sequence.
Tensor DistilBert::attend(Tape& tape, int64_t index, const Tensor& x, const Tensor& queries, Wanted wanted, Pass& pass,
                          AttentionStats* stats) const {
  const Layer& w = layers_[static_cast<size_t>(index)];
  if (wanted == Wanted::all) {
    const Tensor qkv = apply(tape, "qkv_lin", std::array<LinearLayer, 3>{w.query, w.key, w.value}, x);
    const AttentionRule of_all = rule(index, pass, {});
    if (pass.mode.weights) {
      Tape constants(tape.context(), Tape::Mode::inference);
      const auto part = [&](int64_t i) { return slice(constants, qkv.detach(), 1, i * config_.dim, config_.dim); };
      pass.mode.weights->push_back(attention_weights(tape.context(), part(0), part(1), pass.batch.sequences(), of_all));
    }
    return attention(tape, qkv, pass.batch.sequences(), of_all, stats);
  }
  const Tensor q = apply(tape, w.query, queries);
  if (by_rows_alone(index, pass.mode) && !backend(device_).launches_kernels)
    return attend_first(tape, index, x, q, pass);
  const Tensor kv = apply(tape, "kv_lin", std::array<LinearLayer, 2>{w.key, w.value}, x);
  return attention(tape, q, kv, pass.batch.first_queries(1), rule(index, pass, {.first_only = true}), stats);
}

// `queries` are the rows of x whose new hidden states are wanted: all of them, or the first of each sequence.
Tensor DistilBert::layer(Tape& tape, int64_t index, const Tensor& x, const Tensor& queries, Wanted wanted, Pass& pass,
                         AttentionStats* stats) const {
  const Layer& w = layers_[static_cast<size_t>(index)];
  const Tape::Scope scope(tape, w.scope);
  const ForwardMode& mode = pass.mode;
  Tensor normed;
  {
    const Tape::Scope attention_scope(tape, "attention");
    const Tensor context = attend(tape, index, x, queries, wanted, pass, stats);
    normed = residual_layer_norm(tape, queries, apply(tape, w.out, context), {}, w.attention_norm.weight,
                                 w.attention_norm.bias, config_.layer_norm_epsilon);
  }
  const Tape::Scope feed_forward_scope(tape, "ffn");
  const Tensor down = feed_forward(tape, normed, w.up.weight, w.up.bias, w.down.weight, w.down.bias);
  return residual_layer_norm(tape, normed, down, dropout(config_.dropout, mode, feed_forward_site(index)),
                             w.output_norm.weight, w.output_norm.bias, config_.layer_norm_epsilon);
}

Tensor DistilBert::hidden_states(Tape& tape, const Batch& batch, const ForwardMode& mode, Wanted wanted) const {
  const Tape::Scope scope(tape, "DistilBert");
  Pass pass{batch, mode, tape.context().threads()};
  read_for_lists(tape.context(), pass);
  Tensor x;  // [total, dim]
  {
    const Tape::Scope embedding_scope(tape, "embeddings");
    x = embeddings_layer_norm(tape, words_, positions_, batch.words(), batch.positions(), embedding_norm_.weight,
                              embedding_norm_.bias, config_.layer_norm_epsilon,
                              dropout(config_.dropout, mode, embedding_site));
  }
  const auto full_layer = [&](int64_t l) {
    AttentionStats* stats = mode.stats ? &mode.stats->emplace_back() : nullptr;
    const Tensor y = layer(tape, l, x, x, Wanted::all, pass, stats);
    if (mode.hidden) mode.hidden->push_back(y.detach());
    return y;
  };
  if (mode.hidden) mode.hidden->push_back(x.detach());
  const int64_t last = config_.layers - 1;
  for (int64_t l = 0; l < last; ++l) x = full_layer(l);
  if (wanted == Wanted::all) return full_layer(last);

  const Rows& first = batch.first();  // [CLS] is the first token of each sequence
  // A threshold over a head's whole score matrix needs every query of the last layer.
  const SparsityConfig& sparsity = config_.sparsity;
  if (about(sparsity.method).whole_matrix && sparsity.applies(last, mode.training, mode.progress))
    return embedding(tape, full_layer(last), first);
  // Who looks on needs them too, but must not change a bit of the logits: that layer is computed beside the short one.
  if (mode.stats || mode.weights || mode.hidden) full_layer(last);
  return layer(tape, last, x, embedding(tape, x, first), Wanted::first, pass, nullptr);
}

Tensor DistilBert::encode(Tape& tape, const Batch& batch, const ForwardMode& mode) const {
  return hidden_states(tape, batch, mode, Wanted::all);
}

Tensor DistilBert::forward(Tape& tape, const Batch& batch, const ForwardMode& mode) const {
  const Tensor cls = hidden_states(tape, batch, mode, Wanted::first);  // [batch, dim]
  const Tape::Scope scope(tape, "head");
  const Tensor hidden = relu(tape, apply(tape, pre_classifier_, cls));
  const Tensor dropped = crisp::dropout(tape, hidden, dropout(config_.classifier_dropout, mode, classifier_site));
  return apply(tape, classifier_, dropped);
}

}  // namespace crisp
