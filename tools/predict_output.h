// How crisp-predict and packed programs show predictions.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/batch.h"
#include "data/dataset.h"
#include "model/config.h"
#include "train/inference/evaluate.h"
#include "train/inference/predictor.h"  // explain_not_finite

namespace crisp {

/// One line: the best label and its score, as transformers' text-classification pipeline gives them (a regression's
/// score is the number itself), or with `json` an object: label, label_name, logits, and probabilities of all labels,
/// or for a regression `value`. `text`, if given, is added as a column or key.
std::string format_prediction(const Prediction& prediction, const DistilBertConfig& config, bool json,
                              const std::string* text = nullptr);

struct AnswerStyle {
  int batch_size = 64;
  bool json = false, with_text = false;  // the text of each example as well
};

/// Answers for `examples`, which `data` has as the model takes them, and of which `before` came earlier: a line each on
/// standard output, at once. `readable` is false where nobody can read them any more.
struct Answered {
  Evaluation evaluation;
  bool readable = true;
};
Answered print_answers(const Predictor& predictor, const TokenizedDataset& data, std::span<const Example> examples,
                       const AnswerStyle& style, int64_t before);

}  // namespace crisp
