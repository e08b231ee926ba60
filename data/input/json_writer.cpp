#include "data/input/json_writer.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace crisp {

void JsonWriter::begin_line() {
  if (layout_ == JsonLayout::indented) text_.append("\n").append(2 * depth_, ' ');
}

void JsonWriter::next() {
  if (!empty_) text_ += ',';
  begin_line();
  empty_ = false;
}

void JsonWriter::open(char bracket) {
  text_ += bracket;
  ++depth_;
  empty_ = true;
}

void JsonWriter::close(char bracket) {
  --depth_;
  if (!empty_) begin_line();
  text_ += bracket;
  empty_ = false;
}

void JsonWriter::begin_field(std::string_view key) {
  next();
  write_leaf(key);
  text_ += layout_ == JsonLayout::indented ? ": " : ":";
}

void JsonWriter::begin(std::string_view key) {
  begin_field(key);
  open('{');
}

void JsonWriter::end() { close('}'); }

std::string JsonWriter::finish() {
  close('}');
  return std::move(text_);
}

void JsonWriter::write_leaf(std::nullptr_t) { text_ += "null"; }
void JsonWriter::write_leaf(bool value) { text_ += value ? "true" : "false"; }
void JsonWriter::write_leaf(int64_t value) { text_ += nlohmann::json(value).dump(); }
void JsonWriter::write_leaf(uint64_t value) { text_ += nlohmann::json(value).dump(); }
void JsonWriter::write_leaf(double value) { text_ += nlohmann::json(value).dump(); }
void JsonWriter::write_leaf(std::string_view value) { text_ += nlohmann::json(value).dump(); }

}  // namespace crisp
