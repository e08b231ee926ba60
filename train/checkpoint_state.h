// trainer_state.json of a checkpoint: where the run was.
#pragma once

#include <cstdint>
#include <string>

#include "engine/backend.h"
#include "train/trainer.h"

namespace crisp {

/// Lengths of the append-only logs when the checkpoint was written, so that a resumed run repeats no line.
struct LogPositions {
  uint64_t metrics_bytes = 0;
  std::string event_file;
  uint64_t event_bytes = 0;
};

struct CheckpointState {
  TrainState train;
  LogPositions logs;
  std::string kernels;   // kernels_in_use() by the process that wrote it; "" in those of an older version
  std::string settings;  // run_fingerprint() of the run, an object as JSON text
};

/// The file's text.
std::string format_checkpoint_state(const CheckpointState& state);
/// The same backwards. Throws BadInput, naming `where`, for what format_checkpoint_state does not write.
CheckpointState parse_checkpoint_state(const std::string& text, const std::string& where);

}  // namespace crisp
