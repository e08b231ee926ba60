#include "train/run.h"

#include <algorithm>
#include <future>
#include <optional>

#include "data/batch.h"
#include "data/dataset.h"
#include "engine/context.h"
#include "engine/error.h"
#include "engine/precision.h"
#include "train/class_labels.h"
#include "train/interrupt.h"
#include "train/model_files.h"
#include "train/output_directory.h"
#include "train/progress.h"
#include "train/session.h"
#include "train/sha256.h"
#include "weights/locate.h"

namespace crisp {
namespace {

void report_unused_parses(Progress& progress, const TrainOptions& options, const DataFiles& needed) {
  const auto report = [&](const std::string& given, const std::string& used, const char* option) {
    if (!given.empty() && used.empty())
      progress.message(fmt::format("{} is not used: no layer looks at these parses", option));
  };
  report(options.parses, needed.train_parses, "--parses");
  report(options.dev_parses, needed.dev_parses, "--dev-parses");
}

// What the run reads; `output` must not be the place of any of it.
std::vector<std::string> inputs_of(const LoadedModel& loaded, const DataFiles& files) {
  std::vector<std::string> inputs = loaded.files;
  inputs.push_back(files.train);
  inputs.push_back(files.dev);
  for (const std::string& parses : {files.train_parses, files.dev_parses})
    if (!parses.empty()) inputs.push_back(parses);
  return inputs;
}

// The weights' own sparsity is no default: a run does what its options say.
void report_lost_sparsity(Progress& progress, const SparsityConfig& of_weights, const SparsityConfig& now) {
  if (!of_weights.dense() && now.dense())
    progress.message(
        fmt::format("the weights are of a model trained with sparsity {}, but this run is dense; --sparsity and "
                    "--sparse-method would go on as before",
                    of_weights.describe()));
}

// Learned degrees are weights: they go on where this run has the same ones.
void take_over_spans(Progress& progress, const DistilBert& model, SparsityConfig& now, bool init_given) {
  const SparsityConfig& before = model.config().sparsity;
  const std::vector<std::vector<double>> spans = model.spans();
  if (spans.empty() || now.method != SparseMethod::learned_span) return;
  bool same = !init_given;
  for (int64_t l = 0; l < model.config().layers; ++l) same &= now.has_spans(l) == before.has_spans(l);
  if (same) now.spans = spans;
  progress.message(same ? "the weights' learned degrees go on; --span-init would start them afresh"
                        : fmt::format("the weights' learned degrees are not taken over, {}: all start at {:g}",
                                      init_given ? "as --span-init was given" : "as they are of other layers",
                                      now.span_init));
}

void report_truncation(Progress& progress, const char* what, const TokenizedDataset& data, int64_t max_length) {
  if (data.truncated() > 0)
    progress.message(fmt::format("{} of {} {} sentences are longer than {} tokens and were cut (--max-length)",
                                 data.truncated(), data.size(), what, max_length));
}

// Parses are of all sentences, so that a set is cut after they have been read.
void keep_first(TokenizedDataset& data, int64_t most) {
  if (most > 0 && most < data.size()) data = data.subset(sequential_order(static_cast<int32_t>(most)));
}

}  // namespace

DataFiles find_data_files(const TrainOptions& options) {
  DataFiles files{options.train, options.dev, options.parses, options.dev_parses};
  if (options.data.empty()) return files;
  const DatasetFiles found = find_dataset(options.data);
  const auto take = [](std::string& set, std::string& parses, const std::string& found_set,
                       const std::string& found_parses) {
    if (!set.empty()) return;
    set = found_set;
    if (parses.empty()) parses = found_parses;
  };
  take(files.train, files.train_parses, found.train, found.train_parses);
  take(files.dev, files.dev_parses, found.dev, found.dev_parses);
  return files;
}

void require_data_sets(const DataFiles& files, const TrainOptions& options) {
  if (files.train.empty() && files.dev.empty() && options.data.empty())
    fail<UsageError>("no data: give --data DIR, or --train FILE and --dev FILE");
  if (files.train.empty()) fail<UsageError>("no training set: {} has no train.tsv; give --train FILE", options.data);
  if (files.dev.empty())
    fail<UsageError>("no evaluation set: {}give --dev FILE",
                     options.data.empty() ? "" : options.data + " has no dev.tsv; ");
}

void keep_needed_parses(DataFiles& files, const TrainOptions& options, const SparsityConfig& sparsity) {
  bool train = false, dev = false;
  for (int64_t l = 0; l < static_cast<int64_t>(sparsity.layers.size()); ++l) {
    const bool syntax = sparsity.method == SparseMethod::syntax;
    train |= syntax && sparsity.applies(l, true);
    dev |= syntax && sparsity.applies(l, false);
  }
  train |= dev && (options.eval_train > 0 || options.selection_part > 0);
  const auto keep = [](std::string& parses, bool needed, const char* option, const char* what) {
    if (!needed) parses.clear();
    if (needed && parses.empty())
      fail<UsageError>("--sparse-method syntax needs the {} sentences' dependency parses: give {} FILE", what, option);
  };
  keep(files.train_parses, train, "--parses", "training");
  keep(files.dev_parses, dev, "--dev-parses", "evaluation");
}

bool trains_sample(const std::string& weights, const std::string& init, const std::string& data,
                   const std::string& train) {
  return weights.empty() && init.empty() && data.empty() && train.empty();
}

bool take_sample(TrainOptions& options, const std::string& sample_root) {
  if (!trains_sample(options.weights, options.init, options.data, options.train)) return false;
  options.weights = sample_root + "/weights/sample";
  options.data = sample_root + "/data/sample";
  if (!options.learning_rate) options.learning_rate = sample_learning_rate;
  if (!options.epochs) options.epochs = sample_epochs;
  return true;
}

int run_training(TrainOptions options, const std::string& sample_root) {
  if (options.threads < 0 || options.threads > most_threads)
    fail<UsageError>("{} threads; it must be from 0 (all cores) to {}", options.threads, most_threads);
  const Context context({.threads = static_cast<int>(options.threads), .products = products_for(options.precision)});
  InterruptHandler signals(/*nothing_to_lose=*/true);
  Progress progress(options.logging_steps);
  if (take_sample(options, sample_root)) {
    progress.message(fmt::format(
        "no --weights and no --data: training the bundled sample, a small model on made-up film reviews, with\na "
        "learning rate of {:g} and {:g} epochs (--learning-rate and --epochs change them).\n"
        "For the real ones: weights/fetch DIR and data/fetch DIR, then --weights DIR --data DIR",
        *options.learning_rate, *options.epochs));
  } else if (options.weights.empty() && options.init.empty()) {
    fail<UsageError>(
        "no weights: give --weights FILE|DIR (weights/fetch downloads DistilBERT), or --init distilbert-base "
        "to start from random ones");
  }
  DataFiles files = find_data_files(options);
  require_data_sets(files, options);
  options.train = files.train;
  options.dev = files.dev;

  std::future<std::string> weights_sha256;  // while everything is read and tokenised
  if (options.init.empty())
    weights_sha256 = std::async(std::launch::async, sha256_file, locate_weights(options.weights));
  LabelledSets sets = read_labelled_sets(files.train, files.dev, options);
  const Dataset& dev_set = sets.dev;

  const LoadModelOptions load{.vocab = options.vocab,
                              .dtype = dtype_for(options.precision),
                              .num_labels = sets.classes,
                              .num_labels_from = !options.label_names.empty() ? "--label-names has"
                                                 : options.num_labels > 0     ? "--num-labels is"
                                                                              : "the data has",
                              .label_names = sets.label_names,
                              .dropout = options.dropout,
                              .seed = options.seed,
                              .new_head = options.new_head,
                              .to_train = true};
  LoadedModel loaded = options.init.empty() ? load_model(options.weights, load) : new_model(options.init, load);
  for (const auto& notes : {sets.notes, loaded.notes})
    for (const std::string& note : notes) progress.message(note);
  const DistilBertConfig& config = loaded.model.config();
  const SparsityConfig of_weights = config.sparsity;
  SparsityConfig sparsity = make_sparsity(options.sparse, config.layers, options.seed);
  if (options.init.empty()) take_over_spans(progress, loaded.model, sparsity, options.sparse.span_init.has_value());
  loaded.model.set_sparsity(sparsity);
  report_lost_sparsity(progress, of_weights, config.sparsity);
  keep_needed_parses(files, options, config.sparsity);
  report_unused_parses(progress, options, files);
  options.parses = files.train_parses;
  options.dev_parses = files.dev_parses;

  std::optional<WordPiece> tokenizer = load_tokenizer(loaded, options.max_length);
  for (const std::string& note : tokenizer->notes()) progress.message(note);
  if (options.max_length == 0)
    options.max_length = options.init.empty() ? saved_max_length(loaded) : config.max_positions;
  const auto max_length = static_cast<int>(options.max_length);
  TokenizedDataset train(sets.train, *tokenizer, max_length, files.train_parses, context.threads());
  TokenizedDataset dev(dev_set, *tokenizer, max_length, files.dev_parses, context.threads());
  tokenizer.reset();  // many megabytes that the training has no use for
  sets.train = {};
  report_truncation(progress, "training", train, options.max_length);
  report_truncation(progress, "dev", dev, options.max_length);
  keep_first(train, options.max_train_samples);
  keep_first(dev, options.max_eval_samples);
  std::optional<TokenizedDataset> selection;
  if (options.selection_part > 0) {
    const CarvedExamples parts = carve(options.seed, train.size(), options.selection_part);
    selection = train.subset(parts.carved);
    train = train.subset(parts.rest);
    progress.message(fmt::format("{} training sentences are set aside to choose the best evaluation on, not trained on",
                                 selection->size()));
  }

  if (!options.resume) signals.keep_from_now_on();  // a directory that is half made would be in the way of the next try
  OutputDirectory output(options.output, run_file_names(), options.resume, options.overwrite, inputs_of(loaded, files));
  if (output.replaces_run())
    progress.message(fmt::format(
        "{}: the run that is there stays as it is until this one has a model; what this one writes is in {} till then",
        output.root(), output.path()));
  int64_t parameters = 0;
  for (const Parameter& p : loaded.model.parameters()) parameters += p.tensor.numel();
  // Two checkpoints (maybe there already) and a third being written, each with the model and two moments, and the
  // model. A checkpoint within an accumulation has the pending gradients, too.
  const auto bytes = static_cast<uint64_t>(parameters) * size_of(dtype_for(options.precision));
  const uint64_t there = output.holds_run() ? std::min<size_t>(2, list_checkpoints(output.path()).size()) : 0;
  const uint64_t pending = options.gradient_accumulation_steps > 1 ? 1 : 0;
  // Logs, predictions and the tokenizer's files are small beside the model's, or small.
  const uint64_t others = std::min(uint64_t{16} << 20, (uint64_t{256} << 10) + bytes);
  output.require_free_space((10 - 3 * there + pending) * bytes + others);
  progress.message(
      fmt::format("{} parameters, {} layers of {}; {} training and {} dev sentences; sparsity {}; "
                  "{}, {} thread{}",
                  parameters, config.layers, config.dim, train.size(), dev.size(), config.sparsity.describe(),
                  describe_products(loaded.model.dtype(), context.products()), context.threads(),
                  context.threads() == 1 ? "" : "s"));
  Session session({options, loaded, std::move(weights_sha256), dev_set, train, dev, selection ? &*selection : nullptr,
                   context, output, progress});
  return session.go(signals);
}

}  // namespace crisp