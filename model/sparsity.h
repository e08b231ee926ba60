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

#include "model/methods/list.h"

namespace crisp {

#define CRISP_ENUMERATE(name) name,
/// What each keeps is said in its file, model/methods/NAME.cpp.
enum class SparseMethod : uint8_t { CRISP_SPARSE_METHODS(CRISP_ENUMERATE) };
#undef CRISP_ENUMERATE

/// Each method's word on the command line and in config.json.
const std::vector<std::pair<std::string, SparseMethod>>& method_words();
std::string method_name(SparseMethod method);
/// nullopt for a word that is none.
std::optional<SparseMethod> parse_method(const std::string& word);
/// The values of "sparsity-scope", an older name of two of them.
std::vector<std::pair<std::string, SparseMethod>> scope_words();

/// The mix of connections of SparseMethod::bigbird, for each query.
struct BigBird {
  int64_t nearest = 0;  // itself included
  int64_t random = 0;   // among the others
  int64_t global = 0;   // the sequence's first positions, from [CLS] on: keys of all queries, and queries of all keys
  bool operator==(const BigBird&) const = default;
};

/// What belongs to one method each, in whose file it is an option; unset: not given.
struct MethodNumbers {
  std::optional<double> threshold;          // of scaled scores
  std::optional<int64_t> window;            // positions
  std::optional<double> lexical_threshold;  // cosine
  std::optional<int64_t> tree_distance;     // edges
  std::optional<BigBird> bigbird;
  std::optional<double> attention_drop;  // probability
  // learned_span: how many positions the edge of a window takes to fall to 0; times the mean of all spans is added to
  // the loss; the rate is the one at the schedule's peak.
  std::optional<double> span_ramp, span_init, span_penalty, span_learning_rate;
  bool operator==(const MethodNumbers&) const = default;
};

/// The settings that do not depend on the model.
struct SparseSettings : MethodNumbers {
  SparseMethod method = SparseMethod::top_k;
  bool in_training = true;
  bool at_evaluation = true;
  double ramp = 0;  // the sparsity rises linearly from 0 in this part of the training steps; 0: full from the start
  // Protected keys rank before all others.
  bool keep_first = false, keep_last = false, keep_diagonal = false;  // [CLS], [SEP], a query's own position

  /// What is kept does not follow from a sparsity.
  bool by_measure() const;
  bool operator==(const SparseSettings&) const = default;
};

/// In positions: more is taken for a slip of the hand. A model's positions are the narrower limit.
constexpr int64_t longest_sentence = 1'000'000;
/// Numbers of positions are below it.
constexpr double positions_limit = 2147483648.0;

/// What a user asks for, for any model. Defaults: dense.
struct SparsityOptions : SparseSettings {
  std::string sparsity = "dense";     // S | S1,S2,.. (a number per layer) | dense uniform light aggressive; S in [0, 1)
  bool dense = false;                 // dense whatever the method and its measure, which are then ignored
  std::string sparse_layers = "all";  // all | early | late | L1,L2,.. (from 0)
  bool reverse = false;               // the schedule over layers, turned round
  // Two names of one thing, so at most one is given.
  double drop_key = 0, drop_attention = 0;
  bool drop_columns = false;  // for drop_attention

  /// Neither a sparsity nor a method with a measure of its own, nor key dropout.
  bool all_dense() const;
};

/// The numbers of its method are all set, of those that have a default: see set_defaults().
struct SparsityConfig : SparseSettings {
  std::vector<double> layers;       // requested sparsity of each layer, in [0, 1); empty: dense
  std::vector<bool> active;         // whether the method applies to a layer; empty: to all
  std::string requested = "dense";  // how the user wrote the sparsity
  bool reversed = false;            // `layers` is what was requested, turned round
  double key_dropout = 0;  // DropKey, DropAttention: in training each kept key is removed with this probability
  bool key_dropout_columns = false;  // a key is removed for all queries of its sequence and head together
  uint64_t seed = 0;                 // of random connections, so that they are the same in training and evaluation
  /// Learned degrees of a trained model, [layer][head]; a layer without has none. Empty: all start at span_init.
  /// DistilBert makes parameters of them; its spans() are the current ones.
  std::vector<std::vector<double>> spans;

  bool dense() const;
  /// Mean over layers; 0 when dense.
  double mean() const;
  /// Whether the method takes part in a layer; in training after `progress`. Some do nothing at
  /// evaluation.
  bool applies(int64_t layer, bool training, double progress = 1) const;
  /// The sparsity of a layer; in training after `progress`, in [0, 1], of all steps.
  double sparsity(int64_t layer, bool training = false, double progress = 1) const;
  /// The sparsity that an evaluation asks of a layer: 0 where it is dense, NaN where a measure decides instead.
  double requested_at_evaluation(int64_t layer) const;
  bool is_active(int64_t layer) const { return active.empty() || active[static_cast<size_t>(layer)]; }
  /// Whether parameters for learned degrees exist in this layer.
  bool has_spans(int64_t layer) const;
  /// Whether the method takes part anywhere.
  bool applies_somewhere(bool training, double progress = 1) const;
  /// Whether some layer follows dependency parses.
  bool needs_parses(bool training) const;
  /// Sets the numbers of the method that have a default and are not given.
  void set_defaults();
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
