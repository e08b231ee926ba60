#include "train/run/run.h"

#include <algorithm>
#include <filesystem>
#include <future>
#include <optional>

#include "data/batch.h"
#include "data/dataset.h"
#include "data/input/file.h"
#include "data/input/text.h"
#include "data/labels.h"
#include "engine/context.h"
#include "engine/fail.h"
#include "model/methods/method.h"
#include "train/durable/interrupt.h"
#include "train/durable/output_directory.h"
#include "train/durable/sha256.h"
#include "train/inference/limits.h"
#include "train/inference/model_files.h"
#include "train/inference/precision.h"
#include "train/run/progress.h"
#include "train/run/session.h"
#include "weights/locate.h"
#include "weights/name_map.h"
#include "weights/safetensors.h"

namespace crisp {
namespace {

// The sentences of a run and what their labels mean.
struct LabelledSets {
  Dataset train, dev;
  int classes = 2;                       // at least 2
  std::vector<std::string> label_names;  // of the classes; empty where labels are numbers and nobody names them
  std::vector<std::string> notes;        // for the user
};

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

// Reads both files alike. The names of the classes: options.label_names, else those of the weights' classification head
// where it is kept and the data's words are among them, else the training set's words in the order of their bytes.
// Throws BadInput where a set has no labels, where one has numbers and the other has words, and where the data's words
// are not those of the weights' head; UsageError where options.num_labels is not the number of the names.
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

void report_unused_parses(Progress& progress, const TrainOptions& options, const DataFiles& needed) {
  const auto report = [&](const std::string& given, const std::string& used, const char* option) {
    if (!given.empty() && used.empty()) progress.message("{} is not used: no layer looks at these parses", option);
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
  if (const std::string note = note_lost_sparsity(of_weights, now); !note.empty()) progress.message(note);
}

// Learned degrees are weights: they go on where this run has the same ones.
void take_over_spans(Progress& progress, const DistilBert& model, SparsityConfig& now, bool init_given) {
  const SparsityConfig& before = model.config().sparsity;
  const std::vector<std::vector<double>> spans = model.spans();
  if (spans.empty() || !about(now.method).learns_spans) return;
  bool same = !init_given;
  for (int64_t l = 0; l < model.config().layers; ++l) same &= now.has_spans(l) == before.has_spans(l);
  if (same) now.spans = spans;
  progress.message(same ? "the weights' learned degrees go on; --span-init would start them afresh"
                        : fmt::format("the weights' learned degrees are not taken over, {}: all start at {:g}",
                                      init_given ? "as --span-init was given" : "as they are of other layers",
                                      now.span_init.value()));
}

void report_truncation(Progress& progress, const char* what, const TokenizedDataset& data, int64_t max_length) {
  if (data.truncated() > 0)
    progress.message("{} of {} {} sentences are longer than {} tokens and were cut (--max-length)", data.truncated(),
                     data.size(), what, max_length);
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
  const bool dev = sparsity.needs_parses(false);
  const bool train = sparsity.needs_parses(true) || (dev && (options.eval_train > 0 || options.selection_part > 0));
  const auto keep = [&](std::string& parses, bool needed, const char* option, const char* what) {
    if (!needed) parses.clear();
    if (needed && parses.empty())
      fail<UsageError>("--sparse-method {} needs the {} sentences' dependency parses: give {} FILE",
                       method_name(sparsity.method), what, option);
  };
  keep(files.train_parses, train, "--parses", "training");
  keep(files.dev_parses, dev, "--dev-parses", "evaluation");
}

TrainingSplit split_training(const TrainOptions& options, int32_t n) {
  const auto most = options.max_train_samples > 0 ? std::min<int64_t>(options.max_train_samples, n) : n;
  const auto first = static_cast<int32_t>(most);
  if (options.selection_part == 0) return {sequential_order(first), {}};
  CarvedExamples parts = carve(options.seed, first, options.selection_part);
  return {std::move(parts.rest), std::move(parts.carved)};
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
  const Device device = device_for(options.device);
  const Context context(
      {.threads = static_cast<int>(options.threads), .products = products_for(options.precision, device)});
  InterruptHandler signals(/*nothing_to_lose=*/true);
  Progress progress(options.logging_steps);
  if (const std::string choice = describe_choice(options.device); !choice.empty()) progress.message("{}", choice);
  if (take_sample(options, sample_root)) {
    progress.message(
        "no --weights and no --data: training the bundled sample, a small model on made-up film reviews, with\na "
        "learning rate of {:g} and {:g} epochs (--learning-rate and --epochs change them).\n"
        "For the real ones: weights/fetch DIR and data/fetch DIR, then --weights DIR --data DIR",
        *options.learning_rate, *options.epochs);
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
                              .device = device,
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
  keep_first(dev, options.max_eval_samples);
  std::optional<TokenizedDataset> selection;
  const TrainingSplit split = split_training(options, train.size());
  if (options.selection_part > 0) selection = train.subset(split.set_aside);
  if (std::ssize(split.trained_on) < train.size()) train = train.subset(split.trained_on);
  if (selection) {
    progress.message("{} training sentences are set aside to choose the best evaluation on, not trained on",
                     selection->size());
  }

  if (!options.resume) signals.keep_from_now_on();  // a directory that is half made would be in the way of the next try
  int64_t parameters = 0;
  for (const Parameter& p : loaded.model.parameters()) parameters += p.tensor.numel();
  const auto require_room = [&](const OutputDirectory& in) {
    // Two checkpoints (maybe there already) and a third being written, each with the model and two moments, and the
    // model. A checkpoint within an accumulation has the pending gradients, too.
    const auto bytes = static_cast<uint64_t>(parameters) * size_of(dtype_for(options.precision));
    const uint64_t there = in.holds_run() ? std::min<size_t>(2, list_checkpoints(in.path()).size()) : 0;
    const uint64_t pending = options.gradient_accumulation_steps > 1 ? 1 : 0;
    // Logs, predictions and the tokenizer's files are small beside the model's, or small.
    const uint64_t others = std::min(uint64_t{16} << 20, (uint64_t{256} << 10) + bytes);
    const uint64_t needed = (10 - 3 * there + pending) * bytes + others;
    require_free_space(in.root(), needed - std::min(needed, in.bytes_to_go()), "the run");
  };
  OutputDirectory output(options.output, run_file_names(), options.resume, options.overwrite, inputs_of(loaded, files),
                         require_room);
  if (output.replaces_run())
    progress.message(
        "{}: the run that is there stays as it is until this one has a model; what this one writes is in {} till then",
        output.root(), output.path());
  progress.message(
      "{} parameters, {} layers of {}; {} training and {} dev sentences; sparsity {}; "
      "{}, {} thread{}",
      parameters, config.layers, config.dim, train.size(), dev.size(), config.sparsity.describe(),
      describe_products(loaded.model.dtype(), context.products(), device), context.threads(),
      context.threads() == 1 ? "" : "s");
  Session session({options, loaded, std::move(weights_sha256), dev_set, train, dev, selection ? &*selection : nullptr,
                   context, output, progress});
  return session.go(signals);
}

}  // namespace crisp