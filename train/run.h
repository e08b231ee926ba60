// A whole training run as a user starts it: files in, a directory out.
#pragma once

#include "train/options.h"

namespace crisp {

/// The exit code: 0, or 130/143 when Ctrl-C or SIGTERM ended the run after a checkpoint was written. Errors are thrown
/// (engine/error.h). `sample_root` is the folder that holds weights/sample and data/sample, used where the options name
/// neither weights nor data.
///
/// In options.output it leaves:
///   model.safetensors, config.json, vocab.txt, tokenizer files   the model of the best evaluation
///   checkpoint-STEP/      the last and the best, for --resume
///   metrics.jsonl         training and evaluation, one object a line
///   events.out.tfevents.* the same for TensorBoard
///   dev_predictions.jsonl the best model's prediction for every example of the dev set
///   all_results.json      the summary
int run_training(TrainOptions options, const std::string& sample_root);

}  // namespace crisp
