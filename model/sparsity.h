// What each layer's attention keeps: the methods, their settings, and schedules over layers and training steps.
//
// From Crisp Attention (Gandhi & Gandhi, arXiv 2508.06016): removing scores before the softmax, by schedules over
// layers. From Breaking BERT (Brahma, Zablotskaia, Mimno, arXiv 2210.03841): fixed masks by position, lexical
// similarity, syntax and chance, and learned degrees. What the papers leave open is listed in model/README.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace crisp {

/// Where a row of n keys is to be sparse by s, "k of them" are top_k_count(s, n) (engine/kernels.h).
enum class SparseMethod : uint8_t {
  top_k,           // the k largest scores of each query (Gupta et al., arXiv 2106.06899)
  top_k_ties,      // all scores at or above the k-th largest: Explicit Sparse Transformer (arXiv 1912.11637)
  percentile,      // the scores at or above the s quantile of a head's whole score matrix
  threshold,       // the scaled scores at or above a number
  bottom_k,        // the k smallest scores: a control
  random_k,        // k keys by chance, the same in training and evaluation: a control
  attention_drop,  // each of the n - k largest scores removed with a probability: AttentionDrop (arXiv 2504.12088)
  neighbour,       // the k nearest keys, or those at most a window away
  bigbird,         // nearest, random and global keys (Zaheer et al., arXiv 2007.14062)
  lexical,         // the k keys whose word embeddings have the largest cosine, or those above a threshold
  syntax,          // the k nearest keys in the dependency tree, or those at most a distance away
  learned_span,    // a window for each head, learned (after Adaptive Span, arXiv 1905.07799)
  sparsemax,       // another normaliser (Martins & Astudillo, arXiv 1602.02068)
  entmax15,        // another normaliser (Peters, Niculae & Martins, arXiv 1905.05702)
};

/// Each method's word on the command line and in config.json.
const std::vector<std::pair<std::string, SparseMethod>>& method_words();
std::string method_name(SparseMethod method);
/// nullopt for a word that is none.
std::optional<SparseMethod> parse_method(const std::string& word);

/// The mix of connections of SparseMethod::bigbird, for each query.
struct BigBird {
  int64_t nearest = 0;  // itself included
  int64_t random = 0;   // among the others
  int64_t global = 0;   // the sequence's first positions, from [CLS] on: keys of all queries, and queries of all keys
  bool operator==(const BigBird&) const = default;
};

/// The settings that do not depend on the model.
struct SparseSettings {
  SparseMethod method = SparseMethod::top_k;
  bool in_training = true;
  bool at_evaluation = true;
  double ramp = 0;  // the sparsity rises linearly from 0 in this part of the training steps; 0: full from the start
  // Protected keys rank before all others.
  bool keep_first = false, keep_last = false, keep_diagonal = false;  // [CLS], [SEP], a query's own position

  // Measures that take the place of a sparsity.
  std::optional<double> threshold;
  std::optional<int64_t> window;
  std::optional<double> lexical_threshold;
  std::optional<int64_t> tree_distance;
  std::optional<BigBird> bigbird;

  /// What is kept does not follow from a sparsity.
  bool by_measure() const;
  bool operator==(const SparseSettings&) const = default;
};

/// The range of a window's edge, in positions: below it f32 cannot tell the gate from a step.
constexpr double least_span_ramp = 1e-3;
/// Numbers of positions are below it.
constexpr double positions_limit = 2147483648.0;

/// What a user asks for, for any model. Defaults: dense.
struct SparsityOptions : SparseSettings {
  std::string sparsity = "dense";     // S | S1,S2,.. (a number per layer) | dense uniform light aggressive; S in [0, 1)
  bool dense = false;                 // dense whatever the method and its measure, which are then ignored
  std::string sparse_layers = "all";  // all | early | late | L1,L2,.. (from 0)
  bool reverse = false;               // the schedule over layers, turned round
  // Of one method each; unset: the default of SparsityConfig.
  std::optional<double> attention_drop, span_ramp, span_init, span_penalty, span_learning_rate;
  // Two names of one thing, so at most one is given.
  double drop_key = 0, drop_attention = 0;
  bool drop_columns = false;  // for drop_attention

  /// Neither a sparsity nor a method with a measure of its own, nor key dropout.
  bool all_dense() const;
};

struct SparsityConfig : SparseSettings {
  std::vector<double> layers;       // requested sparsity of each layer, in [0, 1); empty: dense
  std::vector<bool> active;         // whether the method applies to a layer; empty: to all
  std::string requested = "dense";  // how the user wrote the sparsity
  bool reversed = false;            // `layers` is what was requested, turned round
  double attention_drop = 0.5;      // probability
  double key_dropout = 0;  // DropKey, DropAttention: in training each kept key is removed with this probability
  bool key_dropout_columns = false;  // a key is removed for all queries of its sequence and head together
  double span_ramp = 4;              // learned_span: how many positions the edge of a window takes to fall to 0
  double span_init = 8;
  double span_penalty = 0;           // times the mean of all spans is added to the loss
  double span_learning_rate = 0.01;  // at the schedule's peak; spans are in positions, so weights' rates are too small
  uint64_t seed = 0;                 // of random connections, so that they are the same in training and evaluation
  /// Learned degrees of a trained model, [layer][head]; a layer without has none. Empty: all start at span_init.
  /// DistilBert makes parameters of them; its spans() are the current ones.
  std::vector<std::vector<double>> spans;

  bool dense() const;
  /// Mean over layers; 0 when dense.
  double mean() const;
  /// Whether the method takes part in a layer; in training after `progress`. AttentionDrop does nothing at evaluation.
  bool applies(int64_t layer, bool training, double progress = 1) const;
  /// The sparsity of a layer; in training after `progress`, in [0, 1], of all steps.
  double sparsity(int64_t layer, bool training = false, double progress = 1) const;
  /// The sparsity that an evaluation asks of a layer: 0 where it is dense, NaN where a measure decides instead.
  double requested_at_evaluation(int64_t layer) const;
  bool is_active(int64_t layer) const { return active.empty() || active[static_cast<size_t>(layer)]; }
  /// Whether parameters for learned degrees exist in this layer.
  bool has_spans(int64_t layer) const { return method == SparseMethod::learned_span && is_active(layer); }
  bool operator==(const SparsityConfig&) const = default;
  /// In a few words, for people: "0.8 by top-k, in layers 2,3".
  std::string describe() const;
};

/// What is wrong with a text after --sparsity, or after --sparse-layers, whatever the model; "" for nothing.
std::string sparsity_complaint(const std::string& text);
std::string sparse_layers_complaint(const std::string& text);

/// Reads what a user writes after --sparsity, for a model of `layers` layers:
/// - a number S in [0, 1): every layer S;
/// - a list "S1,S2,...": one for each layer;
/// - "dense": 0 everywhere; "uniform": 0.7 everywhere;
/// - "light": 0.45 in the first layer, rising linearly to 0.75 in the last (mean 0.6);
/// - "aggressive": 0.65 in the first layer, rising linearly to 0.95 in the last (mean 0.8).
/// The paper gives the range 60..80 %, the mean of its aggressive configuration (80 %) and that deeper layers are
/// pruned more; the per-layer numbers are our choice. Throws UsageError.
SparsityConfig parse_sparsity(const std::string& text, int64_t layers);

/// Reads what a user writes after --sparse-layers: "all"; "early" and "late", the first and the last max(1, layers / 2)
/// layers (the middle one of an odd number belongs to neither); or numbers from 0 with commas. Throws UsageError.
std::vector<bool> parse_layers(const std::string& text, int64_t layers);

/// Why settings do not go together.
struct SparsityConflict {
  std::string message;  // names the options as on a command line
  /// Names without "--". Without any one of these options this conflict would be gone; the likeliest mistake first.
  std::vector<std::string> options;
};
/// The first conflict: settings that contradict each other, or that belong to a method or a switch that is not on.
/// Settings of any method (layers, protected keys, evaluation, the method itself) are none on a dense run: what
/// compares runs gives them to all.
std::optional<SparsityConflict> find_sparsity_conflict(const SparsityOptions& options);
/// Throws UsageError where there is one.
void check_sparsity_options(const SparsityOptions& options);
/// The configuration for a model; `seed` for random connections. Throws UsageError.
SparsityConfig make_sparsity(const SparsityOptions& options, int64_t layers, uint64_t seed);

}  // namespace crisp
