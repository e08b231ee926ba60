#include "data/records.h"

#include <algorithm>
#include <cctype>

#include "data/input/parse_text.h"
#include "data/input/text.h"
#include "data/text_file.h"
#include "engine/fail.h"

namespace crisp {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

bool is_number(std::string_view field) { return parse_number<double>(field).has_value(); }

bool is_identifier(std::string_view field) {
  return !field.empty() && std::isalpha(static_cast<unsigned char>(field[0])) != 0 &&
         std::all_of(field.begin(), field.end(),
                     [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.'; });
}

// That of the first record: quoted fields may hold others.
char record_end_of(std::string_view content) {
  bool quoted = false;
  for (size_t i = 0; i < content.size(); ++i) {
    if (content[i] == '"') quoted = !quoted;
    if (quoted || (content[i] != '\n' && content[i] != '\r')) continue;
    return content[i] == '\r' && !content.substr(i).starts_with("\r\n") ? '\r' : '\n';
  }
  return '\n';
}

// Whether each line has as many tabs.
bool lines_have_equal_columns(std::string_view content) {
  LineReader lines(content, "");
  for (std::ptrdiff_t columns = -1; lines.next() && !lines.at_blank_end();) {
    const auto tabs = std::count(lines.line().begin(), lines.line().end(), '\t');
    if (columns >= 0 && tabs != columns) return false;
    columns = tabs;
  }
  return true;
}

// What a file shows when it is read with quotes.
struct Evidence {
  size_t unreadable = 0;                      // the line of the first record that cannot be read so; 0 = all can
  size_t needed = 0;                          // that of the first field which had to be quoted
  size_t spanning_from = 0, spanning_to = 0;  // and of the first that goes on to another line
  bool all_sentences_quoted = true;
};

Evidence examine_quotes(std::string_view content, const std::string& name) {
  Evidence found;
  RecordReader records(content, name, '\t', Quotes::quoting);
  try {
    if (!records.next()) return found;
    const size_t columns = records.fields().size();
    const std::optional<Columns> header = parse_header(records.fields(), records.where());
    const auto text = static_cast<size_t>(header ? header->text : 0);
    if (header && !records.next()) return found;
    do {
      if (records.fields().size() != columns || records.bare_quotes()) {
        found.unreadable = records.line();
        return found;
      }
      found.all_sentences_quoted &= records.quoting()[text].quoted;
      for (const RecordReader::Quoting& q : records.quoting()) {
        if (q.needed && found.needed == 0) found.needed = records.line();
        if (q.spans_lines && found.spanning_from == 0)
          found.spanning_from = records.line(), found.spanning_to = records.last_line();
      }
    } while (records.next());
  } catch (const BadInput&) {
    found.unreadable = records.line();
  }
  return found;
}

}  // namespace

RecordReader::RecordReader(std::string_view content, std::string name, char delimiter, Quotes quotes)
    : content_(content),
      name_(std::move(name)),
      delimiter_(delimiter),
      line_end_(quotes == Quotes::quoting ? record_end_of(content) : line_end_of(content)),
      quotes_(quotes) {}

bool RecordReader::next() {
  if (content_.find_first_not_of("\r\n", at_) == std::string_view::npos) return false;
  line_ = next_line_;
  fields_.clear();
  quoting_.clear();
  for (;;) {
    if (quotes_ == Quotes::quoting && at_ < content_.size() && content_[at_] == '"') {
      read_quoted_field();
    } else {
      read_bare_field();
    }
    if (at_ >= content_.size() || content_[at_] != delimiter_) break;
    ++at_;
  }
  last_line_ = next_line_;
  if (at_ < content_.size()) {  // at a line end
    at_ = std::min(at_ + (content_[at_] == line_end_ ? 1 : 2), content_.size());
    ++next_line_;
  }
  return true;
}

// The position of the next delimiter or line end is the field's end.
void RecordReader::read_bare_field() {
  const size_t begin = at_;
  while (at_ < content_.size() && content_[at_] != delimiter_ && !at_line_end()) ++at_;
  const std::string_view field = content_.substr(begin, at_ - begin);
  if (quotes_ == Quotes::quoting) {
    bare_quotes_ |= field.find('"') != std::string_view::npos;
    if (field.find('\r') != std::string_view::npos)
      fail<BadInput>("{}: a carriage return stands outside quotes; end lines with a line feed", where());
  }
  fields_.emplace_back(field);
  quoting_.push_back({});
}

void RecordReader::read_quoted_field() {
  const size_t opened = next_line_;
  std::string field;
  Quoting how{.quoted = true};
  for (++at_;; ++at_) {
    const size_t closing = content_.find('"', at_);
    if (closing == std::string_view::npos)
      fail<BadInput>("{}:{}: the quote that opens field {} is never closed; a quote inside a field must be doubled",
                     name_, opened, fields_.size() + 1);
    const std::string_view part = content_.substr(at_, closing - at_);
    const auto lines = static_cast<size_t>(std::count(part.begin(), part.end(), line_end_));
    next_line_ += lines;
    how.spans_lines |= lines > 0;
    how.needed |= lines > 0 || part.find(delimiter_) != std::string_view::npos;
    field += part;
    at_ = closing + 1;
    if (at_ >= content_.size() || content_[at_] != '"') break;
    field += '"';
    how.needed = true;
  }
  if (at_ < content_.size() && content_[at_] != delimiter_ && !at_line_end())
    fail<BadInput>("{}:{}: {} follows the closing quote of field {}{}; a quote inside a field must be doubled", name_,
                   next_line_, quote(content_.substr(at_, 1)), fields_.size() + 1,
                   opened == next_line_ ? "" : fmt::format(", which opens on line {},", opened));
  fields_.push_back(std::move(field));
  quoting_.push_back(how);
}

// A carriage return belongs to the line feed behind it, or stands at the end of the file.
bool RecordReader::at_line_end() const {
  if (content_[at_] == line_end_) return true;
  return content_[at_] == '\r' && (at_ + 1 == content_.size() || content_[at_ + 1] == '\n');
}

std::string RecordReader::where() const { return fmt::format("{}:{}", name_, line_); }

std::optional<Columns> parse_header(const std::vector<std::string>& names, const std::string& where) {
  const auto is_text = [](const std::string& name) { return lower(name) == "sentence" || lower(name) == "text"; };
  if (std::none_of(names.begin(), names.end(), is_text) || std::any_of(names.begin(), names.end(), is_number))
    return std::nullopt;
  Columns columns;
  for (const std::string& as_written : names) {
    const int at = static_cast<int>(columns.count++);
    const std::string name = lower(as_written);
    int* column = is_text(name) ? &columns.text : name == "label" ? &columns.label : nullptr;
    if (column != nullptr) {
      if (*column >= 0) {
        fail<BadInput>("{}: two columns hold the {}: {} and {}; leave one out", where,
                       column == &columns.text ? "sentence" : "label", quote(names[static_cast<size_t>(*column)]),
                       quote(as_written));
      }
      *column = at;
      continue;
    }
    const bool index =
        name == "index" || name == "idx" || name == "id" || name.starts_with("unnamed: ") || (name.empty() && at == 0);
    if (!index)
      fail<BadInput>("{}: unknown column {}; known are sentence or text, label, and index, idx or id. Leave others out",
                     where, quote(as_written));
  }
  return columns;
}

QuotesFound find_quotes(std::string_view content, const std::string& name) {
  if (content.find('"') == std::string_view::npos) return {};
  const Evidence evidence = examine_quotes(content, name);
  if (evidence.unreadable > 0) {
    if (evidence.needed == 0) return {};
    return {.note = fmt::format("{}: double quotes are taken as a part of the text, though line {} looks like quoting: "
                                "line {} does not",
                                name, evidence.needed, evidence.unreadable)};
  }
  if (!lines_have_equal_columns(content)) return {.quotes = Quotes::quoting};
  if (evidence.spanning_from > 0)
    fail<BadInput>(
        "{}:{}: is the quote the beginning of a sentence that goes on to line {}, or a part of the text? Write the "
        "file as JSON lines",
        name, evidence.spanning_from, evidence.spanning_to);
  if (evidence.needed > 0) return {.quotes = Quotes::quoting};
  if (!evidence.all_sentences_quoted) return {};
  return {.quotes = Quotes::quoting,
          .note = fmt::format("{}: every sentence stands in double quotes: they are not taken as part of it", name)};
}

bool looks_like_table(std::string_view content, char delimiter) {
  bool names_at_top = true, all_quoted = true, any_quoted = false, numbers_first = true, numbers_last = true;
  size_t columns = 0, count = 0;
  try {
    for (RecordReader records(content, "", delimiter, Quotes::quoting); records.next(); ++count) {
      const std::vector<std::string>& fields = records.fields();
      if (count == 0) {
        columns = fields.size();
        names_at_top = std::all_of(fields.begin(), fields.end(), is_identifier);
      }
      if (fields.size() != columns || columns < 2) return false;
      for (const RecordReader::Quoting& q : records.quoting()) all_quoted &= q.quoted, any_quoted |= q.quoted;
      numbers_first &= is_number(fields.front());
      numbers_last &= is_number(fields.back());
    }
  } catch (const BadInput&) {
    return false;
  }
  return (names_at_top && count > 1) || all_quoted || (any_quoted && (numbers_first || numbers_last)) ||
         (delimiter == '\t' && (columns > 2 || any_quoted));
}

}  // namespace crisp
