// What a run writes about an evaluation, as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "data/dataset.h"
#include "train/core/trainer.h"
#include "train/inference/evaluate.h"

namespace crisp {

/// The evaluation's line of metrics.jsonl: step, epoch, eval_loss, eval_accuracy, eval_correct, eval_total, per layer
/// the requested and the effective sparsity, per layer and head the attention's entropy, raw and normalised (null for
/// one key a query), and learned degrees, and FLOPs of a sentence's forward pass (train/inference/flops.h).
nlohmann::ordered_json evaluation_json(const Evaluation& evaluation, const Trainer& trainer);

/// dev_predictions.jsonl: an object a line, in the order of `dev_set`.
std::string prediction_lines(const Evaluation& evaluation, const Dataset& dev_set);

}  // namespace crisp
