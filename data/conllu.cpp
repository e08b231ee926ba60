#include "data/conllu.h"

#include <array>
#include <optional>

#include "data/input/parse_text.h"
#include "data/input/text.h"
#include "engine/fail.h"

namespace crisp {
namespace {

enum Column : size_t { column_id = 0, column_form = 1, column_head = 6, column_misc = 9, column_count = 10 };

std::optional<int32_t> parse_index(std::string_view text) {
  return text.starts_with('-') ? std::nullopt : parse_number<int32_t>(text);
}

// Both numbers of `3-4` or `5.1`.
std::optional<std::array<int32_t, 2>> parse_pair(std::string_view text, size_t separator) {
  const auto first = parse_index(text.substr(0, separator)), second = parse_index(text.substr(separator + 1));
  if (!first || !second) return std::nullopt;
  return std::array{*first, *second};
}

std::string_view trim_spaces(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t"), end = text.find_last_not_of(" \t");
  return begin == std::string_view::npos ? std::string_view{} : text.substr(begin, end + 1 - begin);
}

// The value of a comment `# key = value`.
std::optional<std::string_view> comment_value(std::string_view line, std::string_view key) {
  line = trim_spaces(line.substr(1));
  if (!line.starts_with(key)) return std::nullopt;
  line = trim_spaces(line.substr(key.size()));
  if (!line.starts_with('=')) return std::nullopt;
  return trim_spaces(line.substr(1));
}

bool has_attribute(std::string_view misc, std::string_view attribute) {
  for (size_t begin = 0; begin <= misc.size();) {
    const size_t end = std::min(misc.find('|', begin), misc.size());
    if (misc.substr(begin, end - begin) == attribute) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

ConlluReader::ConlluReader(std::string_view content, const std::string& name)
    : name_(name), lines_(without_byte_order_mark(content), name) {}

std::string ConlluReader::where(size_t line) const { return fmt::format("{}:{}", name_, line); }

bool ConlluReader::next(ParsedSentence& sentence) {
  sentence.where.clear();
  sentence.id.clear();
  sentence.text.clear();
  sentence.words.clear();
  sentence.tokens.clear();
  word_lines_.clear();
  range_end_ = empty_nodes_ = 0;
  space_ = false;
  while (lines_.next()) {
    const std::string_view line = lines_.line();
    if (line.empty()) {
      if (sentence.where.empty()) continue;
      break;
    }
    if (sentence.where.empty()) {
      sentence.where = lines_.where();
      sentence.number = ++number_;
    }
    if (!line.starts_with('#')) {
      read_line(sentence);
    } else if (!sentence.tokens.empty() || empty_nodes_ > 0) {
      fail<BadInput>("{}: a comment inside a sentence; comments stand above its words, and a blank line ends it",
                     lines_.where());
    } else if (const auto id = comment_value(line, "sent_id")) {
      sentence.id = *id;
    }
  }
  if (sentence.where.empty()) return false;
  if (sentence.words.empty()) {
    fail<BadInput>("{}: sentence {} has no words; remove its lines, or the blank line behind them", sentence.where,
                   sentence.number);
  }
  if (range_end_ > static_cast<int32_t>(sentence.words.size())) {
    fail<BadInput>("{}: the range ends with word {}, but the sentence with word {}", where(range_line_), range_end_,
                   sentence.words.size());
  }
  check_tree(sentence);
  return true;
}

void ConlluReader::read_line(ParsedSentence& sentence) {
  std::array<std::string_view, column_count> columns;
  size_t count = 0;
  for (std::string_view rest = lines_.line();; ++count) {
    const size_t tab = rest.find('\t');
    if (count < column_count) columns[count] = rest.substr(0, tab);
    if (tab == std::string_view::npos) break;
    rest.remove_prefix(tab + 1);
  }
  if (++count != column_count) {
    fail<BadInput>(
        "{}: {} tab-separated column{} where CoNLL-U has 10, ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS MISC",
        lines_.where(), count, count == 1 ? "" : "s");
  }
  const std::string_view id = columns[column_id], form = columns[column_form], head = columns[column_head];
  const auto words = static_cast<int32_t>(sentence.words.size());

  if (const size_t dot = id.find('.'); dot != std::string_view::npos) {
    const auto node = parse_pair(id, dot);
    if (!node || (*node)[0] != words || (*node)[1] != empty_nodes_ + 1) {
      fail<BadInput>("{}: empty node {} where only {}.{} may stand", lines_.where(), printable(id), words,
                     empty_nodes_ + 1);
    }
    ++empty_nodes_;
    return;
  }
  if (form.empty()) fail<BadInput>("{}: the FORM of {} is empty", lines_.where(), printable(id));
  if (id.find('-') != std::string_view::npos) {
    read_range(id, sentence);
    add_token(form, columns[column_misc], range_end_ - words, sentence);
    return;
  }
  const auto number = parse_index(id);
  if (!number) fail<BadInput>("{}: the ID '{}' is none of 3, 3-4 or 3.1", lines_.where(), printable(id));
  if (*number != words + 1) {
    fail<BadInput>("{}: word {} where word {} is due; words are numbered from 1, and a blank line ends a sentence",
                   lines_.where(), *number, words + 1);
  }
  const auto parent = parse_index(head);
  if (!parent)
    fail<BadInput>("{}: the HEAD '{}' is no word's number (0 for the root)", lines_.where(), printable(head));
  if (*number > range_end_) add_token(form, columns[column_misc], 1, sentence);
  sentence.words.push_back({.form = std::string(form), .head = *parent - 1});
  word_lines_.push_back(lines_.number());
  empty_nodes_ = 0;
}

void ConlluReader::read_range(std::string_view id, ParsedSentence& sentence) {
  const auto range = parse_pair(id, id.find('-'));
  if (!range) fail<BadInput>("{}: the ID '{}' is none of 3, 3-4 or 3.1", lines_.where(), printable(id));
  const auto words = static_cast<int32_t>(sentence.words.size());
  if (words < range_end_) {
    fail<BadInput>("{}: the range {} begins inside the range that ends with word {}", lines_.where(), id, range_end_);
  }
  if ((*range)[0] != words + 1) {
    fail<BadInput>("{}: the range {} stands before word {}, not before its first word", lines_.where(), id, words + 1);
  }
  if ((*range)[1] <= (*range)[0]) fail<BadInput>("{}: the range {} has less than two words", lines_.where(), id);
  range_end_ = (*range)[1];
  range_line_ = lines_.number();
}

void ConlluReader::add_token(std::string_view form, std::string_view misc, int32_t words, ParsedSentence& sentence) {
  if (space_) sentence.text += ' ';
  space_ = !has_attribute(misc, "SpaceAfter=No");
  const size_t begin = sentence.text.size();
  sentence.text += form;
  const auto first = static_cast<int32_t>(sentence.words.size());
  sentence.tokens.push_back({begin, sentence.text.size(), first, first + words});
}

// Every head is a word, one word is the root, and every word hangs on it. Fills the depths, in linear time.
void ConlluReader::check_tree(ParsedSentence& sentence) {
  auto& words = sentence.words;
  const auto n = static_cast<int32_t>(words.size());
  int32_t root = -1;
  for (int32_t i = 0; i < n; ++i) {
    ParsedWord& word = words[static_cast<size_t>(i)];
    const size_t line = word_lines_[static_cast<size_t>(i)];
    if (word.head >= n) {
      fail<BadInput>("{}: the HEAD {} of word {} is not in its sentence, which has {} word{}", where(line),
                     word.head + 1, i + 1, n, n == 1 ? "" : "s");
    }
    if (word.head < 0 && root >= 0) {
      fail<BadInput>("{}: word {} is a second root beside word {}; only one word has the HEAD 0", where(line), i + 1,
                     root + 1);
    }
    if (word.head < 0) root = i;
    word.depth = -1;
  }
  if (root < 0) fail<BadInput>("{}: sentence {} has no root: one word needs the HEAD 0", sentence.where, number_);

  constexpr int32_t unknown = -1, on_the_way = -2;
  words[static_cast<size_t>(root)].depth = 0;
  std::vector<int32_t> way;
  for (int32_t i = 0; i < n; ++i) {
    int32_t at = i;
    for (; words[static_cast<size_t>(at)].depth == unknown; at = words[static_cast<size_t>(at)].head) {
      words[static_cast<size_t>(at)].depth = on_the_way;
      way.push_back(at);
    }
    int32_t depth = words[static_cast<size_t>(at)].depth;
    if (depth == on_the_way) {
      fail<BadInput>("{}: word {} hangs on itself through its heads; they must lead to the root, word {}",
                     where(word_lines_[static_cast<size_t>(at)]), at + 1, root + 1);
    }
    for (; !way.empty(); way.pop_back()) words[static_cast<size_t>(way.back())].depth = ++depth;
  }
}

}  // namespace crisp
