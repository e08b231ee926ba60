// How crisp-predict shows a prediction.
#pragma once

#include <string>

#include "model/config.h"
#include "train/evaluate.h"
#include "train/model_files.h"

namespace crisp {

/// One line: the best label and its score, as transformers' text-classification pipeline gives them (a regression's
/// score is the number itself), or with `json` an object: label, label_name, logits, and probabilities of all labels,
/// or for a regression `value`. `text`, if given, is added as a column or key.
std::string format_prediction(const Prediction& prediction, const DistilBertConfig& config, bool json,
                              const std::string* text = nullptr);

/// What an answer that is no number means for who has only asked: throws Diverged, naming what is broken in the
/// weights.
[[noreturn]] void explain_not_finite(const NotFinite& error, const LoadedModel& loaded);

}  // namespace crisp
