#include "weights/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_set>

#include "data/input/json_writer.h"
#include "data/input/text.h"
#include "engine/fail.h"

namespace crisp {
namespace {

using Json = nlohmann::json;

template <class... Args>
[[noreturn]] void refuse(const std::string& path, fmt::format_string<Args...> text, Args&&... args) {
  fail<BadInput>("{}: not a valid safetensors file: {}", path, fmt::format(text, std::forward<Args>(args)...));
}

bool parse_dtype(std::string_view name, SafeDType& out) {
  for (int i = 0; i <= static_cast<int>(SafeDType::U64); ++i) {
    out = static_cast<SafeDType>(i);
    if (name_of(out) == name) return true;
  }
  return false;
}

// Receives nlohmann's SAX events. Going through SAX and not through a parsed value keeps what that library would
// silently mend: duplicate keys, negative and fractional numbers. Its parser does not recurse, so depth costs no stack.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(const std::string& path, SafetensorsHeader& out) : path_(path), out_(out) {}

  // The reference library writes and reads a metadata of null where there is none.
  bool null() override { return (state_ == State::root && key_ == metadata_key) || scalar("null"); }
  bool boolean(bool) override { return scalar("a boolean"); }
  bool binary(Json::binary_t&) override { return scalar("binary"); }

  bool number_integer(Json::number_integer_t n) override {
    if (in_list()) refuse_number(n == 0 ? "-0" : std::to_string(n));
    return scalar("a number");
  }
  bool number_float(Json::number_float_t, const std::string& text) override {
    if (in_list()) refuse_number(text);
    return scalar("a number");
  }
  bool number_unsigned(Json::number_unsigned_t n) override {
    if (state_ == State::shape) {
      entry_.shape.push_back(n);
      return true;
    }
    if (state_ == State::offsets) {
      if (n_offsets_ == 2) refuse(path_, "tensor {}: 'data_offsets' must be two numbers", where());
      (n_offsets_++ == 0 ? entry_.begin : entry_.end) = n;
      return true;
    }
    return scalar("a number");
  }

  bool string(Json::string_t& text) override {
    if (state_ == State::metadata) {
      out_.metadata.emplace(key_, std::move(text));
      return true;
    }
    if (state_ == State::entry && key_ == "dtype") {
      if (!parse_dtype(text, entry_.dtype)) refuse(path_, "tensor {}: unknown dtype {}", where(), quote(text));
      return true;
    }
    return scalar("a string");
  }

  bool start_object(size_t) override {
    if (state_ == State::start) {
      state_ = State::root;
    } else if (state_ == State::root) {
      state_ = key_ == metadata_key ? State::metadata : State::entry;
      entry_ = {};
      entry_.name = key_;
      n_offsets_ = 0;
      entry_keys_.clear();
    } else {
      open_unknown("an object");
    }
    return true;
  }
  bool end_object() override {
    if (close_unknown()) return true;
    if (state_ == State::entry) {
      for (const char* key : {"dtype", "shape", "data_offsets"}) {
        if (!entry_keys_.contains(key)) refuse(path_, "tensor {} has no '{}'", where(), key);
      }
      out_.tensors.push_back(std::move(entry_));
    }
    state_ = State::root;
    return true;
  }

  bool key(Json::string_t& text) override {
    if (state_ == State::unknown) return true;
    if (state_ == State::root && !names_.insert(text).second) refuse(path_, "two tensors are named {}", quote(text));
    if (state_ == State::metadata && out_.metadata.contains(text)) {
      refuse(path_, "'__metadata__' has the key {} twice", quote(text));
    }
    if (state_ == State::entry && !entry_keys_.insert(text).second) {
      refuse(path_, "tensor {} has the key {} twice", where(), quote(text));
    }
    key_ = std::move(text);
    return true;
  }

  bool start_array(size_t) override {
    if (state_ == State::entry && key_ == "shape") {
      state_ = State::shape;
    } else if (state_ == State::entry && key_ == "data_offsets") {
      state_ = State::offsets;
    } else {
      open_unknown("an array");
    }
    return true;
  }
  bool end_array() override {
    if (close_unknown()) return true;
    if (state_ == State::offsets && n_offsets_ != 2) {
      refuse(path_, "tensor {}: 'data_offsets' must be two numbers", where());
    }
    state_ = State::entry;
    return true;
  }

  bool parse_error(size_t position, const std::string& token, const nlohmann::detail::exception&) override {
    refuse(path_, "the header is not valid JSON at byte {}, near {}", position, quote(token));
  }

 private:
  enum class State { start, root, metadata, entry, shape, offsets, unknown };
  static constexpr const char* metadata_key = "__metadata__";
  static constexpr int max_depth = 128;

  bool in_list() const { return state_ == State::shape || state_ == State::offsets; }
  std::string where() const { return quote(entry_.name); }

  [[noreturn]] void refuse_number(const std::string& text) {
    refuse(path_, "tensor {}: {} holds {}, which is not a whole number from 0 to 2^64 - 1", where(), quote(key_),
           text.substr(0, 40));
  }

  // A value of kind `got` stands where the format wants another one.
  [[noreturn]] void refuse_type(const char* got) {
    switch (state_) {
      case State::start:
        refuse(path_, "the header must be a JSON object, not {}", got);
      case State::root:
        if (key_ == metadata_key) refuse(path_, "'__metadata__' must be an object, not {}", got);
        refuse(path_, "tensor {} must be an object, not {}", quote(key_), got);
      case State::metadata:
        refuse(path_, "'__metadata__' maps strings to strings only (no tensor can have that name): {} is {}",
               quote(key_), got);
      case State::shape:
      case State::offsets:
        refuse(path_, "tensor {}: {} holds {} instead of a number", where(), quote(key_), got);
      case State::entry:
      case State::unknown:
        break;
    }
    refuse(path_, "tensor {}: {} must be {}, not {}", where(), quote(key_), key_ == "dtype" ? "a string" : "an array",
           got);
  }

  bool key_is_known() const { return key_ == "dtype" || key_ == "shape" || key_ == "data_offsets"; }

  bool scalar(const char* got) {
    if (state_ == State::unknown || (state_ == State::entry && !key_is_known())) return true;
    refuse_type(got);
  }

  // The reference library ignores further keys of a tensor's entry, so their values are skipped, whatever they are.
  void open_unknown(const char* got) {
    if (state_ != State::unknown) {
      if (state_ != State::entry || key_is_known()) refuse_type(got);
      state_ = State::unknown;
    }
    if (++unknown_depth_ > max_depth) refuse(path_, "tensor {}: {} is nested too deeply", where(), quote(key_));
  }
  bool close_unknown() {
    if (state_ != State::unknown) return false;
    if (--unknown_depth_ == 0) state_ = State::entry;
    return true;
  }

  const std::string& path_;
  SafetensorsHeader& out_;
  State state_ = State::start;
  std::string key_;
  std::unordered_set<std::string> names_;
  std::set<std::string> entry_keys_;
  TensorEntry entry_;
  int n_offsets_ = 0;
  int unknown_depth_ = 0;
};

void check_size(const TensorEntry& t, const std::string& path) {
  constexpr uint64_t max = std::numeric_limits<uint64_t>::max();
  if (t.end < t.begin) {
    refuse(path, "tensor {} ends at byte {}, before its beginning at {}", quote(t.name), t.end, t.begin);
  }
  uint64_t bits = 1;
  const auto multiply = [&](uint64_t n) {
    if (n != 0 && bits > max / n) {
      refuse(path, "tensor {}: the size of {} {} overflows 64 bits", quote(t.name), name_of(t.dtype),
             shape_string(t.shape).substr(0, 200));
    }
    bits *= n;
  };
  for (const uint64_t n : t.shape) multiply(n);
  multiply(bits_of(t.dtype));
  if (bits % 8 != 0) {
    refuse(path, "tensor {}: {} elements of {} do not fill whole bytes", quote(t.name), t.numel(), name_of(t.dtype));
  }
  if (t.end - t.begin != bits / 8) {
    refuse(path, "tensor {}: {} {} takes {} bytes, but its data_offsets span {}", quote(t.name), name_of(t.dtype),
           shape_string(t.shape).substr(0, 200), bits / 8, t.end - t.begin);
  }
}

// Sorted by offset, the tensors must cover the data section exactly.
void check_layout(const std::vector<TensorEntry>& tensors, uint64_t data_bytes, const std::string& path) {
  uint64_t covered = 0;
  const TensorEntry* previous = nullptr;
  for (const TensorEntry& t : tensors) {
    if (t.begin > covered) {
      refuse(path, "a gap of {} bytes before tensor {}", t.begin - covered, quote(t.name));
    }
    if (t.begin < covered) {
      refuse(path, "tensor {} overlaps tensor {}", quote(t.name), quote(previous->name));
    }
    covered = t.end;
    previous = &t;
  }
  if (covered > data_bytes) {
    refuse(path, "it is cut short: the tensors take {} bytes of data and the file has {}", covered, data_bytes);
  }
  if (covered < data_bytes) refuse(path, "{} bytes too many after the last tensor", data_bytes - covered);
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes, const std::string& path) {
  if (text.empty()) refuse(path, "the header is empty");
  if (text.starts_with("\xef\xbb\xbf")) refuse(path, "the header begins with a byte order mark");
  if (const size_t at = text.find('\0'); at != std::string_view::npos) {
    refuse(path, "the header holds a NUL byte at {} (padding must be spaces)", at);
  }
  if (const size_t at = find_invalid_utf8(text); at != std::string_view::npos) {
    refuse(path, "the header is not valid UTF-8 at byte {}", at);
  }
  SafetensorsHeader header;
  HeaderReader reader(path, header);
  Json::sax_parse(text.begin(), text.end(), &reader);

  for (const TensorEntry& t : header.tensors) check_size(t, path);
  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;  // zero-size tensors before their neighbour
  });
  check_layout(header.tensors, data_bytes, path);
  return header;
}

std::string format_safetensors_header(const std::vector<TensorEntry>& tensors,
                                      const std::map<std::string, std::string>& metadata) {
  const auto check_utf8 = [](const std::string& s) {
    if (find_invalid_utf8(s) != std::string_view::npos) fail("{} cannot be written: it is not valid UTF-8", quote(s));
  };
  for (const TensorEntry& t : tensors) check_utf8(t.name);
  for (const auto& [key, value] : metadata) check_utf8(key), check_utf8(value);

  JsonWriter to(JsonLayout::compact);
  if (!metadata.empty()) {
    to.begin("__metadata__");
    for (const auto& [key, value] : metadata) to.field(key, value);
    to.end();
  }
  for (const TensorEntry& t : tensors) {
    to.begin(t.name);
    to.field("dtype", name_of(t.dtype));
    to.field("shape", t.shape);
    to.field("data_offsets", std::vector<uint64_t>{t.begin, t.end});
    to.end();
  }
  std::string text = to.finish();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace crisp
