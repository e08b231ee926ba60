// A program with a model inside: behind the program's own bytes the model's files, an index, and a footer.
//
//   program | files, each from a multiple of 64 on | index | footer
//
// The index is a JSON object, {"name": [offset, size], ...}, offsets from the beginning of the file. The footer has 32
// bytes: the index's offset and size as little-endian u64, and the 16 characters "crisp-packed 1.0". What makes
// programs smaller (strip) removes all of it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/input/file.h"

namespace crisp {

class PackedModel final : public InputFiles {
 public:
  /// The model in a program; nothing where there is none. Throws BadInput for one that is damaged.
  static std::optional<PackedModel> in(const std::string& program);
  /// Whether there was one in this program, which may have been cut off since.
  static bool was_packed();

  std::optional<uint64_t> size(const std::string& name) const override;
  bool read_at(const std::string& name, uint64_t offset, std::span<std::byte> out) const override;

  /// Writes `output`, an executable: the program that `program` is, without a model of its own, and these files (name
  /// in it, path). Atomic. Throws BadInput for files that cannot be read, Error where it cannot be written, Interrupted
  /// for a signal (train/durable/interrupt.h).
  static void write(const std::string& output, const std::string& program,
                    const std::vector<std::pair<std::string, std::string>>& files);

 private:
  struct Place {
    uint64_t offset, size;
  };
  explicit PackedModel(InputFile program) : program_(std::move(program)) {}
  InputFile program_;
  std::map<std::string, Place> places_;
};

}  // namespace crisp
