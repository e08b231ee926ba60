#include "data/dataset.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "data/input/file.h"
#include "data/input/json.h"
#include "data/input/packed.h"
#include "data/input/text.h"
#include "data/labels.h"
#include "data/records.h"
#include "data/text_file.h"
#include "engine/fail.h"

namespace crisp {
namespace {

// Readers of the formats add examples here; labels become classes when all are known.
class Collector {
 public:
  Collector(const std::string& name, const ReadOptions& options) : options_(options) { result_.path = name; }

  void add(std::string text, std::string_view label, size_t line) {
    result_.examples.push_back({std::move(text), -1, static_cast<int32_t>(line)});
    labels_.add(label);
  }
  void note(std::string text) {
    if (!text.empty()) result_.notes.push_back(std::move(text));
  }

  /// `headerless`: a table whose first line may be a header that is not known.
  Dataset finish(bool headerless = false) {
    labels_.resolve(options_, headerless, result_);
    return std::move(result_);
  }

 private:
  const ReadOptions& options_;
  Dataset result_;
  LabelColumn labels_;
};

std::string_view name_of(char delimiter) {
  return delimiter == '\t' ? "tab" : delimiter == ',' ? "comma" : "semicolon";
}

Dataset read_table(std::string_view content, const std::string& name, char delimiter, bool literal_quotes,
                   Collector& collector) {
  QuotesFound found{.quotes = literal_quotes ? Quotes::literal : Quotes::quoting};
  if (delimiter == '\t' && !literal_quotes) found = find_quotes(content, name);
  collector.note(std::move(found.note));
  RecordReader records(content, name, delimiter, found.quotes);
  records.next();
  const std::optional<Columns> header = parse_header(records.fields(), records.where());
  if (!header && records.fields().size() != 2)
    fail<BadInput>("{}: unknown format; expected a header `sentence<TAB>label`, or lines `text<TAB>label`",
                   records.where());
  const Columns columns = header.value_or(Columns{.text = 0, .label = 1, .count = 2});
  for (bool more = header ? records.next() : true; more; more = records.next()) {
    std::vector<std::string>& fields = records.fields();
    if (fields.size() != columns.count) {
      fail<BadInput>("{}: {} {}-separated column{} where {} {} expected", records.where(), fields.size(),
                     name_of(delimiter), fields.size() == 1 ? "" : "s", columns.count,
                     columns.count == 1 ? "is" : "are");
    }
    collector.add(std::move(fields[static_cast<size_t>(columns.text)]),
                  columns.label < 0 ? std::string_view() : fields[static_cast<size_t>(columns.label)], records.line());
  }
  return collector.finish(!header);
}

void add_object(const nlohmann::json& object, const std::string& where, size_t line, Collector& collector) {
  if (!object.is_object()) fail<BadInput>("{}: expected a JSON object with \"text\" and \"label\"", where);
  const bool has_text = object.contains("text"), has_sentence = object.contains("sentence");
  if (has_text == has_sentence) {
    fail<BadInput>("{}: expected {} \"text\" {} \"sentence\" in the object", where, has_text ? "only one of" : "a",
                   has_text ? "and" : "or a");
  }
  const nlohmann::json& text = object[has_text ? "text" : "sentence"];
  if (text.is_object() || text.is_array())
    fail<BadInput>(
        "{}: the text is a whole column; write an object for each example (pandas: to_json(orient=\"records\", "
        "lines=True))",
        where);
  if (!text.is_string()) fail<BadInput>("{}: the text is no JSON string, but {}", where, show_json(text));
  const auto label = object.find("label");
  std::string written;
  if (label != object.end() && label->is_string()) {
    written = label->get<std::string>();
  } else if (label != object.end() && (label->is_number() || label->is_boolean())) {
    written = label->dump();
  } else if (label != object.end() && !label->is_null()) {
    fail<BadInput>("{}: the label is {}; it must be a number or a word", where, show_json(*label));
  }
  collector.add(text.get<std::string>(), written, line);
}

Dataset read_json(std::string_view content, const std::string& name, Collector& collector) {
  if (content.substr(std::min(content.find_first_not_of(" \t\r\n"), content.size())).starts_with('[')) {
    const nlohmann::json list = parse_json(content, name);
    size_t number = 0;
    for (const nlohmann::json& object : list)
      add_object(object, fmt::format("{}, example {}", name, ++number), 0, collector);
    return collector.finish();
  }
  for (LineReader lines(content, name); lines.next() && !lines.at_blank_end();)
    add_object(parse_json_line(lines.line(), name, lines.number()), lines.where(), lines.number(), collector);
  return collector.finish();
}

Dataset read_plain(std::string_view content, const std::string& name, Collector& collector) {
  for (LineReader lines(content, name); lines.next();) collector.add(std::string(lines.line()), "", lines.number());
  return collector.finish();
}

}  // namespace

std::string Dataset::place(size_t i) const {
  const int32_t line = examples[i].line;
  return line > 0 ? fmt::format("{}:{}", path, line) : fmt::format("{}, example {}", path, i + 1);
}

namespace {
Dataset parse(std::string_view content, const std::string& name, const ReadOptions& options) {
  std::string unpacked;
  if (!options.continues) {
    if (is_gzip(content)) content = unpacked = gunzip(content, name, input_limit::dataset);
    refuse_foreign_file(content, name);
  }
  check_text(content, name);
  if (!options.continues) content = without_byte_order_mark(content);
  Collector collector(name, options);
  if (content.empty()) return collector.finish();
  RecognisedFormat found{options.format};
  if (found.format == TextFormat::automatic) found = recognise_format(content, name, options.allow_plain_text);
  if (options.format == TextFormat::csv) found.delimiter = csv_delimiter(content, name);
  switch (found.format) {
    case TextFormat::jsonl:
      return read_json(content, name, collector);
    case TextFormat::tsv:
    case TextFormat::csv:
      return read_table(content, name, found.delimiter, options.continues, collector);
    default:
      return read_plain(content, name, collector);
  }
}

}  // namespace

Dataset parse_dataset(std::string_view content, const std::string& name, const ReadOptions& options) {
  Dataset dataset = parse(content, name, options);
  if (dataset.examples.empty() && !options.allow_empty) fail<BadInput>("{}: holds no examples", name);
  return dataset;
}

Dataset read_dataset(const std::string& path, const ReadOptions& options) {
  return parse_dataset(read_input(path, input_limit::dataset), path, options);
}

DatasetFiles find_dataset(const std::string& directory) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(directory)) fail<BadInput>("{}: no such folder", directory);
  using Words = std::initializer_list<const char*>;
  const auto find = [&](Words names, Words extensions = {".tsv", ".csv", ".jsonl", ".json", ".tsv.gz", ".csv.gz",
                                                         ".jsonl.gz", ".json.gz"}) {
    std::string found;
    for (const char* name : names) {
      for (const char* extension : extensions) {
        const fs::path path = fs::path(directory) / (std::string(name) + extension);
        if (!input_exists(path)) continue;
        if (!found.empty()) fail<BadInput>("{} and {}: which of the two is meant? Remove one", found, path.string());
        found = path.string();
      }
    }
    return found;
  };
  DatasetFiles files{.train = find({"train"}),
                     .dev = find({"dev", "validation"}),
                     .test = find({"test"}),
                     .train_parses = find({"train"}, {".conllu"}),
                     .dev_parses = find({"dev", "validation"}, {".conllu"})};
  if (files.train.empty() && files.dev.empty() && files.test.empty()) {
    fail<BadInput>("{}: no dataset here; expected train.tsv and dev.tsv (or train.jsonl and dev.jsonl)", directory);
  }
  return files;
}

}  // namespace crisp
