// A whole training run as a user starts it: files in, a directory out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/run/train_options.h"

namespace crisp {

/// What a run reads of data. Empty: not given and not in --data.
struct DataFiles {
  std::string train, dev;
  std::string train_parses, dev_parses;  // of these sentences
};
/// Those that the options name, else those in --data. Parses there belong to the sentences there: they are not taken
/// for sentences of another file. Throws BadInput (find_dataset).
DataFiles find_data_files(const TrainOptions& options);
/// Throws UsageError where the training or the evaluation set is missing.
void require_data_sets(const DataFiles& files, const TrainOptions& options);
/// Leaves the parses that some layer of the model looks at. Throws UsageError where they are missing.
void keep_needed_parses(DataFiles& files, const TrainOptions& options, const SparsityConfig& sparsity);

/// Which of `n` training examples a run trains on, and which ones it sets aside to choose the best evaluation on.
/// Throws UsageError where there are too few.
struct TrainingSplit {
  std::vector<int32_t> trained_on, set_aside;
};
TrainingSplit split_training(const TrainOptions& options, int32_t n);

/// Whether a run trains the bundled sample: where none of these options is given (each empty).
bool trains_sample(const std::string& weights, const std::string& init, const std::string& data,
                   const std::string& train);
/// Where it does: sets the sample's weights and data, with its learning rate and epochs unless the options have them,
/// and returns true.
bool take_sample(TrainOptions& options, const std::string& sample_root);

/// The exit code: 0, or 129/130/143 when SIGHUP, Ctrl-C or SIGTERM ended the run after a checkpoint was written. Until
/// there is something to save they end the process at once (InterruptHandler). Errors are thrown (engine/error.h).
/// `sample_root` is the folder that holds weights/sample and data/sample, used where the options name neither weights
/// nor data.
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
