#include "tools/pack/packed_model.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "data/input/json.h"
#include "engine/fail.h"
#include "train/durable/interrupt.h"
#include "weights/atomic_file.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view magic = "crisp-packed 1.0";
constexpr uint64_t footer_size = 32, alignment = 64, most_index = uint64_t{1} << 16;

std::string little_endian(uint64_t n) {
  std::string bytes(8, '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>(n & 0xff);
    n >>= 8;
  }
  return bytes;
}

uint64_t from_little_endian(const char* bytes) {
  uint64_t n = 0;
  for (int i = 7; i >= 0; --i) n = n << 8 | static_cast<unsigned char>(bytes[i]);
  return n;
}

std::string read_part(const InputFile& file, uint64_t offset, uint64_t size) {
  std::string text(size, '\0');
  if (!file.read_at(offset, std::as_writable_bytes(std::span(text))))
    fail<BadInput>("{}: has become shorter", file.path());
  return text;
}

struct Index {
  uint64_t offset, size;
};

// Of a file that ends with a footer.
std::optional<Index> find_index(const InputFile& file) {
  if (file.size() < footer_size) return std::nullopt;
  const std::string footer = read_part(file, file.size() - footer_size, footer_size);
  if (!std::string_view(footer).ends_with(magic)) return std::nullopt;
  const Index index{from_little_endian(footer.data()), from_little_endian(footer.data() + 8)};
  const uint64_t end = file.size() - footer_size;
  if (index.size > most_index || index.offset > end || index.size != end - index.offset)
    fail<BadInput>("{}: the model in it is damaged; pack it again", file.path());
  return index;
}

// In the program's own bytes: whether a model was packed behind them, however little of it is left.
volatile char packed_mark[] = "crisp-packed mark: 0";
constexpr size_t mark_digit = sizeof(packed_mark) - 2;

// The same in a copy of them.
void mark(std::string& program) {
  // Not written here as a whole, so that the program holds it once.
  const std::string text = std::string("crisp-packed ") + "mark: ";
  const size_t at = program.find(text);
  if (at == std::string::npos) fail("this program is not one that can be copied");
  program[at + mark_digit] = '1';
}

class Writer {
 public:
  explicit Writer(const std::string& path) : file_(path) { file_.make_executable(); }

  // `size` bytes of `from`.
  void copy(const InputFile& from, uint64_t size) {
    std::vector<std::byte> part(size_t{1} << 20);
    for (uint64_t at = 0; at < size; at += part.size()) {
      const auto some = std::span(part).first(std::min<uint64_t>(part.size(), size - at));
      leave_if_interrupted();
      if (!from.read_at(at, some)) fail<BadInput>("{}: has become shorter", from.path());
      file_.write(some);
    }
    written_ += size;
  }
  void write(std::string_view text) {
    file_.write(text);
    written_ += text.size();
  }
  void align() { write(std::string((alignment - written_ % alignment) % alignment, '\0')); }
  uint64_t written() const { return written_; }
  void commit() { file_.commit(); }

 private:
  AtomicFile file_;
  uint64_t written_ = 0;
};

}  // namespace

bool PackedModel::was_packed() { return packed_mark[mark_digit] == '1'; }

std::optional<PackedModel> PackedModel::in(const std::string& program) {
  PackedModel model{InputFile(program)};
  const std::optional<Index> index = find_index(model.program_);
  if (!index) return std::nullopt;
  const auto damaged = [&] { fail<BadInput>("{}: the model in it is damaged; pack it again", program); };
  const nlohmann::json places = parse_json(read_part(model.program_, index->offset, index->size), program);
  if (!places.is_object()) damaged();
  for (const auto& [name, place] : places.items()) {
    if (!place.is_array() || place.size() != 2 || !place[0].is_number_unsigned() || !place[1].is_number_unsigned())
      damaged();
    const Place at{place[0].get<uint64_t>(), place[1].get<uint64_t>()};
    if (at.offset > index->offset || at.size > index->offset - at.offset) damaged();
    model.places_.emplace(name, at);
  }
  return model;
}

std::optional<uint64_t> PackedModel::size(const std::string& name) const {
  const auto found = places_.find(name);
  if (found == places_.end()) return std::nullopt;
  return found->second.size;
}

bool PackedModel::read_at(const std::string& name, uint64_t offset, std::span<std::byte> out) const {
  const Place& place = places_.at(name);
  if (offset > place.size || out.size() > place.size - offset) return false;
  return program_.read_at(place.offset + offset, out);
}

void PackedModel::write(const std::string& output, const std::string& program,
                        const std::vector<std::pair<std::string, std::string>>& files) {
  Writer writer(output);
  const InputFile of_program(program);
  uint64_t bare = of_program.size();
  if (const std::optional<PackedModel> inside = in(program))
    for (const auto& [name, place] : inside->places_) bare = std::min(bare, place.offset);
  std::string program_bytes = read_part(of_program, 0, bare);
  mark(program_bytes);
  writer.write(program_bytes);
  ordered_json index = ordered_json::object();
  for (const auto& [name, path] : files) {
    writer.align();
    const InputFile file(path);
    index[name] = {writer.written(), file.size()};
    writer.copy(file, file.size());
  }
  const uint64_t at = writer.written();
  const std::string text = index.dump();
  writer.write(text);
  writer.write(little_endian(at) + little_endian(text.size()) + std::string(magic));
  writer.commit();
}

}  // namespace crisp
