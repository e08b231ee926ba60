#include "train/durable/tensorboard.h"

#include <fmt/format.h>

#include <sys/stat.h>

#include <bit>
#include <boost/crc.hpp>
#include <chrono>

#include "engine/error.h"
#include "train/durable/process_info.h"

namespace crisp {
namespace {

constexpr std::string_view event_prefix = "events.out.tfevents.";
constexpr std::string_view event_suffix = ".crisp";

std::string little_endian(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
  return out;
}

// Protocol buffers: a field is its number and wire type in one varint, then the value.
enum WireType : uint32_t { varint_type = 0, fixed64 = 1, length_delimited = 2, fixed32 = 5 };

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7F) | 0x80));
  out.push_back(static_cast<char>(value));
  return out;
}
std::string key(uint32_t field, WireType type) { return varint(field << 3 | type); }
std::string bytes_field(uint32_t field, std::string_view value) {
  return key(field, length_delimited) + varint(value.size()) + std::string(value);
}

// The start of every Event: wall_time = 1, step = 2.
std::string event_head(int64_t step) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  return key(1, fixed64) + little_endian(std::bit_cast<uint64_t>(now.count()), 8) + key(2, varint_type) +
         varint(static_cast<uint64_t>(step));
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

uint32_t masked_crc32c(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xA282EAD8u; }

bool is_event_file_name(std::string_view filename) {
  return filename.size() > event_prefix.size() + event_suffix.size() && filename.starts_with(event_prefix) &&
         filename.ends_with(event_suffix) && filename.find('/') == std::string_view::npos;
}

std::string tensorboard_tag(std::string_view metric) {
  for (const std::string_view group : {"eval", "test"}) {
    if (metric.starts_with(group) && metric.substr(group.size()).starts_with('_')) {
      return fmt::format("{}/{}", group, metric.substr(group.size() + 1));
    }
  }
  return fmt::format("train/{}", metric);
}

TensorBoardWriter::TensorBoardWriter(const std::string& directory, const std::string& filename, uint64_t keep_bytes) {
  const std::string path = directory + "/" + filename;
  struct stat status {};
  if (is_event_file_name(filename) && keep_bytes > 0 && ::lstat(path.c_str(), &status) == 0 &&
      S_ISREG(status.st_mode) && static_cast<uint64_t>(status.st_size) >= keep_bytes) {
    filename_ = filename;
    file_.emplace(path, AppendFile::Open::any);
    file_->truncate(keep_bytes);
    return;
  }
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  while (!file_ || !file_->is_open()) {  // a name taken by a run that started within the same second
    filename_ = fmt::format("{}{:010}.{}{}", event_prefix, seconds++, host_name(), event_suffix);
    file_.emplace(directory + "/" + filename_, AppendFile::Open::create_new);
  }
  record(event_head(0) + bytes_field(3, "brain.Event:2"));  // file_version
}

void TensorBoardWriter::record(const std::string& event) {
  const std::string length = little_endian(event.size(), 8);
  file_->append(length + little_endian(masked_crc32c(length), 4) + event + little_endian(masked_crc32c(event), 4));
}

// Event: summary = 5. Summary: repeated Value value = 1. Value: tag = 1, simple_value = 2.
void TensorBoardWriter::scalar(std::string_view tag, double value, int64_t step) {
  const auto bits = std::bit_cast<uint32_t>(static_cast<float>(value));
  const std::string entry = bytes_field(1, tag) + key(2, fixed32) + little_endian(bits, 4);
  record(event_head(step) + bytes_field(5, bytes_field(1, entry)));
}

}  // namespace crisp
