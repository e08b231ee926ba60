// crisp-inspect diff: the sentences that two models give different labels.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/config.h"
#include "train/inference/evaluate.h"
#include "train/study/statistics.h"

namespace crisp::inspect {

/// Labels that two models share.
struct SharedLabels {
  std::vector<std::string> names;  // in the order of the first model
  std::vector<int32_t> of_second;  // for each label of the second, that of the first
  std::string note = {};           // for the user, where the pairing is a guess
};
/// By name, in whatever order; where one of the models has no names (LABEL_0, LABEL_1, ...) by number. Throws BadInput,
/// with the reason, for models of other labels, and where one of several labels is not what the heads decide on.
SharedLabels share_labels(const DistilBertConfig& a, const DistilBertConfig& b);

/// A model's answers to all sentences.
struct Answers {
  std::vector<int32_t> labels;
  std::vector<std::vector<double>> probabilities;  // of all labels
};
/// With labels renamed: `of_label[l]` for l.
Answers answers_of(const std::vector<Prediction>& predictions, std::span<const int32_t> of_label);

struct AnswerComparison {
  struct Sentence {
    size_t example;
    double difference;  // the largest of |p_A - p_B| over all labels
  };
  std::vector<Sentence> disagreements;      // other labels, the largest difference first
  std::optional<Sentence> largest = {};     // of all sentences
  double mean_difference = 0;               // over all sentences
  int64_t both = 0, neither = 0;            // right; labelled data only
  std::optional<McNemar> right_alone = {};  // the same
};
/// `truth`: the labels, or empty.
AnswerComparison compare_answers(const Answers& a, const Answers& b, std::span<const int32_t> truth);

}  // namespace crisp::inspect
