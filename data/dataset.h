// Labelled sentences from files: tables (TSV, CSV), JSON, plain lines.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_format.h"

namespace crisp {

struct Example {
  std::string text;
  int32_t label = -1;  // a class; -1 = unlabelled
  int32_t line = 0;    // in its file, from 1; 0 = in a JSON list, or from no file
};

struct Dataset {
  std::string path;
  std::vector<Example> examples;
  /// Classes: as given to the reader, else the largest label + 1 or the number of names; 0 when nothing is labelled.
  int num_labels = 0;
  /// The classes' names where the file's labels are words; empty where they are numbers.
  std::vector<std::string> label_names = {};
  std::vector<std::string> notes = {};  // for the user: how the file was read, where that is a guess

  /// A dataset is labelled as a whole or not at all.
  bool labelled() const { return !examples.empty() && examples.front().label >= 0; }
  /// Where example i stands, for messages: "file:line", or "file, example 3".
  std::string place(size_t i) const;
};

struct ReadOptions {
  /// Labels must be below this; 0 = not known, take it from the file.
  int num_labels = 0;
  /// Names of the classes, for labels that are words, and whose names they are, for messages.
  std::vector<std::string> label_names = {};
  std::string label_names_from = {};
  /// The names do not hold for a file none of whose labels is among them.
  bool label_names_are_optional = false;
  /// Take a file in no known format as one unlabelled sentence per line, instead of refusing it.
  bool allow_plain_text = false;
  /// Return a dataset without examples for a file without any, instead of refusing it.
  bool allow_empty = false;
  /// Other than `automatic`: no guess, so that any sentence may stand in the first line.
  TextFormat format = TextFormat::automatic;
  /// Lines of a stream after its beginning: what only the beginning or the whole of a file tells does not count. A byte
  /// order mark and the first bytes of other kinds of files are text, and between tabs so are double quotes.
  bool continues = false;
};

/// Reads a file. TextFormat (data/text_format.h) says what it may be: a table with a header that names the columns
/// `sentence` or `text`, `label` and `index`, `idx` or `id`, as GLUE's SST-2 and pandas have it; two columns between
/// tabs without one; JSON objects with "text" or "sentence" and maybe "label", one a line or in a list; plain text.
/// What labels may be, LabelColumn (data/labels.h) says: whole numbers from 0, or words; nothing, null and -1 mean
/// none. gzip is unpacked. UTF-8 with or without a byte order mark; LF, CRLF or, in all of the file, CR; the last line
/// end may be missing, and blank lines at the end do not count (in plain text they do). Throws BadInput with file and
/// line: wrong number of columns, a label that is no class, labels on some lines only, invalid UTF-8, bad JSON, quotes
/// that are not closed, no examples; and for a file that is no text.
Dataset read_dataset(const std::string& path, const ReadOptions& options = {});

/// The same from memory; `name` stands for the file in messages.
Dataset parse_dataset(std::string_view content, const std::string& name, const ReadOptions& options = {});

/// The files of a dataset folder; an empty path where there is none.
struct DatasetFiles {
  std::string train, dev, test;
  std::string train_parses, dev_parses;
};

/// Finds train, dev (or `validation`) and test in a folder, each as .tsv, .csv, .jsonl or .json, or one of these .gz,
/// and the parses of the first two, train.conllu and dev.conllu (or validation.conllu). Throws BadInput when the folder
/// is missing, holds none of the first three, or holds two candidates for one of the five.
DatasetFiles find_dataset(const std::string& directory);

}  // namespace crisp
