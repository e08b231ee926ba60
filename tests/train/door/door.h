// What the tests of the library's front door share: the bundled sample, a small classifier made of it, errors as
// values.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "train/door/crisp/crisp.hpp"

namespace crisp::test {

inline std::string sample_weights() { return CRISP_SOURCE_DIR "/weights/sample"; }

/// The first ones of data/sample.
inline std::vector<FineTuner::Example> sample_examples(size_t count, const char* set = "train") {
  std::vector<FineTuner::Example> examples;
  for (const Example& e : read_dataset(std::string(CRISP_SOURCE_DIR "/data/sample/").append(set) + ".tsv").examples)
    if (examples.size() < count) examples.push_back({e.text, e.label});
  return examples;
}

inline std::vector<std::string> sample_texts(size_t count) {
  std::vector<std::string> texts;
  for (const FineTuner::Example& e : sample_examples(count, "dev")) texts.push_back(e.text);
  return texts;
}

/// 4 steps of 8 sentences each.
inline FineTuner::Options short_training() {
  FineTuner::Options options;
  options.threads = 2;
  options.max_steps = 4;
  options.batch_size = 8;
  options.learning_rate = 5e-4;
  return options;
}

/// The sample with a head, hardly trained.
inline const ModelFiles& small_classifier() {
  static const ModelFiles files = [] {
    FineTuner tuner(sample_weights(), sample_examples(64), short_training());
    tuner.run();
    return tuner.save_to_memory();
  }();
  return files;
}

inline void write_files(const std::string& directory, const ModelFiles& files) {
  std::filesystem::create_directories(directory);
  for (const auto& [name, content] : files) write_file(directory + "/" + name, content);
}

inline Classifier::Options with_precision(Precision precision, int threads = 1) {
  Classifier::Options options;
  options.threads = threads;
  options.precision = precision;
  return options;
}

inline std::vector<std::vector<double>> logits_of(const Classifier& model, const std::vector<std::string>& texts) {
  std::vector<std::vector<double>> all;
  for (const Classifier::Prediction& p : model.predict(texts)) all.push_back(p.logits);
  return all;
}

}  // namespace crisp::test
