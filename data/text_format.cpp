#include "data/text_format.h"

#include <algorithm>
#include <vector>

#include "data/records.h"
#include "data/text_file.h"
#include "engine/fail.h"

namespace crisp {
namespace {

constexpr std::string_view as_text = ", or take each line as a sentence (--format text)";

std::string_view after_blanks(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
}

// A list of objects; where a line may be prose, `[a, b]` may, too.
bool begins_json(std::string_view content, bool allow_plain_text) {
  content = after_blanks(content);
  if (!content.starts_with('[')) return content.starts_with('{');
  const std::string_view inside = after_blanks(content.substr(1));
  return !allow_plain_text || inside.starts_with('{');
}

// `prose`: the line may be a sentence, "Text, please"; then names with spaces, as there, make no header.
bool has_header(std::string_view content, const std::string& name, char delimiter, bool one_word, bool prose) {
  RecordReader records(content, name, delimiter, Quotes::quoting);
  try {
    if (!records.next()) return false;
  } catch (const BadInput&) {  // a quote that is not one
    return false;
  }
  const auto has_space = [](const std::string& field) {
    return field.find(' ') != std::string::npos && !field.starts_with("Unnamed: ");
  };
  const std::vector<std::string>& names = records.fields();
  if (prose && delimiter != '\t' && std::any_of(names.begin(), names.end(), has_space)) return false;
  return (one_word || names.size() > 1) && parse_header(names, records.where()).has_value();
}

}  // namespace

char csv_delimiter(std::string_view content, const std::string& name) {
  for (const char delimiter : {',', ';'})
    if (has_header(content, name, delimiter, true, false)) return delimiter;
  fail<BadInput>("{}:1: a CSV file needs a header that names its columns, `text,label` for instance", name);
}

RecognisedFormat recognise_format(std::string_view content, const std::string& name, bool allow_plain_text) {
  if (begins_json(content, allow_plain_text)) return {TextFormat::jsonl};
  for (const char delimiter : {'\t', ',', ';'})
    if (has_header(content, name, delimiter, delimiter == '\t' && !allow_plain_text, allow_plain_text))
      return {delimiter == '\t' ? TextFormat::tsv : TextFormat::csv, delimiter};

  LineReader lines(content, name);
  lines.next();
  const std::string_view first = lines.line();
  if (std::count(first.begin(), first.end(), '\t') == 1) return {TextFormat::tsv};
  if (!allow_plain_text)
    fail<BadInput>(
        "{}: unknown format; expected a header `sentence<TAB>label` or `text,label`, or lines `text<TAB>label`, or "
        "JSON "
        "lines like {{\"text\": \"...\", \"label\": 0}}",
        lines.where());
  if (first.starts_with("sep=")) fail<BadInput>("{}: `sep=` is Excel's; remove this line{}", lines.where(), as_text);
  for (const char delimiter : {'\t', ',', ';'})
    if ((first.find(delimiter) != std::string_view::npos || first.starts_with('"')) &&
        looks_like_table(content, delimiter))
      fail<BadInput>(
          "{}: looks like a table without the columns that are known; name them with a header, `text,label` "
          "for instance{}",
          lines.where(), as_text);
  if ((first == "text" || first == "sentence") && lines.rest().starts_with('"'))
    fail<BadInput>("{}: is {} a sentence, or the name of a column of quoted ones? Say --format csv or --format text",
                   lines.where(), first);
  return {TextFormat::text};
}

}  // namespace crisp
