#include "train/run_marker.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/input/file.h"
#include "data/input/json.h"
#include "data/input/text.h"
#include "engine/fail.h"

namespace crisp {
namespace {

using nlohmann::json;

constexpr const char* marker_format = "crisp-run";

// One message for every damage.
template <class Read>
std::vector<std::string> undamaged(const std::string& where, Read read) try {
  return read();
} catch (const BadInput&) {
  fail<BadInput>("{}: damaged, so what the run here wrote is unknown; choose another --output", where);
}

}  // namespace

std::string format_run_marker(const std::vector<std::string>& names) {
  const nlohmann::ordered_json document = {{"format", marker_format}, {"files", names}};
  return document.dump(2) + '\n';
}

std::vector<std::string> parse_run_marker(const std::string& text, const std::string& where) {
  return undamaged(where, [&] {
    const json document = parse_json(text, where);
    const JsonFields fields(document, where);
    if (fields.text("format") != marker_format) fields.refuse_missing("format");
    const json* files = fields.list("files");
    if (!files) fields.refuse_missing("files");
    for (const json& name : *files)
      if (!name.is_string() || !is_bare_file_name(name.get_ref<const std::string&>()))
        fields.refuse("files", *files, "names of files");
    return files->get<std::vector<std::string>>();
  });
}

std::vector<std::string> read_run_marker(const std::string& path) {
  return undamaged(path, [&] { return parse_run_marker(read_input(path, input_limit::settings), path); });
}

}  // namespace crisp
