#include "train/durable/metrics.h"

#include <nlohmann/json.hpp>

#include "data/input/file.h"
#include "data/input/json.h"

namespace crisp {
namespace {

// Text that is no UTF-8 (a file name, say) must not stop a training run: the offending bytes are replaced.
constexpr auto kReplaceInvalidUtf8 = nlohmann::ordered_json::error_handler_t::replace;

}  // namespace

MetricsLog::MetricsLog(const std::string& path, uint64_t keep_bytes) : AppendFile(path, Open::any) {
  const uint64_t keep = whole_lines(keep_bytes);
  lost_bytes_ = keep_bytes - keep;
  truncate(keep);
}

void MetricsLog::write(const nlohmann::ordered_json& object) {
  append(object.dump(-1, ' ', false, kReplaceInvalidUtf8) + '\n');
}

nlohmann::ordered_json read_json_object(const std::string& path) {
  return try_json_object(read_input_or_empty(path, input_limit::state)).value_or(nlohmann::ordered_json::object());
}

void write_json_file(const std::string& path, const nlohmann::ordered_json& document, Flush flush) {
  write_file_atomically(path, document.dump(2, ' ', false, kReplaceInvalidUtf8) + '\n', flush);
}

}  // namespace crisp
