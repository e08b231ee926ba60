#include "train/metrics.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "weights/atomic_file.h"

namespace crisp {
namespace {

// Text that is no UTF-8 (a file name, say) must not stop a training run: the offending bytes are replaced.
constexpr auto kReplaceInvalidUtf8 = nlohmann::ordered_json::error_handler_t::replace;

}  // namespace

MetricsLog::MetricsLog(const std::string& path, uint64_t keep_bytes) : file_(path, AppendFile::Open::any) {
  const uint64_t keep = file_.whole_lines(keep_bytes);
  lost_bytes_ = keep_bytes - keep;
  file_.truncate(keep);
}

void MetricsLog::write(const nlohmann::ordered_json& object) {
  file_.append(object.dump(-1, ' ', false, kReplaceInvalidUtf8) + '\n');
}

void MetricsLog::sync() { file_.sync(); }

nlohmann::ordered_json read_json_object(const std::string& path) {
  std::ifstream file(path);
  nlohmann::ordered_json object = nlohmann::ordered_json::parse(file, nullptr, false);
  return object.is_object() ? object : nlohmann::ordered_json::object();
}

void write_json_file(const std::string& path, const nlohmann::ordered_json& document) {
  write_file_atomically(path, document.dump(2, ' ', false, kReplaceInvalidUtf8) + '\n');
}

}  // namespace crisp
