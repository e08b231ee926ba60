// How crisp-predict shows a prediction.
#pragma once

#include <string>

#include "model/config.h"
#include "train/inference/evaluate.h"
#include "train/inference/predictor.h"  // explain_not_finite

namespace crisp {

/// One line: the best label and its score, as transformers' text-classification pipeline gives them (a regression's
/// score is the number itself), or with `json` an object: label, label_name, logits, and probabilities of all labels,
/// or for a regression `value`. `text`, if given, is added as a column or key.
std::string format_prediction(const Prediction& prediction, const DistilBertConfig& config, bool json,
                              const std::string* text = nullptr);

}  // namespace crisp
