#include "train/class_labels.h"

#include <algorithm>
#include <filesystem>

#include "data/input/file.h"
#include "data/input/text.h"
#include "data/labels.h"
#include "engine/fail.h"
#include "model/config.h"
#include "weights/locate.h"
#include "weights/name_map.h"
#include "weights/safetensors.h"

namespace crisp {
namespace {

// The names of the classes of a head that the run goes on training; none where it makes a new one.
std::vector<std::string> names_of_head(const TrainOptions& options) {
  if (!options.init.empty() || options.new_head) return {};
  const std::string weights = locate_weights(options.weights);
  const std::string config = (std::filesystem::path(weights).parent_path() / "config.json").string();
  if (!input_exists(config)) return {};
  const uint64_t labels = infer_dims(SafetensorsFile::open(weights)).num_labels;
  std::vector<std::string> names = parse_config(read_input(config, input_limit::settings), config).label_names;
  return labels == names.size() ? names : std::vector<std::string>();
}

// LABEL_0, LABEL_1, ...: the names of who has none.
bool are_defaults(const std::vector<std::string>& names) {
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] != fmt::format("LABEL_{}", i)) return false;
  return true;
}

ReadOptions read_options(const TrainOptions& options) {
  ReadOptions read{.num_labels = static_cast<int>(options.num_labels)};
  if (!options.label_names.empty()) {
    if (options.num_labels > 0 && options.label_names.size() != static_cast<size_t>(options.num_labels))
      fail<UsageError>("--label-names has {} names, but --num-labels is {}", options.label_names.size(),
                       options.num_labels);
    if (options.label_names.size() == 1)
      fail<UsageError>(
          "--label-names: {} is one name, and there are two classes or more; names of columns, as Hugging Face's "
          "--label_names has them, are not needed here: \"sentence\" and \"label\" are found in the header",
          quote(options.label_names[0]));
    read.num_labels = static_cast<int>(options.label_names.size());
    read.label_names = options.label_names;
    read.label_names_from = "--label-names";
    return read;
  }
  read.label_names = names_of_head(options);
  read.label_names_are_optional = are_defaults(read.label_names);
  read.label_names_from = fmt::format("the weights {} (--new-head makes a head for others)", options.weights);
  return read;
}

}  // namespace

LabelledSets read_labelled_sets(const std::string& train, const std::string& dev, const TrainOptions& options) {
  ReadOptions read = read_options(options);
  LabelledSets sets;
  sets.train = read_dataset(train, read);
  if (!sets.train.labelled()) fail<BadInput>("{}: a training set needs labels", train);
  check_training_labels(sets.train, read.num_labels > 0);
  sets.classes = std::max(sets.train.num_labels, 2);
  sets.label_names = !options.label_names.empty() ? options.label_names : sets.train.label_names;

  read.num_labels = sets.classes;
  if (!sets.train.label_names.empty() && options.label_names.empty() && sets.train.label_names != read.label_names) {
    read.label_names = sets.train.label_names;
    read.label_names_from = train;
  }
  read.label_names_are_optional = false;
  sets.dev = read_dataset(dev, read);
  if (!sets.dev.labelled()) fail<BadInput>("{}: an evaluation set needs labels", dev);
  if (options.label_names.empty() && sets.train.label_names.empty() != sets.dev.label_names.empty()) {
    const bool words = sets.dev.label_names.empty();
    fail<BadInput>("{} has {} for labels, {} has {}; write both alike", train, words ? "words" : "numbers", dev,
                   words ? "numbers" : "words");
  }

  if (options.label_names.empty() && !sets.label_names.empty() && read.label_names_from == train)
    sets.notes.push_back(
        fmt::format("the classes, in the order of their names: {}", show_label_names(sets.label_names)));
  for (const Dataset* set : {&sets.train, &sets.dev})
    for (const std::string& note : set->notes) sets.notes.push_back(note);
  const std::string untrained = note_empty_classes(sets.train, sets.classes, "the model cannot learn it"),
                    unmeasured = note_empty_classes(sets.dev, sets.classes, "nothing is said about it");
  for (const std::string& note : {untrained, unmeasured})
    if (!note.empty()) sets.notes.push_back(note);
  return sets;
}

}  // namespace crisp
