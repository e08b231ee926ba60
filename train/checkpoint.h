// What a checkpoint directory of a training run holds, and how a trainer goes on from it:
//   model.safetensors, config.json, vocab.txt, ...  the model, loadable by crisp-predict and transformers
//   optimizer.safetensors                           moments "m.NAME", "v.NAME"; pending gradients "grad.NAME"
//   trainer_state.json                              position, counters, lengths of the logs, the options that matter
#pragma once

#include <cstdint>
#include <string>

#include "train/options.h"
#include "train/trainer.h"

namespace crisp {

/// Lengths of the append-only logs when the checkpoint was written, so that a resumed run repeats no line.
struct LogPositions {
  uint64_t metrics_bytes = 0;
  std::string event_file;
  uint64_t event_bytes = 0;
};

/// The choices that decide the bits of a run, as JSON text: a resumed run must have the same.
std::string run_fingerprint(const TrainOptions& options, const TokenizedDataset& data, const DistilBertConfig& config);

/// Writes the files above into `directory`.
void write_checkpoint(const std::string& directory, Trainer& trainer, const std::string& vocab_path, int max_length,
                      const LogPositions& logs, const std::string& fingerprint);

/// Restores model, moments, pending gradients and position. Throws UsageError when the options differ from those of the
/// checkpoint, naming each with both values; BadInput when the files do not fit.
LogPositions read_checkpoint(const std::string& directory, Trainer& trainer, const std::string& fingerprint);

}  // namespace crisp
