// Two models' answers to the same sentences.
#include <algorithm>
#include <cmath>

#include "data/labels.h"
#include "engine/fail.h"
#include "tools/inspect/diff.h"

namespace crisp::inspect {
namespace {

std::vector<std::string> names_of(const DistilBertConfig& config) {
  std::vector<std::string> names;
  for (int64_t l = 0; l < config.num_labels; ++l) names.push_back(config.label_name(l));
  return names;
}

// LABEL_0, LABEL_1, ..., as transformers calls labels that nobody has named.
bool unnamed(const DistilBertConfig& config) {
  DistilBertConfig without_names = config;
  without_names.label_names.clear();
  return names_of(config) == names_of(without_names);
}

}  // namespace

SharedLabels share_labels(const DistilBertConfig& a, const DistilBertConfig& b) {
  for (const auto& [which, config] : {std::pair("A", &a), std::pair("B", &b)})
    if (config->head_function() != HeadFunction::softmax)
      fail<BadInput>("model {}: its head does not decide for one of several labels, which diff compares", which);
  const std::vector<std::string> in_a = names_of(a), in_b = names_of(b);
  if (in_a.size() != in_b.size())
    fail<BadInput>("A has {} labels, {}, and B {}, {}: their answers cannot be compared", in_a.size(),
                   show_label_names(in_a), in_b.size(), show_label_names(in_b));
  SharedLabels shared{in_a, {}};
  if (unnamed(a) != unnamed(b)) {
    shared.names = unnamed(a) ? in_b : in_a;
    for (size_t l = 0; l < in_a.size(); ++l) shared.of_second.push_back(static_cast<int32_t>(l));
    shared.note =
        "model " + std::string(unnamed(a) ? "A" : "B") + " does not name its labels; they are paired by number";
    return shared;
  }
  for (const std::string& name : in_b) {
    const auto at = std::find(in_a.begin(), in_a.end(), name);
    if (at == in_a.end())
      fail<BadInput>("A has the labels {}, B {}: their answers cannot be compared", show_label_names(in_a),
                     show_label_names(in_b));
    shared.of_second.push_back(static_cast<int32_t>(at - in_a.begin()));
  }
  return shared;
}

Answers answers_of(const std::vector<Prediction>& predictions, std::span<const int32_t> of_label) {
  Answers answers;
  for (const Prediction& p : predictions) {
    answers.labels.push_back(of_label[static_cast<size_t>(p.label)]);
    std::vector<double>& renamed = answers.probabilities.emplace_back(p.scores.size());
    for (size_t l = 0; l < p.scores.size(); ++l) renamed[static_cast<size_t>(of_label[l])] = p.scores[l];
  }
  return answers;
}

AnswerComparison compare_answers(const Answers& a, const Answers& b, std::span<const int32_t> truth) {
  AnswerComparison result;
  int64_t only_a = 0, only_b = 0;
  for (size_t i = 0; i < a.labels.size(); ++i) {
    AnswerComparison::Sentence sentence{i, 0};
    for (size_t l = 0; l < a.probabilities[i].size(); ++l)
      sentence.difference = std::max(sentence.difference, std::abs(a.probabilities[i][l] - b.probabilities[i][l]));
    result.mean_difference += sentence.difference / static_cast<double>(a.labels.size());
    if (!result.largest || sentence.difference > result.largest->difference) result.largest = sentence;
    if (a.labels[i] != b.labels[i]) result.disagreements.push_back(sentence);
    if (truth.empty()) continue;
    const bool a_right = a.labels[i] == truth[i], b_right = b.labels[i] == truth[i];
    ++(a_right && b_right ? result.both : a_right ? only_a : b_right ? only_b : result.neither);
  }
  if (!truth.empty()) result.right_alone = exact_mcnemar(only_a, only_b);
  std::stable_sort(result.disagreements.begin(), result.disagreements.end(),
                   [](const auto& x, const auto& y) { return x.difference > y.difference; });
  return result;
}

}  // namespace crisp::inspect
