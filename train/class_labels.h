// The sentences of a run and what their labels mean: train and dev read alike, their classes named.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"
#include "train/options.h"

namespace crisp {

struct LabelledSets {
  Dataset train, dev;
  int classes = 2;                       // at least 2
  std::vector<std::string> label_names;  // of the classes; empty where labels are numbers and nobody names them
  std::vector<std::string> notes;        // for the user
};

/// Reads both files. The names of the classes: options.label_names, else those of the weights' classification head
/// where it is kept and the data's words are among them, else the training set's words in the order of their bytes.
/// Throws BadInput as read_dataset and check_training_labels do, where a set has no labels, where one has numbers and
/// the other has words, and where the data's words are not those of the weights' head; UsageError where
/// options.num_labels is not the number of the names.
LabelledSets read_labelled_sets(const std::string& train, const std::string& dev, const TrainOptions& options);

}  // namespace crisp
