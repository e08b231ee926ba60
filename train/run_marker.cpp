#include "train/run_marker.h"

#include <nlohmann/json.hpp>

#include "data/input/json.h"
#include "data/input/text.h"
#include "engine/fail.h"

namespace crisp {
namespace {

using nlohmann::json;

constexpr const char* marker_format = "crisp-run";

}  // namespace

std::string format_run_marker(const std::vector<std::string>& names) {
  const nlohmann::ordered_json document = {{"format", marker_format}, {"files", names}};
  return document.dump(2) + '\n';
}

std::vector<std::string> parse_run_marker(const std::string& text, const std::string& where) try {
  const json document = parse_json(text, where);
  const JsonFields fields(document, where);
  if (fields.text("format") != marker_format) fields.refuse_missing("format");
  const json* files = fields.list("files");
  if (!files) fields.refuse_missing("files");
  for (const json& name : *files)
    if (!name.is_string() || !is_bare_file_name(name.get_ref<const std::string&>()))
      fields.refuse("files", *files, "names of files");
  return files->get<std::vector<std::string>>();
} catch (const BadInput&) {  // one message for every damage
  fail<BadInput>("{}: damaged, so what the run here wrote is unknown; choose another --output", where);
}

}  // namespace crisp
