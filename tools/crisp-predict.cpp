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
#include "engine/context.h"
#include "engine/fail.h"
#include "tools/options.h"
#include "tools/predict_output.h"
#include "train/classification_report.h"
#include "train/console.h"
#include "train/evaluate.h"
#include "train/metrics.h"
#include "train/model_files.h"
#include "train/precision.h"

namespace crisp {
namespace {

struct PredictOptions {
  std::string model, vocab, parses, metrics, input = "-";
  int64_t batch_size = 64, max_length = 0, threads = 0;
  TextFormat format = TextFormat::automatic;
  bool json = false, with_text = false;
  Precision precision = Precision::f32;
  DeviceChoice device = DeviceChoice::cpu;
};

// Answers as the sentences come, and what is to be said about all of them in the end.
class Predictor {
 public:
  Predictor(const PredictOptions& options, const LoadedModel& loaded, const Context& context)
      : options_(options), loaded_(loaded), context_(context) {
    if (options.metrics.empty()) return;
    const DistilBertConfig& config = loaded.model.config();
    if (config.head_function() != HeadFunction::softmax)
      fail<BadInput>("{}: --metrics measures classes of which one is right; this model's head has none", options.model);
    std::vector<std::string> names;
    for (int64_t c = 0; c < config.num_labels; ++c) names.push_back(config.label_name(c));
    report_.emplace(std::move(names));
  }

  // A batch, answered at once; false where nobody can read the answers any more.
  bool answer_batch(const TokenizedDataset& data, std::span<const Example> examples) {
    if (report_ && !data.labelled()) fail<BadInput>("{}: has no labels, which --metrics needs", input_name());
    const Evaluation result = [&] {
      try {
        return evaluate(loaded_.model, data, static_cast<int>(options_.batch_size), Statistics::none, {}, context_);
      } catch (const NotFinite& error) {
        explain_not_finite(error.behind(total_), loaded_);
      }
    }();
    std::string lines;
    for (size_t i = 0; i < examples.size(); ++i) {
      const Prediction& p = result.predictions[i];
      lines +=
          format_prediction(p, loaded_.model.config(), options_.json, options_.with_text ? &examples[i].text : nullptr);
      if (report_) report_->add(examples[i].label, p.label);
    }
    total_ += result.total;
    if (!std::isnan(result.loss)) {
      labelled_ = true;
      correct_ += result.correct;
      loss_sum_ += result.loss * static_cast<double>(result.total);
    }
    std::fwrite(lines.data(), 1, lines.size(), stdout);
    return std::fflush(stdout) == 0;
  }

  void add_truncated(int64_t count) { truncated_ += count; }
  int threads() const { return context_.threads(); }

  void summarise(int max_length) const {
    if (truncated_ > 0)
      say("{} of {} sentences are longer than {} tokens and were cut", truncated_, total_, max_length);
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
  const LoadedModel& loaded_;
  const Context& context_;
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
void predict_stream(const PredictOptions& options, const DistilBertConfig& config, const WordPiece& tokenizer,
                    int max_length, Predictor& predictor) {
  if (::isatty(STDIN_FILENO) == 1) say("type sentences, one a line; Ctrl-D ends");
  ExampleStream stream(STDIN_FILENO, "standard input", read_options(options, config));
  for (;;) {
    const Dataset examples = stream.next(static_cast<size_t>(options.batch_size));
    if (examples.examples.empty()) return;
    for (const std::string& note : examples.notes) say("{}", note);
    const TokenizedDataset data(examples, tokenizer, max_length, "", predictor.threads());
    predictor.add_truncated(data.truncated());
    if (!predictor.answer_batch(data, examples.examples)) return;
  }
}

void predict_file(const PredictOptions& options, const DistilBertConfig& config, const WordPiece& tokenizer,
                  int max_length, const std::string& parses, Predictor& predictor) {
  const ReadOptions reading = read_options(options, config);
  const Dataset examples =
      options.input == "-"
          ? parse_dataset(std::string(std::istreambuf_iterator<char>(std::cin), {}), "standard input", reading)
          : read_dataset(options.input, reading);
  for (const std::string& note : examples.notes) say("{}", note);
  const TokenizedDataset data(examples, tokenizer, max_length, parses, predictor.threads());
  predictor.add_truncated(data.truncated());
  const auto batch_size = static_cast<int>(options.batch_size);
  const std::vector<int32_t> order = sequential_order(data.size());
  for (int64_t b = 0; b < batch_count(data.size(), batch_size); ++b) {
    const std::span<const int32_t> batch = batch_slice(order, batch_size, b);
    const auto of_batch = std::span(examples.examples).subspan(static_cast<size_t>(batch.front()), batch.size());
    if (!predictor.answer_batch(data.subset(batch), of_batch)) return;
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
  const Device device = device_for(options.device);
  const Context context(
      {.threads = static_cast<int>(options.threads), .products = products_for(options.precision, device)});
  LoadModelOptions load{.vocab = options.vocab, .device = device, .head_required = true};
  if (options.precision != Precision::f32)
    load.dtype = dtype_for(options.precision);  // else the file's own: f32 or f64
  const LoadedModel loaded = load_model(options.model, load);
  refuse_metrics_over_inputs(options, loaded);
  for (const std::string& note : loaded.notes) say("note: {}", note);
  if (::isatty(STDERR_FILENO) == 1)  // in a pipeline nothing is said where nothing is wrong
    say("{}, {} thread{}", describe_products(loaded.model.dtype(), context.products(), device), context.threads(),
        context.threads() == 1 ? "" : "s");
  const WordPiece tokenizer = load_tokenizer(loaded, options.max_length);
  for (const std::string& note : tokenizer.notes()) say("note: {}", note);
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

  Predictor predictor(options, loaded, context);
  if (options.input == "-" && !needs_parses)
    predict_stream(options, config, tokenizer, max_length, predictor);
  else
    predict_file(options, config, tokenizer, max_length, needs_parses ? options.parses : "", predictor);
  predictor.summarise(max_length);
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
  add_integer(app, "threads", options.threads, 0, most_threads, "0: all cores");
  add_precision(app, options.precision);
  add_device(app, options.device);
  return run_program(app, argc, argv, [&] { return predict(options); });
}
