// metrics.jsonl, one JSON object a line, and all_results.json. Names are Hugging Face's (train/README.md lists them).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "train/durable/append_file.h"
#include "weights/atomic_file.h"

namespace crisp {

/// An append-only file of JSON lines. Every line is handed to the system in one write, so another program that follows
/// the file sees whole lines. Numbers read back as the same double; NaN and infinities become null, as JSON has
/// neither.
class MetricsLog : AppendFile {
 public:
  /// Opens or creates the file and cuts it back to its first `keep_bytes` bytes: 0 for a new run, else the bytes() that
  /// a checkpoint remembers, so that no line is there twice after a resume. Of a file that is shorter, the whole lines
  /// are kept. Throws Error.
  explicit MetricsLog(const std::string& path, uint64_t keep_bytes = 0);

  /// Appends one line; `object` should be an ordered_json object. Throws Error, after which the partial line is gone.
  void write(const nlohmann::ordered_json& object);
  /// fsync; call before a checkpoint that remembers bytes().
  using AppendFile::sync;
  /// Size of the file: what a checkpoint remembers.
  using AppendFile::bytes;
  /// Bytes that the checkpoint remembered and the file no longer had (someone cut or removed it); 0 is normal.
  uint64_t lost_bytes() const { return lost_bytes_; }

 private:
  uint64_t lost_bytes_ = 0;
};

/// The object in a JSON file; an empty one where the file is absent, damaged or holds no object.
nlohmann::ordered_json read_json_object(const std::string& path);

/// Writes an indented JSON document atomically, for instance all_results.json. Throws Error.
void write_json_file(const std::string& path, const nlohmann::ordered_json& document, Flush flush = Flush::now);

}  // namespace crisp
