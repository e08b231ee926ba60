#include "tools/inspect/diff.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "data/batch.h"
#include "data/dataset.h"
#include "data/input/file.h"
#include "data/input/text.h"
#include "engine/context.h"
#include "engine/fail.h"
#include "tools/inspect/commands.h"
#include "tools/inspect/output.h"
#include "tools/inspect/row_pairs.h"
#include "tools/inspect/subject.h"
#include "tools/nearest.h"
#include "tools/predict_output.h"
#include "train/durable/console.h"
#include "train/inference/device.h"
#include "train/inference/limits.h"
#include "train/inference/model_files.h"
#include "train/inference/precision.h"

namespace crisp::inspect {
namespace {

using nlohmann::ordered_json;
using Kind = TextTable::Kind;

struct DiffOptions {
  std::string a, b, data, vocab, parses;
  int64_t batch_size = 64, max_length = 0, threads = 0, limit = 20;
  TextFormat format = TextFormat::automatic;
  Precision precision = Precision::f32;
  DeviceChoice device = DeviceChoice::cpu;
  bool json = false;
};

LoadedModel load(const std::string& path, const DiffOptions& options, Device device) {
  check_model_exists(path);
  LoadModelOptions load{.vocab = options.vocab, .device = device, .head_required = true};
  if (options.precision != Precision::f32) load.dtype = dtype_for(options.precision);  // else the file's own
  LoadedModel loaded = load_model(path, load);
  for (const std::string& note : loaded.notes) say("note: {}: {}", path, note);
  return loaded;
}

std::vector<Prediction> predict(const LoadedModel& loaded, const Dataset& examples, const DiffOptions& options,
                                const Context& context) {
  const WordPiece tokenizer = load_tokenizer(loaded, options.max_length);
  for (const std::string& note : tokenizer.notes()) say("note: {}", note);
  const int max_length = options.max_length > 0 ? static_cast<int>(options.max_length) : saved_max_length(loaded);
  const bool needs_parses = loaded.model.config().sparsity.needs_parses(false);
  if (needs_parses && options.parses.empty())
    fail<UsageError>("{}: this model's attention follows dependency parses; give --parses FILE", loaded.source);
  const TokenizedDataset data(examples, tokenizer, max_length, needs_parses ? options.parses : "", context.threads());
  if (data.truncated() > 0)
    say("note: {}: {} of {} sentences are longer than {} tokens and were cut", loaded.source, data.truncated(),
        data.size(), max_length);
  try {
    return evaluate(loaded.model, data, static_cast<int>(options.batch_size), Statistics::none, {}, context)
        .predictions;
  } catch (const NotFinite& error) {
    explain_not_finite(error, loaded);
  }
}

// All that is shown.
struct Difference {
  const DiffOptions& options;
  Dataset data;  // its labels are those of the names
  std::vector<std::string> names;
  Answers a, b;
  AnswerComparison compared = {};

  std::vector<int32_t> truth() const {
    std::vector<int32_t> labels;
    if (data.labelled())
      for (const Example& example : data.examples) labels.push_back(example.label);
    return labels;
  }
  const std::string& name(int32_t label) const { return names[static_cast<size_t>(label)]; }
  double probability(const Answers& of, size_t example) const {
    return of.probabilities[example][static_cast<size_t>(of.labels[example])];
  }
  std::string line(size_t example) const {
    const int32_t line = data.examples[example].line;
    return line > 0 ? std::to_string(line) : fmt::format("#{}", example + 1);
  }
  std::string text() const;
  ordered_json json() const;

 private:
  std::string accuracies() const;
  std::string sentences() const;
};

std::string Difference::accuracies() const {
  const McNemar& alone = *compared.right_alone;
  const int64_t a_right = compared.both + alone.only_first, b_right = compared.both + alone.only_second;
  const auto n = static_cast<double>(data.examples.size());
  const auto percent = [&](int64_t count) { return 100 * static_cast<double>(count) / n; };
  TextTable table({{"", Kind::text}, {"B right"}, {"B wrong"}, {"accuracy"}});
  table.row({"A right", std::to_string(compared.both), std::to_string(alone.only_first),
             fmt::format("A  {:.2f} %", percent(a_right))});
  table.row({"A wrong", std::to_string(alone.only_second), std::to_string(compared.neither),
             fmt::format("B  {:.2f} %", percent(b_right))});
  return table.text() + fmt::format("McNemar's exact p = {:.3g}: right alone is A {} times, B {} times\n\n",
                                    alone.p_value, alone.only_first, alone.only_second);
}

std::string Difference::sentences() const {
  RowPairs table({{"line"}, {"label", Kind::text}, {"A", Kind::text}, {"p"}, {"B", Kind::text}, {"p"}, {"difference"}},
                 {{"sentence", Kind::flexible}});
  size_t shown = 0;
  for (const auto& [i, difference] : compared.disagreements) {
    if (options.limit > 0 && shown == static_cast<size_t>(options.limit)) break;
    ++shown;
    const Example& example = data.examples[i];
    table.row({line(i), data.labelled() ? name(example.label) : "-", name(a.labels[i]),
               fmt::format("{:.4f}", probability(a, i)), name(b.labels[i]), fmt::format("{:.4f}", probability(b, i)),
               fmt::format("{:.4f}", difference)},
              {example.text});
  }
  if (shown == 0) return "";
  const size_t left = compared.disagreements.size() - shown;
  return "\n" + table.text() + (left > 0 ? fmt::format("... and {} more (--limit 0 shows all)\n", left) : "");
}

std::string Difference::text() const {
  std::string all = fmt::format("A  {}\nB  {}\n{} sentences of {}\n\n", printable(options.a), printable(options.b),
                                data.examples.size(), printable(options.data));
  if (compared.right_alone) all += accuracies();
  all += fmt::format("other labels: {} of {} sentences\n", compared.disagreements.size(), data.examples.size());
  if (compared.largest && compared.largest->difference == 0)
    all += "all probabilities are the same\n";
  else if (compared.largest)
    all += fmt::format("probabilities differ by {:.3g} in the mean and by {:.3g} at most, in line {}\n",
                       compared.mean_difference, compared.largest->difference, line(compared.largest->example));
  return all + sentences();
}

ordered_json Difference::json() const {
  ordered_json all{{"a", options.a},
                   {"b", options.b},
                   {"data", options.data},
                   {"sentences", data.examples.size()},
                   {"labels", names},
                   {"right", nullptr},
                   {"mcnemar_p", nullptr},
                   {"mean_difference", compared.mean_difference},
                   {"largest_difference", compared.largest ? compared.largest->difference : 0},
                   {"disagreements", ordered_json::array()}};
  if (const auto& alone = compared.right_alone) {
    all["right"] = {{"both", compared.both},
                    {"only_a", alone->only_first},
                    {"only_b", alone->only_second},
                    {"neither", compared.neither}};
    all["mcnemar_p"] = alone->p_value;
  }
  for (const auto& [i, difference] : compared.disagreements) {
    const Example& example = data.examples[i];
    ordered_json row{{"example", i}, {"line", example.line}, {"text", example.text}};
    row["label"] = data.labelled() ? ordered_json(name(example.label)) : ordered_json();
    row["a"] = {{"label", name(a.labels[i])}, {"probabilities", a.probabilities[i]}};
    row["b"] = {{"label", name(b.labels[i])}, {"probabilities", b.probabilities[i]}};
    row["difference"] = difference;
    all["disagreements"].push_back(std::move(row));
  }
  return all;
}

// The second model numbers its labels in its own order, but nothing of an evaluation that is used here depends on them.
Dataset without_labels(Dataset data) {
  for (Example& example : data.examples) example.label = -1;
  data.num_labels = 0;
  return data;
}

int show_difference(const DiffOptions& options) {
  if (!input_exists(options.data)) fail<BadInput>("{}: no such file{}", options.data, did_you_mean_path(options.data));
  const Device device = device_for(options.device);
  const Context context(
      {.threads = static_cast<int>(options.threads), .products = products_for(options.precision, device)});
  const LoadedModel a = load(options.a, options, device), b = load(options.b, options, device);
  const SharedLabels labels = share_labels(a.model.config(), b.model.config());
  if (!labels.note.empty()) say("note: {}", labels.note);
  Difference difference{options,
                        read_dataset(options.data, {.num_labels = static_cast<int>(labels.names.size()),
                                                    .label_names = labels.names,
                                                    .label_names_from = "the models",
                                                    .allow_plain_text = true,
                                                    .format = options.format}),
                        labels.names,
                        {},
                        {}};
  for (const std::string& note : difference.data.notes) say("note: {}", note);
  const Dataset sentences = without_labels(difference.data);
  std::vector<int32_t> same(labels.names.size());
  for (size_t l = 0; l < same.size(); ++l) same[l] = static_cast<int32_t>(l);
  difference.a = answers_of(predict(a, sentences, options, context), same);
  difference.b = answers_of(predict(b, sentences, options, context), labels.of_second);
  difference.compared = compare_answers(difference.a, difference.b, difference.truth());
  if (options.json)
    print_json(difference.json());
  else
    fmt::print("{}", difference.text());
  return 0;
}

}  // namespace

Command add_diff(CLI::App& program) {
  CLI::App* app = add_command(program, "diff", "Where two models disagree");
  auto options = std::make_shared<DiffOptions>();
  required(add_positional(*app, "A", options->a, "a model's directory or name"));
  required(add_positional(*app, "B", options->b, "the other one's"));
  required(add_text(*app, "data", options->data, "sentences, with labels or without", "FILE"));
  add_text_format(*app, options->format, "the sentences");
  add_text(*app, "vocab", options->vocab, "vocabulary of both; default: what lies beside each model", "FILE");
  add_text(*app, "parses", options->parses, "CoNLL-U of the sentences, for a model with --sparse-method syntax",
           "FILE");
  add_integer(*app, "limit", options->limit, 0, INT64_MAX, "sentences shown; 0: all (as with --json)");
  add_flag(*app, "json", options->json, "print one JSON object");
  add_integer(*app, "batch-size", options->batch_size, 1, largest_batch, "sentences of a batch");
  add_integer(*app, "max-length", options->max_length, 0, longest_sentence, "tokens of a sentence; 0: as in training");
  add_threads(*app, *options);
  add_precision(*app, *options);
  add_device(*app, *options);
  return {app, [options] { return show_difference(*options); }};
}

}  // namespace crisp::inspect
