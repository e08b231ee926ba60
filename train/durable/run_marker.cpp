#include "train/durable/run_marker.h"

#include <nlohmann/json.hpp>

#include "data/input/json.h"
#include "data/input/text.h"
#include "engine/fail.h"

namespace crisp {
namespace {

using nlohmann::json;

constexpr const char* marker_format = "crisp-run";

}  // namespace

std::string format_run_marker(const RunMarker& marker) {
  using nlohmann::ordered_json;
  ordered_json document = {{"format", marker_format}, {"files", marker.files}};
  if (!marker.settings.empty()) document["settings"] = ordered_json::parse(marker.settings);
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + '\n';
}

RunMarker parse_run_marker(const std::string& text, const std::string& where) try {
  const json document = parse_json(text, where);
  const JsonFields fields(document, where);
  if (fields.text("format") != marker_format) fields.refuse_missing("format");
  const json* files = fields.list("files");
  if (!files) fields.refuse_missing("files");
  for (const json& name : *files)
    if (!name.is_string() || !is_bare_file_name(name.get_ref<const std::string&>()))
      fields.refuse("files", *files, "names of files");
  const json* settings = fields.object("settings");
  return {files->get<std::vector<std::string>>(), settings ? settings->dump() : ""};
} catch (const BadInput&) {  // one message for every damage
  fail<BadInput>("{}: damaged, so what the run here wrote is unknown; choose another --output", where);
}

}  // namespace crisp
