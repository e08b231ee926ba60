// crisp-train: fine-tune DistilBERT, densely or with sparse attention.
#include <CLI/CLI.hpp>

#include "tools/options.h"
#include "tools/sample_root.h"
#include "train/run/run.h"

int main(int argc, char** argv) {
  CLI::App app("Fine-tunes DistilBERT (or a BERT encoder) on labelled sentences, densely or with sparse attention.",
               "crisp-train");
  crisp::TrainOptions options;
  crisp::add_train_options(app, options);
  return crisp::run_program(app, argc, argv, [&] { return crisp::run_training(options, crisp::sample_root()); });
}
