// Labelled sentences from files: GLUE's TSV, headerless TSV, JSON lines, plain lines.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace crisp {

struct Example {
  std::string text;
  int32_t label = -1;  // -1 = unlabelled
  int32_t line = 0;    // in its file, from 1; 0 = from no file
};

struct Dataset {
  std::string path;
  std::vector<Example> examples;
  /// Classes: as given to the reader, else the largest label + 1; 0 when nothing is labelled.
  int num_labels = 0;

  /// A dataset is labelled as a whole or not at all.
  bool labelled() const { return !examples.empty() && examples.front().label >= 0; }
};

/// What a file is. `automatic`: its first line tells.
enum class TextFormat : uint8_t { automatic, text, tsv, jsonl };

struct ReadOptions {
  /// Labels must be below this; 0 = not known, take it from the file.
  int num_labels = 0;
  /// Take a file in no known format as one unlabelled sentence per line, instead of refusing it.
  bool allow_plain_text = false;
  /// Return a dataset without examples for a file without any, instead of refusing it.
  bool allow_empty = false;
  /// Other than `automatic`: no guess, so that any sentence may stand in the first line.
  TextFormat format = TextFormat::automatic;
};

/// Reads a file. The first line tells the format:
///  - `{` first: JSON lines, objects with "text" or "sentence" (a string) and maybe "label" (an integer);
///  - tab-separated names out of `sentence`/`text`, `label`, `index`/`idx`/`id`, among them a sentence: a header as in
///    GLUE's SST-2, so that train and dev (`sentence label`) and test (`index sentence`) are read alike. Where plain
///    text is allowed, the single word `sentence` or `text` is a sentence like any other, not a header;
///  - two columns: `text<TAB>label` without a header;
///  - else plain text, where allowed.
/// ReadOptions::format decides instead: `tsv` is one of the two in the middle, `text` takes every line as it is.
/// UTF-8 with or without a byte order mark; LF or CRLF; the last line end may be missing. Quotes are literal. Blank
/// lines at the end do not count (in plain text they do). Throws BadInput with file and line: wrong number of columns,
/// a label that is no integer, negative or not below `num_labels`, labels on some lines only, invalid UTF-8, bad JSON,
/// no examples.
Dataset read_dataset(const std::string& path, const ReadOptions& options = {});

/// The same from memory; `name` stands for the file in messages.
Dataset parse_dataset(std::string_view content, const std::string& name, const ReadOptions& options = {});

/// The files of a dataset folder; an empty path where there is none.
struct DatasetFiles {
  std::string train, dev, test;
  std::string train_parses, dev_parses;
};

/// Finds train, dev (or `validation`) and test, each as .tsv or .jsonl, in a folder, and the parses of the first two,
/// train.conllu and dev.conllu (or validation.conllu). Throws BadInput when the folder is missing, holds none of the
/// first three, or holds two candidates for one of the five.
DatasetFiles find_dataset(const std::string& directory);

}  // namespace crisp
