// crisp-predict: a trained model's labels for sentences.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "data/batch.h"
#include "data/dataset.h"
#include "data/input/text.h"
#include "data/line_stream.h"
#include "engine/fail.h"
#include "model/methods/method.h"
#include "tools/options.h"
#include "tools/predict_output.h"
#include "train/durable/console.h"
#include "train/durable/metrics.h"
#include "train/inference/classification_report.h"
#include "train/inference/limits.h"
#include "train/inference/precision.h"
#include "train/inference/predictor.h"

namespace crisp {
namespace {

struct PredictOptions {
  std::string model, vocab, parses, metrics, input = "-";
  int64_t batch_size = 64, max_length = 0, threads = 0;
  TextFormat format = TextFormat::automatic;
  bool json = false, with_text = false, map_weights = true;
  Precision precision = Precision::f32;
  DeviceChoice device = DeviceChoice::cpu;
};

// Answers as the sentences come, and what is to be said about all of them in the end.
class Answers {
 public:
  Answers(const PredictOptions& options, const Predictor& predictor) : options_(options), predictor_(predictor) {
    if (options.metrics.empty()) return;
    const DistilBertConfig& config = predictor.config();
    if (config.head_function() != HeadFunction::softmax)
      fail<BadInput>("{}: --metrics measures classes of which one is right; this model's head has none", options.model);
    std::vector<std::string> names;
    for (int64_t c = 0; c < config.num_labels; ++c) names.push_back(config.label_name(c));
    report_.emplace(std::move(names));
  }

  // A batch, answered at once; false where nobody can read the answers any more.
  bool answer_batch(const TokenizedDataset& data, std::span<const Example> examples) {
    if (report_ && !data.labelled()) fail<BadInput>("{}: has no labels, which --metrics needs", input_name());
    const AnswerStyle style{static_cast<int>(options_.batch_size), options_.json, options_.with_text};
    const auto& [result, readable] = print_answers(predictor_, data, examples, style, total_);
    for (size_t i = 0; report_ && i < examples.size(); ++i)
      report_->add(examples[i].label, result.predictions[i].label);
    total_ += result.total;
    if (!std::isnan(result.loss)) {
      labelled_ = true;
      correct_ += result.correct;
      loss_sum_ += result.loss * static_cast<double>(result.total);
    }
    return readable;
  }

  // The examples as the model takes them; `parses`: a file with theirs, or "".
  TokenizedDataset tokenise(const Dataset& examples, const std::string& parses) {
    TokenizedDataset data(examples, predictor_.tokenizer(), predictor_.max_length(), parses,
                          predictor_.context().threads());
    truncated_ += data.truncated();
    return data;
  }

  void summarise() const {
    if (truncated_ > 0)
      say("{} of {} sentences are longer than {} tokens and were cut", truncated_, total_, predictor_.max_length());
    if (report_ && !labelled_) fail<BadInput>("{}: has no sentences, which --metrics needs", input_name());
    if (!labelled_) return;
    const double loss = loss_sum_ / static_cast<double>(total_);
    say("accuracy {}/{} = {:.2f} %, loss {:.4f}", correct_, total_,
        100 * static_cast<double>(correct_) / static_cast<double>(total_), loss);
    if (options_.metrics == "-")
      write_message(2, report_->text());
    else if (report_)
      write_json_file(options_.metrics, report_->json(loss));
  }

 private:
  std::string input_name() const { return options_.input == "-" ? "standard input" : options_.input; }

  const PredictOptions& options_;
  const Predictor& predictor_;
  std::optional<ClassificationReport> report_;
  int64_t total_ = 0, correct_ = 0, truncated_ = 0;
  double loss_sum_ = 0;
  bool labelled_ = false;
};

ReadOptions read_options(const PredictOptions& options, const DistilBertConfig& config) {
  ReadOptions reading{.num_labels = static_cast<int>(config.num_labels),
                      .label_names_from = "the model",
                      .allow_plain_text = true,
                      .allow_empty = true,
                      .format = options.format};
  for (int64_t i = 0; i < config.num_labels; ++i) reading.label_names.push_back(config.label_name(i));
  return reading;
}

// Standard input, line by line.
void predict_stream(const PredictOptions& options, const DistilBertConfig& config, Answers& answers) {
  if (::isatty(STDIN_FILENO) == 1) say("type sentences, one a line; Ctrl-D ends");
  ExampleStream stream(STDIN_FILENO, "standard input", read_options(options, config));
  for (;;) {
    const Dataset examples = stream.next(static_cast<size_t>(options.batch_size));
    if (examples.examples.empty()) return;
    for (const std::string& note : examples.notes) say("{}", note);
    if (!answers.answer_batch(answers.tokenise(examples, ""), examples.examples)) return;
  }
}

void predict_file(const PredictOptions& options, const DistilBertConfig& config, const std::string& parses,
                  Answers& answers) {
  const ReadOptions reading = read_options(options, config);
  const Dataset examples =
      options.input == "-"
          ? parse_dataset(std::string(std::istreambuf_iterator<char>(std::cin), {}), "standard input", reading)
          : read_dataset(options.input, reading);
  for (const std::string& note : examples.notes) say("{}", note);
  const TokenizedDataset data = answers.tokenise(examples, parses);
  const auto batch_size = static_cast<int>(options.batch_size);
  const std::vector<int32_t> order = sequential_order(data.size());
  for (int64_t b = 0; b < batch_count(data.size(), batch_size); ++b) {
    const std::span<const int32_t> batch = batch_slice(order, batch_size, b);
    const auto of_batch = std::span(examples.examples).subspan(static_cast<size_t>(batch.front()), batch.size());
    if (!answers.answer_batch(data.subset(batch), of_batch)) return;
  }
}

void refuse_metrics_over_inputs(const PredictOptions& options, const LoadedModel& loaded) {
  std::vector<std::string> inputs = loaded.files;
  inputs.insert(inputs.end(), {options.input, options.vocab, options.parses});
  for (const std::string& input : inputs) {
    std::error_code ignored;
    if (std::filesystem::equivalent(options.metrics, input, ignored))
      fail<UsageError>("--metrics {}: would replace {}; choose another file", options.metrics,
                       input == options.metrics ? "what this program reads" : input);
  }
}

int predict(const PredictOptions& options) {
  const Predictor predictor(options.model,
                            {.vocab = options.vocab,
                             .threads = options.threads,
                             .max_length = options.max_length,
                             .precision = options.precision,
                             .device = options.device,
                             .map_weights = options.map_weights},
                            [](const std::string& note) { say("note: {}", note); });
  refuse_metrics_over_inputs(options, predictor.loaded());
  if (::isatty(STDERR_FILENO) == 1)  // in a pipeline nothing is said where nothing is wrong
    say("{}, {} thread{}",
        describe_products(predictor.model().dtype(), predictor.context().products(), predictor.model().device()),
        predictor.context().threads(), predictor.context().threads() == 1 ? "" : "s");
  const DistilBertConfig& config = predictor.config();
  const bool parsed = config.sparsity.needs_parses(false);
  if (parsed && options.parses.empty())
    fail<UsageError>("{}: this model's attention follows dependency parses; give --parses FILE", options.model);
  if (!about(config.sparsity.method).needs_parses && !options.parses.empty())
    fail<UsageError>("{}: this model's attention does not look at dependency parses; leave --parses out",
                     options.model);

  Answers answers(options, predictor);
  if (options.input == "-" && !parsed)
    predict_stream(options, config, answers);
  else
    predict_file(options, config, parsed ? options.parses : "", answers);
  answers.summarise();
  return 0;
}

}  // namespace
}  // namespace crisp

int main(int argc, char** argv) {
  using namespace crisp;
  CLI::App app(
      "Prints a label and its probability for each sentence of FILE (plain lines, TSV, CSV or JSON, also .gz; - reads "
      "standard "
      "input, and answers each line as it comes). With labelled sentences the accuracy goes to standard error.",
      "crisp-predict");
  PredictOptions options;
  set_help_style(app);
  required(add_text(app, "model", options.model,
                    "directory that crisp-train wrote, or any DistilBERT classifier, maybe in the cache of models",
                    "DIR|NAME"));
  add_text(app, "vocab", options.vocab, "vocabulary (vocab.txt or tokenizer.json); default: what lies beside the model",
           "FILE");
  add_text(app, "parses", options.parses, "CoNLL-U of the sentences, for a model with --sparse-method syntax", "FILE");
  add_positional(app, "FILE", options.input, "the sentences")->capture_default_str();
  add_text_format(app, options.format, "FILE");
  add_flag(app, "json", options.json, "print an object a line: label, label_name, logits, probabilities (or value)");
  add_flag(app, "with-text", options.with_text, "repeat the sentence: in a last column, as \"text\" with --json");
  add_text(app, "metrics", options.metrics,
           "of labelled sentences: precision, recall, F1, confusion matrix, ... as JSON; - prints a table", "FILE");
  add_integer(app, "batch-size", options.batch_size, 1, largest_batch,
              "sentences of a batch, at most: no batch waits for more input");
  add_integer(app, "max-length", options.max_length, 0, longest_sentence, "tokens of a sentence; 0: as in training");
  add_threads(app, options);
  add_precision(app, options);
  add_device(app, options);
  add_setting(app, options, map_weights_setting<PredictOptions>());
  return run_program(app, argc, argv, [&] { return predict(options); });
}
