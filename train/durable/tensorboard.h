// A writer of TensorBoard event files with scalars: TFRecord framing (length, masked CRC-32C, payload, masked CRC-32C)
// around protocol-buffer Event messages, as TensorFlow's record_writer and event.proto define them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "train/durable/append_file.h"

namespace crisp {

class TensorBoardWriter {
 public:
  /// Starts a file "events.out.tfevents.SECONDS.HOST.crisp" in `directory`. Or continues `filename` (without directory,
  /// as filename() gave it) after its first `keep_bytes` bytes, unless that is missing or shorter, so that a resumed
  /// run leaves one curve and no point twice. Throws Error.
  explicit TensorBoardWriter(const std::string& directory, const std::string& filename = "", uint64_t keep_bytes = 0);

  /// Appends a point, written at once. `tag` groups by its part before the slash. Throws Error.
  void scalar(std::string_view tag, double value, int64_t step);
  void sync() { file_->sync(); }

  /// What a checkpoint remembers.
  const std::string& filename() const { return filename_; }
  uint64_t bytes() const { return file_->bytes(); }

 private:
  void record(const std::string& event);

  std::string filename_;
  std::optional<AppendFile> file_;
};

/// The tag that transformers gives a metric: "eval_accuracy" -> "eval/accuracy", "loss" -> "train/loss".
std::string tensorboard_tag(std::string_view metric);

/// CRC-32C (Castagnoli), and TFRecord's masked form of it.
uint32_t crc32c(std::string_view bytes);
uint32_t masked_crc32c(std::string_view bytes);

/// True for a name that TensorBoardWriter makes.
bool is_event_file_name(std::string_view filename);

}  // namespace crisp
