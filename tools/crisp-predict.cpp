// crisp-predict: a trained model's labels for sentences.
#include <fmt/format.h>

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "data/batch.h"
#include "data/dataset.h"
#include "data/input/text.h"
#include "engine/error.h"
#include "engine/parallel.h"
#include "engine/precision.h"
#include "tools/options.h"
#include "train/console.h"
#include "train/evaluate.h"
#include "train/model_files.h"

namespace crisp {
namespace {

struct PredictOptions {
  std::string model, vocab, parses, input = "-";
  int64_t batch_size = 64, max_length = 0, threads = 0;
  TextFormat format = TextFormat::automatic;
  bool json = false;
  Precision precision = Precision::f32;
};

Dataset read_input(const std::string& path, TextFormat format, const DistilBertConfig& config) {
  ReadOptions options{.num_labels = static_cast<int>(config.num_labels),
                      .label_names_from = "the model",
                      .allow_plain_text = true,
                      .allow_empty = true,
                      .format = format};
  for (int64_t i = 0; i < config.num_labels; ++i) options.label_names.push_back(config.label_name(i));
  if (path != "-") return read_dataset(path, options);
  if (::isatty(STDIN_FILENO) == 1) say("type sentences, one a line; Ctrl-D ends");
  const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  return parse_dataset(text, "standard input", options);
}

void print(const Prediction& p, const DistilBertConfig& config, bool json) {
  const std::string name = config.label_name(p.label);
  if (json) {
    const nlohmann::ordered_json object{
        {"label", p.label}, {"label_name", name}, {"logits", p.logits}, {"probabilities", p.probabilities}};
    fmt::print("{}\n", object.dump());
  } else {
    fmt::print("{}\t{:.4f}\n", printable(name), p.probabilities[static_cast<size_t>(p.label)]);
  }
}

int predict(const PredictOptions& options) {
  set_num_threads(static_cast<int>(options.threads));
  set_precision(options.precision);
  LoadModelOptions load{.vocab = options.vocab, .head_required = true};
  if (options.precision != Precision::f32)
    load.dtype = dtype_for(options.precision);  // else the file's own: f32 or f64
  const LoadedModel loaded = load_model(options.model, load);
  if (::isatty(STDERR_FILENO) == 1)  // in a pipeline nothing is said where nothing is wrong
    say("{}, {} thread{}", describe_products(loaded.model.dtype()), num_threads(), num_threads() == 1 ? "" : "s");
  const WordPiece tokenizer = load_tokenizer(loaded, options.max_length);
  const DistilBertConfig& config = loaded.model.config();
  const int max_length = options.max_length > 0 ? static_cast<int>(options.max_length) : saved_max_length(loaded);

  bool needs_parses = false;
  for (int64_t l = 0; l < config.layers; ++l)
    needs_parses |= config.sparsity.method == SparseMethod::syntax && config.sparsity.applies(l, false);
  if (needs_parses && options.parses.empty())
    fail<UsageError>("{}: this model's attention follows dependency parses; give --parses FILE", options.model);

  if (config.sparsity.method != SparseMethod::syntax && !options.parses.empty())
    fail<UsageError>("{}: this model's attention does not look at dependency parses; leave --parses out",
                     options.model);

  const Dataset input = read_input(options.input, options.format, config);
  for (const std::string& note : input.notes) fmt::print(stderr, "{}\n", note);
  const TokenizedDataset data(input, tokenizer, max_length, needs_parses ? options.parses : "");
  if (data.truncated() > 0)
    say("{} of {} sentences are longer than {} tokens and were cut", data.truncated(), data.size(), max_length);
  const Evaluation result = evaluate(loaded.model, data, static_cast<int>(options.batch_size), Statistics::none);
  for (const Prediction& p : result.predictions) print(p, config, options.json);
  if (data.labelled())
    say("accuracy {}/{} = {:.2f} %, loss {:.4f}", result.correct, result.total, 100 * result.accuracy(), result.loss);
  return 0;
}

}  // namespace
}  // namespace crisp

int main(int argc, char** argv) {
  using namespace crisp;
  CLI::App app(
      "Prints a label and its probability for each sentence of FILE (plain lines, TSV, CSV or JSON, also .gz; - reads "
      "standard "
      "input). With labelled sentences the accuracy goes to standard error.",
      "crisp-predict");
  PredictOptions options;
  set_help_style(app);
  add_text(app, "model", options.model, "directory that crisp-train wrote, or any DistilBERT classifier")
      ->type_name("DIR")
      ->required();
  add_text(app, "vocab", options.vocab, "vocabulary; default: vocab.txt beside the model")->type_name("FILE");
  add_text(app, "parses", options.parses, "CoNLL-U of the sentences, for a model with --sparse-method syntax")
      ->type_name("FILE");
  app.add_option("FILE", options.input, "the sentences")->type_name("")->capture_default_str();
  add_choice<TextFormat>(app, "format", options.format,
                         {{"auto", TextFormat::automatic},
                          {"text", TextFormat::text},
                          {"tsv", TextFormat::tsv},
                          {"csv", TextFormat::csv},
                          {"jsonl", TextFormat::jsonl}},
                         "auto|text|tsv|csv|jsonl",
                         "of FILE; auto: its first line tells; text: a sentence a line, as it is");
  add_flag(app, "json", options.json, "print an object a line: label, label_name, logits, probabilities");
  add_integer(app, "batch-size", options.batch_size, 1, largest_batch, "sentences of a batch");
  add_integer(app, "max-length", options.max_length, 0, longest_sentence, "tokens of a sentence; 0: as in training");
  add_integer(app, "threads", options.threads, 0, most_threads, "0: all cores");
  add_precision(app, options.precision);
  return run_program(app, argc, argv, [&] { return predict(options); });
}
