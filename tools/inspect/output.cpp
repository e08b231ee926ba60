#include "tools/inspect/output.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "data/input/text.h"
#include "engine/fail.h"
#include "tools/json_text.h"
#include "train/durable/console.h"
#include "weights/atomic_file.h"

namespace crisp::inspect {
namespace {

// A slip of the hand must not cost a file of another kind, the model's own for instance.
void refuse_other_kind(const std::string& path, const std::string& content) {
  std::ifstream file(path, std::ios::binary);
  std::string before(5, '\0');
  file.read(before.data(), static_cast<std::streamsize>(before.size()));
  before.resize(static_cast<size_t>(file.gcount()));
  if (!content.starts_with(before))
    fail<UsageError>("{} is there already and of another kind; give another name, or delete it", printable(path));
}

}  // namespace

void print_json(const nlohmann::ordered_json& json) { fmt::print("{}\n", json_text(json, 2)); }

void say_written(const std::string& path) { say("written: {}", printable(path)); }

void write_output(const std::string& path, const std::string& content) {
  if (std::filesystem::is_regular_file(path)) refuse_other_kind(path, content);
  write_file_atomically(path, content);
  say_written(path);
}

}  // namespace crisp::inspect
