#include "data/dataset.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>

#include "data/input/file.h"
#include "data/input/json.h"
#include "data/input/text.h"
#include "data/text_file.h"
#include "engine/error.h"

namespace crisp {
namespace {

// Where a file does not say how many classes there are, a larger label is taken for a mistake (an id in the wrong
// column) rather than for a classifier of that width.
constexpr int64_t largest_label = 9999;

std::vector<std::string_view> split_tabs(std::string_view line) {
  std::vector<std::string_view> columns;
  for (size_t begin = 0;;) {
    const size_t tab = line.find('\t', begin);
    columns.push_back(line.substr(begin, tab - begin));
    if (tab == std::string_view::npos) return columns;
    begin = tab + 1;
  }
}

// Which column holds what; -1 = absent.
struct Columns {
  int text = -1, label = -1;
  size_t count = 0;
};

std::optional<Columns> parse_header(std::string_view line) {
  Columns result;
  for (const std::string_view name : split_tabs(line)) {
    const int at = static_cast<int>(result.count++);
    if ((name == "sentence" || name == "text") && result.text < 0) {
      result.text = at;
    } else if (name == "label" && result.label < 0) {
      result.label = at;
    } else if (name != "index" && name != "idx" && name != "id") {
      return std::nullopt;
    }
  }
  if (result.text < 0) return std::nullopt;
  return result;
}

class Parser {
 public:
  Parser(std::string_view content, const std::string& name, const ReadOptions& options)
      : name_(name), options_(options), lines_(content, name) {
    result_.path = name;
  }

  Dataset run() {
    if (!lines_.next()) {
      if (options_.allow_empty) return std::move(result_);
      fail<BadInput>("{}: is empty", name_);
    }
    switch (options_.format) {
      case TextFormat::automatic:
        if (lines_.line().starts_with('{')) {
          each_line([&] { read_json(); });
        } else if (!read_table(!options_.allow_plain_text)) {
          if (!options_.allow_plain_text) unknown_format();
          read_plain();
        }
        break;
      case TextFormat::text:
        read_plain();
        break;
      case TextFormat::tsv:
        if (!read_table(true)) unknown_format();
        break;
      case TextFormat::jsonl:
        each_line([&] { read_json(); });
        break;
    }
    if (result_.examples.empty() && !options_.allow_empty) fail<BadInput>("{}: has a header but no examples", name_);
    if (result_.labelled()) result_.num_labels = options_.num_labels > 0 ? options_.num_labels : max_label_ + 1;
    return std::move(result_);
  }

 private:
  [[noreturn]] void unknown_format() const {
    fail<BadInput>("{}: unknown format; expected a header `sentence<TAB>label`, or lines `text<TAB>label`{}",
                   lines_.where(),
                   options_.format == TextFormat::tsv ? "" : ", or JSON lines like {\"text\": \"...\", \"label\": 0}");
  }

  // False, with nothing read, when the first line is neither a header nor two columns. `one_word_header`: a header may
  // consist of the sentence's name alone.
  bool read_table(bool one_word_header) {
    const std::string_view first = lines_.line();
    const auto tabs = std::count(first.begin(), first.end(), '\t');
    const auto header = tabs > 0 || one_word_header ? parse_header(first) : std::nullopt;
    if (header) {
      if (lines_.next()) each_line([&] { read_columns(*header); });
    } else if (tabs == 1) {
      each_line([&] { read_columns({.text = 0, .label = 1, .count = 2}); });
    } else {
      return false;
    }
    return true;
  }

  void read_plain() {
    do add(std::string(lines_.line()), -1);
    while (lines_.next());
  }

  // Calls read() for the current line and all that follow, leaving out blank lines at the end of the file.
  template <class Read>
  void each_line(Read read) {
    do {
      if (lines_.line().empty() && lines_.rest().find_first_not_of("\r\n") == std::string_view::npos) return;
      read();
    } while (lines_.next());
  }

  void read_columns(const Columns& columns) {
    const auto fields = split_tabs(lines_.line());
    if (fields.size() != columns.count) {
      fail<BadInput>("{}: {} tab-separated column{} where {} {} expected", lines_.where(), fields.size(),
                     fields.size() == 1 ? "" : "s", columns.count, columns.count == 1 ? "is" : "are");
    }
    int32_t label = -1;
    if (columns.label >= 0) {
      const std::string_view field = fields[static_cast<size_t>(columns.label)];
      int64_t value = 0;
      const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
      if (error == std::errc::result_out_of_range && end == field.data() + field.size()) label_out_of_range(field);
      if (error != std::errc() || end != field.data() + field.size()) {
        fail<BadInput>("{}: the label {} is no integer", lines_.where(), quote(field));
      }
      label = check_label(value);
    }
    add(std::string(fields[static_cast<size_t>(columns.text)]), label);
  }

  void read_json() {
    const nlohmann::json object = parse_json_line(lines_.line(), name_, lines_.number());
    if (!object.is_object()) fail<BadInput>("{}: expected a JSON object with \"text\" and \"label\"", lines_.where());
    const bool has_text = object.contains("text"), has_sentence = object.contains("sentence");
    if (has_text == has_sentence) {
      fail<BadInput>("{}: expected {} \"text\" {} \"sentence\" in the object", lines_.where(),
                     has_text ? "only one of" : "a", has_text ? "and" : "or a");
    }
    const auto& text = object[has_text ? "text" : "sentence"];
    if (!text.is_string()) fail<BadInput>("{}: the text is no JSON string", lines_.where());
    int32_t label = -1;
    if (object.contains("label")) {
      const auto& field = object["label"];
      if (!field.is_number_integer())
        fail<BadInput>("{}: the label {} is no integer", lines_.where(), show_json(field));
      if (field.is_number_unsigned() && field.get<uint64_t>() > INT64_MAX) label_out_of_range(show_json(field));
      label = check_label(field.get<int64_t>());
    }
    add(text.get<std::string>(), label);
  }

  [[noreturn]] void label_out_of_range(std::string_view label) const {
    if (options_.num_labels > 0) {
      fail<BadInput>("{}: the label {} is out of range; {} classes are numbered 0..{}", lines_.where(), label,
                     options_.num_labels, options_.num_labels - 1);
    }
    fail<BadInput>("{}: the label {} is out of range; labels are 0..{}", lines_.where(), label, largest_label);
  }

  int32_t check_label(int64_t value) const {
    if (value < 0 || value > (options_.num_labels > 0 ? options_.num_labels - 1 : largest_label)) {
      label_out_of_range(std::to_string(value));
    }
    return static_cast<int32_t>(value);
  }

  void add(std::string text, int32_t label) {
    if (!result_.examples.empty() && (label < 0) == result_.labelled()) {
      fail<BadInput>("{}: {} a label, unlike the lines before it", lines_.where(), label < 0 ? "lacks" : "has");
    }
    max_label_ = std::max(max_label_, label);
    result_.examples.push_back({std::move(text), label, static_cast<int32_t>(lines_.number())});
  }

  const std::string& name_;
  const ReadOptions& options_;
  LineReader lines_;
  Dataset result_;
  int32_t max_label_ = -1;
};

}  // namespace

Dataset parse_dataset(std::string_view content, const std::string& name, const ReadOptions& options) {
  if (content.starts_with("\xEF\xBB\xBF")) content.remove_prefix(3);
  return Parser(content, name, options).run();
}

Dataset read_dataset(const std::string& path, const ReadOptions& options) {
  return parse_dataset(read_input(path, input_limit::dataset), path, options);
}

DatasetFiles find_dataset(const std::string& directory) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(directory)) fail<BadInput>("{}: no such folder", directory);
  using Words = std::initializer_list<const char*>;
  const auto find = [&](Words names, Words extensions = {".tsv", ".jsonl"}) {
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
