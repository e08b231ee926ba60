#include "data/labels.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "data/dataset.h"
#include "data/input/parse_text.h"
#include "data/input/text.h"
#include "engine/fail.h"

namespace crisp {
namespace {

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t"), end = text.find_last_not_of(" \t");
  return begin == std::string_view::npos ? std::string_view{} : text.substr(begin, end + 1 - begin);
}

std::string plural(size_t n, const char* what) { return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s"); }

// The first few of a list, quoted, and how many more there are.
template <class List, class Show>
std::string some_of(const List& list, Show show) {
  constexpr size_t most = 10;
  std::string shown;
  size_t count = 0;
  for (const auto& element : list)
    if (count++ < most) shown += (shown.empty() ? "" : ", ") + show(element);
  return count <= most ? shown : fmt::format("{} and {} more", shown, count - most);
}

// Plain decimal numbers only: "inf" and "nan" are words.
std::optional<double> as_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  const bool plain = text.find_first_not_of("0123456789.eE+-") == std::string_view::npos;
  return plain ? parse_number<double>(text) : std::nullopt;
}

std::string join(const std::vector<size_t>& numbers, const char* separator) {
  return fmt::format("{}", fmt::join(numbers, separator));
}

// The classes below `classes` of which there are examples, or of which there are none.
std::vector<size_t> classes_of(const Dataset& dataset, int classes, bool with_examples) {
  std::vector<bool> used(static_cast<size_t>(classes));
  for (const Example& e : dataset.examples)
    if (e.label >= 0 && e.label < classes) used[static_cast<size_t>(e.label)] = true;
  std::vector<size_t> found;
  for (size_t i = 0; i < used.size(); ++i)
    if (used[i] == with_examples) found.push_back(i);
  return found;
}

std::string as_text(size_t number) { return std::to_string(number); }

}  // namespace

void LabelColumn::add(std::string_view written) {
  const auto [place, is_new] = index_.try_emplace(std::string(trim(written)), static_cast<int32_t>(spellings_.size()));
  if (is_new) {
    spellings_.push_back({.text = place->first, .first = of_example_.size()});
    classify(spellings_.back());
  }
  ++spellings_[static_cast<size_t>(place->second)].count;
  of_example_.push_back(place->second);
}

void LabelColumn::classify(Spelling& s) {
  const std::optional<double> number = as_number(s.text);
  s.kind = s.text.empty() ? Kind::none : Kind::word;
  if (!number) return;
  s.kind = Kind::broken_number;
  if (*number != std::floor(*number)) return;
  constexpr double exact = 9007199254740992;  // 2^53; beyond, any class is out of range
  s.value = static_cast<int64_t>(std::clamp(*number, -exact, exact));
  s.kind = s.value == -1 ? Kind::none : Kind::whole;
}

const LabelColumn::Spelling* LabelColumn::first_of(Kind kind) const {
  for (const Spelling& s : spellings_)
    if (s.kind == kind) return &s;
  return nullptr;
}

bool LabelColumn::by_name(const ReadOptions& options, const Dataset& dataset) const {
  const auto numeric = [](const std::string& name) { return as_number(name).has_value(); };
  if (std::any_of(options.label_names.begin(), options.label_names.end(), numeric)) return true;
  const Spelling *word = first_of(Kind::word), *number = first_of(Kind::whole), *broken = first_of(Kind::broken_number);
  if (broken != nullptr)
    fail<BadInput>("{}: the label {} is no whole number; classes are numbered from 0 (regression is not supported)",
                   dataset.place(broken->first), quote(broken->text));
  if (word == nullptr || number == nullptr) return word != nullptr;
  const auto [first, second] = std::minmax(word, number);  // in spellings_, so in the order of the file
  const auto describe = [&](const Spelling* s) {
    return fmt::format("the {} {}", s == word ? "word" : "number", s == word ? quote(s->text) : s->text);
  };
  fail<BadInput>("{}: the label is {}, but {} has {}; labels are all numbers or all words",
                 dataset.place(second->first), describe(second), dataset.place(first->first), describe(first));
}

std::vector<int32_t> LabelColumn::classes_by_number(const ReadOptions& options, Dataset& dataset) const {
  const int64_t largest = options.num_labels > 0 ? options.num_labels - 1 : largest_label;
  std::vector<int32_t> classes;
  for (const Spelling& s : spellings_) {
    if (s.kind == Kind::whole && (s.value < 0 || s.value > largest)) {
      if (options.num_labels > 0)
        fail<BadInput>("{}: the label {} is out of range; {} classes are numbered 0..{}", dataset.place(s.first),
                       s.text, options.num_labels, largest);
      fail<BadInput>("{}: the label {} is out of range; labels are 0..{}, without gaps", dataset.place(s.first), s.text,
                     largest);
    }
    classes.push_back(s.kind == Kind::whole ? static_cast<int32_t>(s.value) : -1);
    dataset.num_labels = std::max(dataset.num_labels, classes.back() + 1);
  }
  if (dataset.num_labels > 0 && options.num_labels > 0) dataset.num_labels = options.num_labels;
  return classes;
}

std::vector<int32_t> LabelColumn::classes_by_name(const ReadOptions& options, bool headerless, Dataset& dataset) const {
  std::vector<std::string> names = options.label_names;
  const auto find = [&names](const Spelling& s) {
    auto found = std::find(names.begin(), names.end(), s.text);
    if (found == names.end() && s.kind == Kind::whole)
      found = std::find(names.begin(), names.end(), std::to_string(s.value));
    return found == names.end() ? -1 : static_cast<int32_t>(found - names.begin());
  };
  const bool none_known = std::all_of(spellings_.begin(), spellings_.end(), [&](auto& s) { return find(s) < 0; });
  const bool given = !names.empty() && !(options.label_names_are_optional && none_known);
  if (given && std::set(names.begin(), names.end()).size() < names.size())
    fail<BadInput>("{}: its labels are words, but {} names two classes alike: {}", dataset.path,
                   options.label_names_from, show_label_names(names));
  if (!given) {
    const Spelling& first = spellings_.front();
    if (headerless && first.kind == Kind::word && first.count == 1)
      fail<BadInput>("{}: is this a header? The label {} comes on no other line; name the columns sentence and label",
                     dataset.place(first.first), quote(first.text));
    names.clear();
    for (const Spelling& s : spellings_)
      if (s.kind == Kind::word) names.push_back(s.text);
    const auto most = static_cast<size_t>(options.num_labels > 0 ? options.num_labels : largest_label + 1);
    if (names.size() > most)
      fail<BadInput>("{}: has {} different labels; {} is the most{}", dataset.path, names.size(), most,
                     options.num_labels > 0 ? " (--num-labels)" : "");
    std::sort(names.begin(), names.end());
  }
  std::vector<int32_t> classes;
  for (const Spelling& s : spellings_) {
    classes.push_back(find(s));
    if (classes.back() < 0 && s.kind != Kind::none)
      fail<BadInput>("{}: the label {} is none of the classes of {}: {}", dataset.place(s.first), quote(s.text),
                     options.label_names_from, show_label_names(names));
  }
  dataset.num_labels = std::max(static_cast<int>(names.size()), options.num_labels);
  dataset.label_names = std::move(names);
  return classes;
}

void LabelColumn::resolve(const ReadOptions& options, bool headerless, Dataset& dataset) const {
  const bool any = std::any_of(spellings_.begin(), spellings_.end(), [](auto& s) { return s.kind != Kind::none; });
  if (spellings_.empty() || (!any && options.label_names.empty())) return;
  const std::vector<int32_t> classes =
      by_name(options, dataset) ? classes_by_name(options, headerless, dataset) : classes_by_number(options, dataset);
  for (size_t i = 0; i < of_example_.size(); ++i) {
    Example& example = dataset.examples[i];
    example.label = classes[static_cast<size_t>(of_example_[i])];
    if ((example.label >= 0) == dataset.labelled()) continue;
    const Spelling& s = spellings_[static_cast<size_t>(of_example_[i])];
    fail<BadInput>("{}: {} a label{}, unlike the lines before it", dataset.place(i),
                   example.label < 0 ? "lacks" : "has",
                   s.value == -1 && !s.text.empty() && example.label < 0 ? " (-1 means none)" : "");
  }
  if (!dataset.labelled()) dataset.num_labels = 0, dataset.label_names.clear();
}

std::string parse_label_names(const std::string& list, std::vector<std::string>& names) {
  names.clear();
  for (const std::string& part : split(list, ',')) {
    const std::string name(trim(part));
    if (find_invalid_utf8(name) != std::string_view::npos)
      return fmt::format("must be UTF-8, which {} is not", quote(name));
    if (name.empty()) return fmt::format("must be names between commas, none of them empty, not {}", quote(list));
    if (std::find(names.begin(), names.end(), name) != names.end()) return fmt::format("has {} twice", quote(name));
    names.push_back(name);
  }
  return "";
}

std::string show_label_names(const std::vector<std::string>& names) {
  return some_of(names, [](const std::string& name) { return quote(name, 40); });
}

std::string describe_gaps(const Dataset& dataset) {
  const int n = dataset.num_labels;
  const std::vector<size_t> empty = classes_of(dataset, n, false);
  if (2 * std::ssize(empty) <= n) return "";
  const auto largest = std::max_element(dataset.examples.begin(), dataset.examples.end(),
                                        [](const Example& a, const Example& b) { return a.label < b.label; });
  if (largest->label + 1 != n) return "";  // it is not what makes them
  return fmt::format("{}: the label {} makes {} classes, of which {} have no example: {}",
                     dataset.place(static_cast<size_t>(largest - dataset.examples.begin())), largest->label, n,
                     empty.size(), some_of(empty, as_text));
}

void check_training_labels(const Dataset& dataset, bool classes_given) {
  if (classes_given || !dataset.labelled()) return;
  if (!dataset.label_names.empty()) {
    constexpr size_t plausible = 100;
    if (dataset.label_names.size() > plausible && 2 * dataset.label_names.size() > dataset.examples.size())
      fail<BadInput>("{}: {} different labels on {}; is it a column of something else? If not, say --num-labels {}",
                     dataset.path, dataset.label_names.size(), plural(dataset.examples.size(), "example"),
                     dataset.label_names.size());
    return;
  }
  const int n = dataset.num_labels;
  const std::vector<size_t> used = classes_of(dataset, n, true);
  const std::string as_names =
      used.size() <= 20 ? fmt::format(", or take them as names with --label-names {}", join(used, ",")) : "";
  if (used.front() > 0)
    fail<BadInput>(
        "{}: the labels are {}, never 0, but classes are numbered from 0. Subtract {}{}; if class 0 only "
        "lacks examples, say --num-labels {}",
        dataset.path, some_of(used, as_text), used.front(), as_names, n);
  if (const std::string gaps = describe_gaps(dataset); !gaps.empty())
    fail<BadInput>("{}. Number them without gaps{}; if it is right, say --num-labels {}", gaps, as_names, n);
}

std::string note_empty_classes(const Dataset& dataset, int classes, std::string_view consequence) {
  const std::vector<size_t> empty = classes_of(dataset, classes, false);
  if (empty.empty()) return "";
  const auto show = [&](size_t i) {
    return i < dataset.label_names.size() ? quote(dataset.label_names[i], 40) : std::to_string(i);
  };
  return fmt::format("{} has no example of class{} {}: {}", dataset.path, empty.size() == 1 ? "" : "es",
                     some_of(empty, show), consequence);
}

}  // namespace crisp
