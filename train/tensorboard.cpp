#include "train/tensorboard.h"

#include <fmt/format.h>

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>

#include "engine/error.h"

namespace crisp {
namespace {

constexpr std::string_view event_prefix = "events.out.tfevents.";
constexpr std::string_view event_suffix = ".crisp";

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F63B78u : 0u);
    table[i] = value;
  }
  return table;
}
constexpr std::array<uint32_t, 256> crc_of_byte = crc_table();

void put_little_endian(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
}

// Protocol buffers: a field is its number and wire type in one varint, then the value.
enum WireType : uint32_t { varint = 0, fixed64 = 1, length_delimited = 2, fixed32 = 5 };

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7F) | 0x80));
  out.push_back(static_cast<char>(value));
}
void put_key(std::string& out, uint32_t field, WireType type) { put_varint(out, field << 3 | type); }
void put_bytes(std::string& out, uint32_t field, std::string_view value) {
  put_key(out, field, length_delimited);
  put_varint(out, value.size());
  out.append(value);
}

// The start of every Event: wall_time = 1, step = 2.
std::string event_head(int64_t step) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  std::string out;
  put_key(out, 1, fixed64);
  put_little_endian(out, std::bit_cast<uint64_t>(std::chrono::duration<double>(now).count()), 8);
  put_key(out, 2, varint);
  put_varint(out, static_cast<uint64_t>(step));
  return out;
}

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "localhost";
  std::string host(name);
  for (char& c : host) {
    if (c == '/') c = '_';
  }
  return host;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const char c : bytes) crc = (crc >> 8) ^ crc_of_byte[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~crc;
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

TensorBoardWriter::TensorBoardWriter(const std::string& directory) { start_new(directory); }

TensorBoardWriter::TensorBoardWriter(const std::string& directory, const std::string& filename, uint64_t keep_bytes) {
  const std::string path = directory + "/" + filename;
  struct stat status {};
  if (is_event_file_name(filename) && keep_bytes > 0 && ::lstat(path.c_str(), &status) == 0 &&
      S_ISREG(status.st_mode) && static_cast<uint64_t>(status.st_size) >= keep_bytes) {
    filename_ = filename;
    file_ = AppendFile(path, AppendFile::Open::any);
    file_.truncate(keep_bytes);
  } else {
    start_new(directory);
  }
}

void TensorBoardWriter::start_new(const std::string& directory) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  while (!file_.is_open()) {  // a name taken by a run that started within the same second
    filename_ = fmt::format("{}{:010}.{}{}", event_prefix, seconds++, host_name(), event_suffix);
    file_ = AppendFile(directory + "/" + filename_, AppendFile::Open::create_new);
  }
  std::string event = event_head(0);
  put_bytes(event, 3, "brain.Event:2");  // file_version
  record(event);
}

void TensorBoardWriter::record(std::string_view event) {
  std::string length, out;
  put_little_endian(length, event.size(), 8);
  out += length;
  put_little_endian(out, masked_crc32c(length), 4);
  out += event;
  put_little_endian(out, masked_crc32c(event), 4);
  file_.append(out);
}

void TensorBoardWriter::scalar(std::string_view tag, double value, int64_t step) {
  std::string entry;  // Summary.Value: tag = 1, simple_value = 2
  put_bytes(entry, 1, tag);
  put_key(entry, 2, fixed32);
  put_little_endian(entry, std::bit_cast<uint32_t>(static_cast<float>(value)), 4);
  std::string summary;  // Summary: repeated Value value = 1
  put_bytes(summary, 1, entry);
  std::string event = event_head(step);
  put_bytes(event, 5, summary);
  record(event);
}

void TensorBoardWriter::sync() { file_.sync(); }

}  // namespace crisp
