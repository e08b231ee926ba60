#include "weights/safetensors.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "data/input/file.h"
#include "data/input/text.h"
#include "engine/fail.h"
#include "weights/locate.h"
#include "weights/safetensors_header.h"

namespace crisp {

static_assert(std::endian::native == std::endian::little, "the format is little-endian and copied as it is");

namespace {

struct DTypeFacts {
  std::string_view name;
  uint64_t bits;
};

// In the order of SafeDType.
constexpr std::array<DTypeFacts, 22> dtype_facts = {{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
}};
static_assert(dtype_facts.size() == static_cast<size_t>(SafeDType::U64) + 1);

template <class Stored, class T>
T convert(const std::byte* at) {
  Stored value;
  std::memcpy(&value, at, sizeof(Stored));
  if constexpr (std::is_arithmetic_v<Stored>) {
    return static_cast<T>(value);
  } else {
    return static_cast<T>(to_float(value));
  }
}

template <class Stored, class T>
void convert_all(std::span<const std::byte> from, T* to) {
  for (size_t i = 0; i < from.size() / sizeof(Stored); ++i)
    to[i] = convert<Stored, T>(from.data() + i * sizeof(Stored));
}

}  // namespace

std::string_view name_of(SafeDType t) { return dtype_facts[static_cast<size_t>(t)].name; }
uint64_t bits_of(SafeDType t) { return dtype_facts[static_cast<size_t>(t)].bits; }

SafeDType safe_dtype(DType t) {
  switch (t) {
    case DType::f64:
      return SafeDType::F64;
    case DType::f32:
      return SafeDType::F32;
    case DType::bf16:
      return SafeDType::BF16;
    case DType::f16:
      return SafeDType::F16;
    case DType::i32:
      return SafeDType::I32;
  }
  fail("unknown dtype");
}

bool is_readable_float(SafeDType t) {
  return t == SafeDType::F64 || t == SafeDType::F32 || t == SafeDType::BF16 || t == SafeDType::F16;
}

uint64_t TensorEntry::numel() const {
  uint64_t n = 1;
  for (const uint64_t d : shape) n *= d;
  return n;
}

std::string shape_string(std::span<const uint64_t> shape) {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); ++i) s += fmt::format("{}{}", i ? ", " : "", shape[i]);
  return s + "]";
}

SafetensorsFile SafetensorsFile::open(InputFile file) {
  const std::string path = file.path();
  const uint64_t size = file.size();
  const auto refuse = [&](const std::string& why) {
    std::array<std::byte, 512> first{};
    const auto start = std::span(first).first(std::min<uint64_t>(size, first.size()));
    if (!file.read_at(0, start)) start[0] = std::byte{0};
    const std::string foreign = explain_foreign_format(start);
    if (!foreign.empty()) fail<BadInput>("{}: {}", path, foreign);
    fail<BadInput>("{}: not a valid safetensors file: {}", path, why);
  };
  // Everything is compared with the true size before anything is allocated.
  if (size < 8) refuse(fmt::format("it has {} bytes, too short for the 8-byte header length", size));
  uint64_t n = 0;
  if (!file.read_at(0, std::as_writable_bytes(std::span(&n, 1)))) refuse("it became shorter while being read");
  if (n > safetensors_header_limit) {
    refuse(fmt::format("header length {} is over the limit of {}", n, safetensors_header_limit));
  }
  if (n > size - 8) refuse(fmt::format("the header of {} bytes reaches past the end of the file ({} bytes)", n, size));

  std::string text(n, '\0');
  if (!file.read_at(8, std::as_writable_bytes(std::span(text)))) refuse("it became shorter while being read");
  SafetensorsHeader header = parse_safetensors_header(text, size - 8 - n, path);

  SafetensorsFile result(std::move(file));
  result.data_begin_ = 8 + n;
  result.tensors_ = std::move(header.tensors);
  result.metadata_ = std::move(header.metadata);
  result.index_.reserve(result.tensors_.size());
  for (size_t i = 0; i < result.tensors_.size(); ++i) result.index_.emplace(result.tensors_[i].name, i);
  if (result.file_.descriptor() < 0) return result;
  const auto length = static_cast<size_t>(size);
  if (length != size) fail("{}: has {} bytes, for which this machine has no addresses", path, size);
  void* const map = ::mmap(nullptr, length, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, result.file_.descriptor(), 0);
  if (map == MAP_FAILED) fail("{}: cannot be mapped into memory: {}", path, std::strerror(errno));
  result.map_.reset(static_cast<std::byte*>(map), [length](std::byte* begin) { ::munmap(begin, length); });
  return result;
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

std::span<const std::byte> SafetensorsFile::bytes(const TensorEntry& entry) const {
  if (!map_) fail("{}: is not mapped into memory; read() copies", path());
  struct stat status {};
  if (::fstat(file_.descriptor(), &status) != 0 || static_cast<uint64_t>(status.st_size) < file_.size()) {
    fail<BadInput>("{}: the file has become shorter since it was opened", path());
  }
  return {map_.get() + data_begin_ + entry.begin, static_cast<size_t>(entry.end - entry.begin)};
}

std::shared_ptr<std::byte> SafetensorsFile::mapped(const TensorEntry& entry) const {
#if defined(__EMSCRIPTEN__)
  return {};
#else
  if (!map_ || bytes(entry).empty()) return {};
  // Only now: some systems count what a process might write to as memory that it takes.
  if (::mprotect(map_.get(), static_cast<size_t>(file_.size()), PROT_READ | PROT_WRITE) != 0) return {};
  return {map_, map_.get() + data_begin_ + entry.begin};
#endif
}

void SafetensorsFile::read_bytes(uint64_t offset, std::span<std::byte> out) const {
  if (!file_.read_at(data_begin_ + offset, out)) {
    fail<BadInput>("{}: the file has become shorter since it was opened", path());
  }
}

template <class T>
void SafetensorsFile::read_as(const TensorEntry& entry, uint64_t first, std::span<T> out) const {
  if (!is_readable_float(entry.dtype)) {
    fail<BadInput>("{}: tensor {} has dtype {}; only F64, F32, BF16 and F16 can be loaded", path(), quote(entry.name),
                   name_of(entry.dtype));
  }
  const uint64_t total = entry.numel();
  if (first > total || out.size() > total - first) {
    fail("{}: tensor {} has {} elements; {} from element {} were asked for", path(), quote(entry.name), total,
         out.size(), first);
  }
  const size_t width = bits_of(entry.dtype) / 8;
  uint64_t offset = entry.begin + first * width;
  if (entry.dtype == safe_dtype(dtype_of<T>)) {
    read_bytes(offset, std::as_writable_bytes(out));
    return;
  }
  constexpr size_t chunk = size_t{1} << 16;  // elements
  std::vector<std::byte> buffer(std::min(chunk, out.size()) * width);
  for (size_t done = 0; done < out.size(); done += chunk) {
    const size_t n = std::min(chunk, out.size() - done);
    const std::span<std::byte> raw(buffer.data(), n * width);
    read_bytes(offset, raw);
    offset += raw.size();
    switch (entry.dtype) {
      case SafeDType::F64:
        convert_all<double>(raw, out.data() + done);
        break;
      case SafeDType::F32:
        convert_all<float>(raw, out.data() + done);
        break;
      case SafeDType::BF16:
        convert_all<BFloat16>(raw, out.data() + done);
        break;
      default:
        convert_all<Float16>(raw, out.data() + done);
        break;
    }
  }
}

void SafetensorsFile::read_part(const TensorEntry& entry, uint64_t first, std::span<float> out) const {
  read_as(entry, first, out);
}

void SafetensorsFile::read_part(const TensorEntry& entry, uint64_t first, std::span<double> out) const {
  read_as(entry, first, out);
}

void SafetensorsFile::read_raw(const TensorEntry& entry, uint64_t first, std::span<std::byte> out) const {
  const uint64_t size = entry.end - entry.begin;
  if (first > size || out.size() > size - first) {
    fail("{}: tensor {} has {} bytes; {} from byte {} were asked for", path(), quote(entry.name), size, out.size(),
         first);
  }
  read_bytes(entry.begin + first, out);
}

void SafetensorsFile::read(const TensorEntry& entry, std::span<float> out) const {
  check_whole(entry, out.size());
  read_as(entry, 0, out);
}

void SafetensorsFile::read(const TensorEntry& entry, std::span<double> out) const {
  check_whole(entry, out.size());
  read_as(entry, 0, out);
}

void SafetensorsFile::check_whole(const TensorEntry& entry, size_t n) const {
  if (n != entry.numel()) {
    fail("{}: tensor {} has {} elements, the destination {}", path(), quote(entry.name), entry.numel(), n);
  }
}

}  // namespace crisp
