// How a method of sparse attention declares itself. Its file (model/methods/*.cpp) holds its word, what it keeps and
// whose idea that is, its options, what it needs, and how it chooses; list.h names them all. Everything else asks the
// method instead of naming it.
//
// Where a row of n keys is to be sparse by s, "k of them" are top_k_count(s, n) (engine/kernels.h).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "data/input/setting.h"
#include "engine/attention_rule.h"
#include "model/sparsity.h"

namespace crisp {

/// An option that belongs to one method.
struct MethodOption : Setting<MethodNumbers> {
  SettingValue unset = {};  // what holds where it is not given
  bool is_measure = false;  // it takes the place of a sparsity
  bool given(const MethodNumbers& numbers) const { return get(numbers).index() > 0; }
};

inline std::vector<MethodOption> one_measure(const Setting<MethodNumbers>& setting) { return {{setting, {}, true}}; }

/// One query of a sequence under one head, as a method sees it that ranks keys without their scores.
struct ListedQuery {
  const SparsityConfig& config;
  int64_t position, length;
  RandomKey random;                         // of the layer and the head
  const double* similarities = nullptr;     // of the sequence's words, [length, length]
  const int32_t* tree_distances = nullptr;  // the same
  int64_t window = 0;                       // of the head, where it is learned
};
/// What a measure keeps: the keys whose number is at most `within`, and `more` of the others.
struct Kept {
  double within = 0;
  int64_t more = 0;
};
/// What several methods rank by: random numbers of (seed, layer, head, query, key); positions between query and key.
void rank_by_chance(const ListedQuery& query, double* numbers);
void rank_by_distance(const ListedQuery& query, double* numbers);

/// What a layer has for its AttentionRule, beside the sparsity.
struct RuleInputs {
  const SparsityConfig& config;
  bool training;
  const Tensor& span;  // its learned degrees, if there are any
  RandomKey random;    // of the layer and the step
};

struct Method {
  const char* word;          // on the command line, in config.json, in reports
  const char* keeps;         // the model's README says so, with the paper
  const char* instead = "";  // and which options it has, or which measure takes the place of --sparsity
  bool by_sparsity = true;   // false: how many keys are kept does not follow from a sparsity
  std::vector<MethodOption> (*declare)() = nullptr;  // its own options: see options()
  /// The measure that was given, in words: "at most 2 away".
  std::string (*measure)(const SparseSettings&) = nullptr;

  // --- How it chooses.
  Selection selection = Selection::listed;
  Normaliser normaliser = Normaliser::softmax;
  /// What the selection needs beside the sparsity.
  void (*complete)(AttentionRule&, const RuleInputs&) = nullptr;
  /// For listed keys: fills numbers [length], of which the smallest are kept first (key_lists.h).
  Kept (*rank)(const ListedQuery&, double* numbers) = nullptr;
  bool takes_protected = true;  // --keep means something
  /// Whether the lists of a layer's heads are different ones; null: never.
  bool (*differs_by_head)(const SparseSettings&) = nullptr;

  // --- What it needs.
  bool needs_parses = false;
  bool needs_words = false;   // their embeddings' similarities
  bool learns_spans = false;  // a degree for each head
  bool by_seed = false;       // random numbers that are the same in all steps
  bool whole_matrix = false;  // all scores of a head, those of all queries
  bool at_evaluation = true;  // false: training only
  /// What training removes of the `part` (as "80 %") that was requested, where that is not all of it.
  std::string (*removes)(const SparseSettings&, const std::string& part) = nullptr;

  const std::vector<MethodOption>& options() const;
  /// Whether all scores must be there before an evaluation can tell which keys stay.
  bool by_scores() const { return selection != Selection::listed; }
  /// Whether the set of kept keys depends on the embeddings. That of another normaliser does, too, but continuously.
  bool chooses_by_embeddings() const { return needs_words || (by_scores() && selection != Selection::all); }
  /// Whether without training nothing of it is left.
  bool needs_training() const { return learns_spans || !at_evaluation; }
};

#define CRISP_DECLARE(name) extern const Method name##_method;
CRISP_SPARSE_METHODS(CRISP_DECLARE)
#undef CRISP_DECLARE
/// Every method, in the order of SparseMethod.
std::span<const Method* const> all_methods();
const Method& about(SparseMethod method);

}  // namespace crisp
