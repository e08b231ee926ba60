// What a checkpoint directory of a training run holds, and how a trainer goes on from it:
//   model.safetensors, config.json, vocab.txt, ...  the model, loadable by crisp-predict and transformers
//   optimizer.safetensors   moments "m.NAME", "v.NAME"; pending gradients "grad.NAME"; learned spans
//   trainer_state.json      position, counters, lengths of the logs, the options that matter, the kernels, which random
//                           numbers are drawn
#pragma once

#include <cstdint>
#include <string>

#include "data/tokenizer_files.h"
#include "train/core/trainer.h"
#include "train/run/train_options.h"

namespace crisp {

/// Lengths of the append-only logs when the checkpoint was written, so that a resumed run repeats no line.
struct LogPositions {
  uint64_t metrics_bytes = 0;
  std::string event_file;
  uint64_t event_bytes = 0;
};

/// Which random numbers a run draws: another number for a version of Crisp that draws others than the one before.
/// 2: dropout of attention's weights draws for the kept keys alone where at most half are kept
/// (AttentionRule::dropout).
constexpr int64_t drawn_numbers = 2;

/// trainer_state.json.
struct CheckpointState {
  TrainState train;
  LogPositions logs;
  std::string kernels;   // kernels_in_use() by the process that wrote it; "" in those of an older version
  std::string settings;  // run_fingerprint() of the run, an object as JSON text
  int64_t random_numbers = drawn_numbers;  // of the version that wrote it; 1 in those of an older one
};
std::string format_checkpoint_state(const CheckpointState& state);
/// The same backwards. Throws BadInput, naming `where`, for what format_checkpoint_state does not write.
CheckpointState parse_checkpoint_state(const std::string& text, const std::string& where);

/// What differs where a run of this model goes on from such a state; "" for nothing.
std::string random_numbers_note(const CheckpointState& state, const DistilBertConfig& config);

/// SHA-256 of what is trained on: tokens and labels, and parses where they are used, wherever the file lies.
std::string data_digest(const TokenizedDataset& data);

/// What decides the bits of a run and the meaning of its numbers, as JSON text: a resumed run must have the same.
/// `weights_sha256`: of the file that the model was loaded from, empty for random weights. It and the data sets count
/// by their content, wherever they lie.
std::string run_fingerprint(const TrainOptions& options, const TokenizedDataset& train, const TokenizedDataset& dev,
                            const DistilBertConfig& config, const std::string& weights_sha256);

/// Throws UsageError, naming each difference, when `fingerprint` differs from the "settings" that a file of the run in
/// `where` holds (an object as JSON text, which may hold more).
void check_same_run(const std::string& saved_settings, const std::string& fingerprint, const std::string& where);

/// Writes the files above into `directory`, to be flushed by the caller.
void write_checkpoint(const std::string& directory, Trainer& trainer, const TokenizerFiles& tokenizer, int max_length,
                      const LogPositions& logs, const std::string& fingerprint);

/// Restores model, moments, pending gradients and position. Throws UsageError when the options differ from those of the
/// checkpoint, naming each with both values; BadInput when the files do not fit.
CheckpointState read_checkpoint(const std::string& directory, Trainer& trainer, const std::string& fingerprint);

}  // namespace crisp
