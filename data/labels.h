// From labels as files write them to classes: numbers from 0, or words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace crisp {

struct Dataset;
struct ReadOptions;

// Where nobody says how many classes there are, a larger label is taken for a mistake (an id in the wrong column)
// rather than for a classifier of that width; and so is a larger number of words.
inline constexpr int64_t largest_label = 9999;

/// The labels of a file. Spaces around one do not count. A label is
///  - absent: nothing, or -1, as in Hugging Face's test sets;
///  - a whole number, also as pandas writes it beside missing ones (`1.0`);
///  - a word.
/// Words are classes in the order of the names that are given, else of their bytes, as in Hugging Face's scripts. Where
/// names are given, whole numbers are words, too, if some name is a whole number.
class LabelColumn {
 public:
  /// Takes the label of the next example.
  void add(std::string_view written);

  /// Fills in the examples' labels, num_labels and label_names; `headerless`: a word on the first line may be a
  /// column's name. Throws BadInput, with file and line: words and numbers in one file, a number that is
  /// not whole or no class, a word that is none of the given names, labels on some examples only.
  void resolve(const ReadOptions& options, bool headerless, Dataset& dataset) const;

 private:
  enum class Kind : uint8_t { none, whole, broken_number, word };
  struct Spelling {
    std::string text;
    size_t first = 0, count = 0;  // its first example; how many there are
    Kind kind = Kind::none;
    int64_t value = -1;  // of a whole number
  };
  static void classify(Spelling& spelling);
  const Spelling* first_of(Kind kind) const;
  bool by_name(const ReadOptions& options, const Dataset& dataset) const;
  std::vector<int32_t> classes_by_number(const ReadOptions& options, Dataset& dataset) const;
  std::vector<int32_t> classes_by_name(const ReadOptions& options, bool headerless, Dataset& dataset) const;

  std::vector<Spelling> spellings_;  // in the order of their first examples
  std::unordered_map<std::string, int32_t> index_;
  std::vector<int32_t> of_example_;  // into spellings_
};

/// Names between commas, spaces around them left out, into `names`; returns what is wrong with them, "" for nothing.
std::string parse_label_names(const std::string& list, std::vector<std::string>& names);

/// The first names, quoted, for messages.
std::string show_label_names(const std::vector<std::string>& names);

/// Of numbers most of which below the largest no example has, so that it is an id rather than a class: "FILE:3: the
/// label 9 makes 10 classes, of which 7 have no example: 2, 3, ..."; of others "".
std::string describe_gaps(const Dataset& dataset);

/// What no training set means, though each of its labels is possible: throws BadInput for numbers that begin above 0,
/// for numbers most of which below the largest do not occur, and for words that are almost all different. Nothing is
/// refused that `classes_given` vouches for.
void check_training_labels(const Dataset& dataset, bool classes_given);

/// A line for the user about the classes 0 .. classes-1 that no example has; empty where each has one. `consequence`:
/// what that means.
std::string note_empty_classes(const Dataset& dataset, int classes, std::string_view consequence);

}  // namespace crisp
