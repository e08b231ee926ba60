// crisp-pack: one executable with its model inside. It is its own product: a copy of it, with a model behind it,
// answers.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <unistd.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/line_stream.h"
#include "engine/fail.h"
#include "engine/system.h"
#include "tools/options.h"
#include "tools/pack/packed_model.h"
#include "tools/predict_output.h"
#include "tools/streams.h"
#include "train/durable/console.h"
#include "train/durable/interrupt.h"
#include "train/inference/limits.h"
#include "train/inference/predictor.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;

// --- packing ---------------------------------------------------------------------------------------------------------

struct PackOptions {
  std::string model, vocab, output;
};

void refuse_output(const std::string& output, const LoadedModel& loaded) {
  std::error_code ignored;
  for (const std::string& file : loaded.files)
    if (fs::equivalent(output, file, ignored)) fail<UsageError>("--output {}: is a file of the model", output);
  if (output == "-") fail<UsageError>("--output -: an executable is a file; give its name");
  if (!input_exists(output)) return;
  try {
    if (!fs::is_directory(output, ignored) && PackedModel::in(output)) return;
  } catch (const BadInput&) {  // a damaged one
    return;
  }
  fail<UsageError>("--output {}: is there and no packed program; choose another name", output);
}

// What the model is read from, by the names under which the program will look for it.
std::vector<std::pair<std::string, std::string>> files_of(const LoadedModel& loaded, const PackOptions& options) {
  std::vector<std::pair<std::string, std::string>> files;
  for (const std::string& path : loaded.files) {
    const bool other_vocabulary = !options.vocab.empty() && path == options.vocab;
    const bool json = path.ends_with(".json");
    files.emplace_back(path == loaded.weights_path ? "model.safetensors"
                       : other_vocabulary          ? (json ? "tokenizer.json" : "vocab.txt")
                                                   : fs::path(path).filename().string(),
                       path);
  }
  return files;
}

int pack(const PackOptions& options) {
  const Predictor predictor(options.model, {.vocab = options.vocab, .threads = 1, .map_weights = false},
                            [](const std::string& note) { say("note: {}", note); });
  if (predictor.config().sparsity.needs_parses(false))
    fail<UsageError>("{}: this model's attention follows dependency parses, for which a packed program has no place",
                     options.model);
  refuse_output(options.output, predictor.loaded());
  const InterruptHandler signals;
  PackedModel::write(options.output, os::this_program(), files_of(predictor.loaded(), options));
  fmt::print("{}: {:.1f} MB\n", options.output, static_cast<double>(fs::file_size(options.output)) / 1e6);
  return 0;
}

// --- answering -------------------------------------------------------------------------------------------------------

struct AnswerOptions {
  std::vector<std::string> texts;
  int64_t batch_size = 64, max_length = 0, threads = 0;
  bool json = false, with_text = false;
};

// False where nobody can read the answers any more.
bool answer(const Predictor& predictor, const AnswerOptions& options, const Dataset& examples, int64_t before) {
  const TokenizedDataset data(examples, predictor.tokenizer(), predictor.max_length(), "",
                              predictor.context().threads());
  if (data.truncated() > 0)
    say("{} of {} texts are longer than {} tokens and were cut", data.truncated(), data.size(), predictor.max_length());
  const AnswerStyle style{static_cast<int>(options.batch_size), options.json, options.with_text};
  return print_answers(predictor, data, examples.examples, style, before).readable;
}

int answer_all(const PackedModel& model, const AnswerOptions& options) {
  const Predictor predictor(model, {.threads = options.threads, .max_length = options.max_length},
                            [](const std::string& note) { say("note: {}", note); });
  if (!options.texts.empty()) {
    Dataset examples{.path = "the command line", .examples = {}};
    for (const std::string& text : options.texts) examples.examples.push_back({text, -1});
    answer(predictor, options, examples, 0);
    return 0;
  }
  if (::isatty(STDIN_FILENO) == 1) say("type sentences, one a line; Ctrl-D ends");
  const ReadOptions reading{.num_labels = static_cast<int>(predictor.config().num_labels),
                            .label_names_from = "the model",
                            .allow_plain_text = true,
                            .allow_empty = true,
                            .format = TextFormat::text};
  ExampleStream stream(STDIN_FILENO, "standard input", reading);
  for (int64_t before = 0;;) {
    const Dataset examples = stream.next(static_cast<size_t>(options.batch_size));
    if (examples.examples.empty() || !answer(predictor, options, examples, before)) return 0;
    before += std::ssize(examples.examples);
  }
}

int run_packer(int argc, char** argv) {
  CLI::App app(
      "Makes one executable file with a model inside: it answers for the texts on its command line, or for the lines "
      "of standard input.",
      "crisp-pack");
  PackOptions options;
  set_help_style(app);
  required(
      add_positional(app, "MODEL", options.model,
                     "directory that crisp-train wrote, or any DistilBERT classifier, maybe in the cache of models"));
  required(
      add_text(app, "output,-o", options.output, "the executable; a packed program of that name is replaced", "FILE"));
  add_text(app, "vocab", options.vocab, "vocabulary (vocab.txt or tokenizer.json); default: what lies beside the model",
           "FILE");
  return run_program(app, argc, argv, [&] { return pack(options); });
}

int run_packed(const PackedModel& model, int argc, char** argv) {
  CLI::App app(
      "Prints a label and its probability for each TEXT, or, without one, for each line of standard input, as it "
      "comes. The model is inside this program, which crisp-pack has made.",
      fs::path(argc > 0 ? argv[0] : "").filename().string());
  AnswerOptions options;
  set_help_style(app);
  app.add_option("TEXT", options.texts, "the texts");
  // CLI11 takes the brackets of "[a, b]" for a list's: what begins with one is kept from it.
  constexpr char guard = '\x1f';
  std::vector<std::string> guarded;
  for (int i = 0; i < argc; ++i) guarded.push_back((argv[i][0] == '[' ? std::string(1, guard) : "") + argv[i]);
  std::vector<const char*> words;
  for (const std::string& word : guarded) words.push_back(word.c_str());
  add_flag(app, "json", options.json, "print an object a line: label, label_name, logits, probabilities (or value)");
  add_flag(app, "with-text", options.with_text, "repeat the text: in a last column, as \"text\" with --json");
  add_integer(app, "batch-size", options.batch_size, 1, largest_batch,
              "texts of a batch, at most: no batch waits for more input");
  add_integer(app, "max-length", options.max_length, 0, longest_sentence, "tokens of a text; 0: as in training");
  add_threads(app, options);
  return run_program(app, argc, words.data(), [&] {
    for (std::string& text : options.texts)
      if (text.starts_with(guard)) text.erase(0, 1);
    return answer_all(model, options);
  });
}

}  // namespace
}  // namespace crisp

int main(int argc, char** argv) {
  crisp::prepare_streams();  // before a file is opened
  std::optional<crisp::PackedModel> model;
  bool damaged = false;
  try {
    model = crisp::PackedModel::in(crisp::os::this_program());
  } catch (const crisp::BadInput&) {
    damaged = true;
  }
  if (damaged || (!model && crisp::PackedModel::was_packed())) {
    crisp::say("{}: the model in this program is damaged, or was cut off; pack it again", argc > 0 ? argv[0] : "");
    return 3;
  }
  return model ? crisp::run_packed(*model, argc, argv) : crisp::run_packer(argc, argv);
}
