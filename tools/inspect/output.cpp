#include "tools/inspect/output.h"

#include <fmt/format.h>

#include "data/input/text.h"
#include "train/console.h"
#include "weights/atomic_file.h"

namespace crisp::inspect {

void print_json(const nlohmann::ordered_json& json) {
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void say_written(const std::string& path) { say("written: {}", printable(path)); }

void write_output(const std::string& path, const std::string& content) {
  write_file_atomically(path, content);
  say_written(path);
}

}  // namespace crisp::inspect
