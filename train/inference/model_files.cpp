#include "train/inference/model_files.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>

#include "data/input/file.h"
#include "data/input/text.h"
#include "engine/fail.h"
#include "train/inference/tensor_elements.h"
#include "weights/locate.h"
#include "weights/name_map.h"
#include "weights/published.h"
#include "weights/safetensors.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;

// What the transformers library computes with, whatever config.json says.
constexpr double layer_norm_epsilon_of_transformers = 1e-12;

// The configuration of a file without config.json.
DistilBertConfig config_from_shapes(const SafetensorsFile& file, std::vector<std::string>& notes) {
  const EncoderDims dims = infer_dims(file);
  DistilBertConfig config;
  config.vocab_size = static_cast<int64_t>(dims.vocab_size);
  config.max_positions = static_cast<int64_t>(dims.max_positions);
  config.dim = static_cast<int64_t>(dims.dim);
  config.hidden_dim = static_cast<int64_t>(dims.hidden_dim);
  config.layers = static_cast<int64_t>(dims.n_layers);
  if (config.dim % 64 != 0)
    fail<BadInput>(
        "{}: there is no config.json beside it, and a width of {} is no multiple of 64, so the number of "
        "attention heads cannot be guessed; put the model's config.json beside the file",
        file.path(), config.dim);
  config.heads = config.dim / 64;
  if (dims.num_labels > 0) config.num_labels = static_cast<int64_t>(dims.num_labels);
  notes.push_back(fmt::format("{} has no config.json beside it: taking {} heads of 64 and the usual dropout rates",
                              file.path(), config.heads));
  return config;
}

// The config.json that lies beside weights; there may be none.
std::string config_beside(const std::string& weights) {
  return (fs::path(weights).parent_path() / "config.json").string();
}

DistilBertConfig read_config(const std::string& path, const InputFiles* input = nullptr) {
  return parse_config(read_input(path, input_limit::settings, input), path);
}

DistilBertConfig config_of(const SafetensorsFile& file, std::vector<std::string>& notes,
                           const InputFiles* input = nullptr) {
  const std::string path = config_beside(file.path());
  return input_exists(path, input) ? read_config(path, input) : config_from_shapes(file, notes);
}

DistilBertConfig new_config(const std::string& what) {
  return what == "distilbert-base" ? DistilBertConfig{} : read_config(what);
}

// `labels`: of the head; 0: as many as the configuration has.
void apply_options(DistilBertConfig& config, int64_t labels, const LoadModelOptions& options) {
  const bool others = labels > 0 && labels != config.num_labels;
  if (others) config.num_labels = labels;
  if (others || options.new_head) config.label_names.clear();  // nobody knows the names
  if (!options.label_names.empty()) config.label_names = options.label_names;
  if (options.dropout) config.dropout = config.attention_dropout = config.classifier_dropout = *options.dropout;
}

// What the trainer can do with a configuration's head.
void prepare_to_train(DistilBertConfig& config, const LoadModelOptions& options, const std::string& path) {
  if (options.new_head) config.problem_type = ProblemType::unset;  // that of the head that is replaced
  if (!options.to_train) return;
  if (config.problem_type == ProblemType::multi_label || config.problem_type == ProblemType::regression)
    fail<BadInput>(
        "{}: its problem_type is {}, which cannot be trained here yet, only single_label_classification; "
        "--new-head makes a new classification head",
        path, config.problem_type == ProblemType::regression ? "regression" : "multi_label_classification");
  config.problem_type = ProblemType::single_label;
}

std::vector<WantedTensor> wanted_tensors(const DistilBert& model, bool with_head) {
  std::vector<WantedTensor> wanted;
  for (const Parameter& p : model.parameters())
    if (!p.is_span && (with_head || !p.in_head)) wanted.push_back({p.name, file_shape(p.tensor.shape()), p.in_head});
  return wanted;
}

// The plan without the file's head, if it has one.
LoadPlan plan_with_new_head(const SafetensorsFile& file, const DistilBert& model) {
  LoadPlan plan = plan_load(file, wanted_tensors(model, false));
  std::erase_if(plan.unused, [&](const std::string& name) {
    const bool in_head = name.starts_with("pre_classifier.") || name.starts_with("classifier.");
    if (in_head) plan.left_out.push_back({name, "a new head was asked for"});
    return in_head;
  });
  for (const Parameter& p : model.parameters())
    if (p.in_head) plan.initialised_head.push_back(p.name);
  return plan;
}

void add_tokenizer(LoadedModel& loaded, TokenizerFiles tokenizer) {
  loaded.files.insert(loaded.files.end(), tokenizer.files.begin(), tokenizer.files.end());
  loaded.notes.insert(loaded.notes.end(), tokenizer.notes.begin(), tokenizer.notes.end());
  loaded.tokenizer = std::move(tokenizer);
}

// f(parameter, where the file has it) for all that the file has.
template <class F>
void for_each_source(const LoadPlan& plan, const DistilBert& model, F&& f) {
  for (const Parameter& p : model.parameters())
    if (const auto source = plan.sources.find(p.name); source != plan.sources.end()) f(p, source->second);
}

// The parameters that lie in a file as a model of this type wants them. (What does not fit is for plan_load to refuse.)
ParameterSource mapped_parameters(const SafetensorsFile& file, DType dtype) {
  std::map<std::string, const TensorEntry*> entries;
  std::vector<TensorUse> uses = tensor_uses(file);
  for (size_t i = 0; i < uses.size(); ++i)
    if (uses[i].kind == TensorUse::Kind::parameter) entries[std::move(uses[i].text)] = &file.tensors()[i];
  return [&file, dtype, entries = std::move(entries)](const std::string& name, const Shape& shape) -> Tensor {
    const auto found = entries.find(name);
    if (found == entries.end()) return {};
    const TensorEntry& entry = *found->second;
    if (entry.dtype != safe_dtype(dtype) || entry.shape != file_shape(shape)) return {};
    const std::shared_ptr<std::byte> elements = file.mapped(entry);
    if (!elements || reinterpret_cast<uintptr_t>(elements.get()) % size_of(dtype) != 0) return {};
    return Tensor::from_blob(elements, shape, dtype);
  };
}

// `input`: what holds the files in place of the file system, or nullptr.
LoadedModel load_files(const std::string& file_or_directory, const LoadModelOptions& options, const InputFiles* input) {
  const std::string path = input ? file_or_directory : locate_weights(file_or_directory);
  const SafetensorsFile file = SafetensorsFile::open(InputFile(path, input));
  const fs::path directory = fs::path(path).parent_path();
  std::vector<std::string> notes, files{path};
  if (!input_exists(file_or_directory, input))
    notes.push_back(fmt::format("{}: taken from Hugging Face's cache, {}", file_or_directory, directory.string()));

  const std::string config_path = config_beside(path);
  const bool has_config = input_exists(config_path, input);
  if (has_config) files.push_back(config_path);
  DistilBertConfig config = config_of(file, notes, input);
  if (config.layer_norm_epsilon != layer_norm_epsilon_of_transformers)
    notes.push_back(
        fmt::format("{}: layer_norm_eps is {:g}; it is kept here, but transformers computes every DistilBERT with "
                    "{:g}, so its results will differ slightly from these",
                    config_path, config.layer_norm_epsilon, layer_norm_epsilon_of_transformers));
  prepare_to_train(config, options, config_path);
  // A head in the file decides the number of labels; config.json may not mention it.
  const EncoderDims dims = infer_dims(file);
  int64_t labels_of_head = options.num_labels;
  if (dims.num_labels > 0 && !options.new_head) {
    const auto labels = static_cast<int64_t>(dims.num_labels);
    if (!config.other_head.empty())
      fail<BadInput>("{}: the classification head is that of {}, not of a sequence classifier{}", config_path,
                     quote(config.other_head), options.to_train ? "; --new-head makes one" : "");
    if (config.label_names.empty() && labels != config.num_labels && has_config)
      notes.push_back(
          fmt::format("{} does not say how many labels there are: {}, as many as the classification head of "
                      "{} has (transformers takes 2 and refuses it)",
                      config_path, labels, path));
    if (!config.label_names.empty() && labels != config.num_labels)
      fail<BadInput>("{} names {} labels, but the classification head of {} has {}: they do not belong together",
                     config_path, config.num_labels, path, labels);
    if (options.num_labels > labels)
      fail<BadInput>("{}: its classification head has {} labels, but {} {}; --new-head makes a new one", path, labels,
                     options.num_labels_from, options.num_labels);
    if (options.num_labels > 0 && options.num_labels < labels)
      notes.push_back(fmt::format("the classification head of {} has {} labels, but {} {}; --new-head makes one of {}",
                                  path, labels, options.num_labels_from, options.num_labels, options.num_labels));
    labels_of_head = labels;
  }
  apply_options(config, labels_of_head, options);

  const DType dtype = options.dtype.value_or(dims.f64 ? DType::f64 : DType::f32);
  const bool map = options.map_weights && !input && options.device == Device::cpu;
  LoadedModel loaded{
      .model = DistilBert(config, dtype, options.device, map ? mapped_parameters(file, dtype) : ParameterSource()),
      .source = file_or_directory,
      .weights_path = input ? "" : path,
      .files = std::move(files),
      .notes = std::move(notes)};
  const LoadPlan plan =
      options.new_head ? plan_with_new_head(file, loaded.model) : plan_load(file, wanted_tensors(loaded.model, true));
  if (options.head_required && !plan.initialised_head.empty())
    fail<BadInput>("{}: there is no classification head in it (pre_classifier, classifier); train one with crisp-train",
                   path);
  for_each_source(plan, loaded.model, [&](const Parameter& p, const LoadPlan::Source& source) {
    const bool there = map && !source.add_row0 && p.tensor.raw() == file.bytes(*source.tensor).data();
    if (there) return;
    write_elements(p.tensor, [&](auto elements) { read_source(file, source, elements); });
  });
  loaded.new_head = !plan.initialised_head.empty();
  if (loaded.new_head) loaded.model.initialise_head(options.seed);
  for (std::string& note : load_notes(plan)) loaded.notes.push_back(std::move(note));
  add_tokenizer(loaded, input ? read_tokenizer("", "", input)
                              : read_tokenizer(directory.empty() ? "." : directory.string(), options.vocab));
  return loaded;
}

}  // namespace

LoadedModel load_model(const std::string& file_or_directory, const LoadModelOptions& options) {
  return read_published(file_or_directory, [&] { return load_files(file_or_directory, options, nullptr); });
}

LoadedModel load_model(const InputFiles& input, const LoadModelOptions& options) {
  return load_files("model.safetensors", options, &input);
}

LoadedModel new_model(const std::string& what, const LoadModelOptions& options) {
  DistilBertConfig config = new_config(what);
  const bool named = what == "distilbert-base";
  TokenizerFiles tokenizer;
  if (!named || !options.vocab.empty())
    tokenizer =
        read_tokenizer((named ? fs::path(options.vocab) : fs::path(what)).parent_path().string(), options.vocab);
  if (tokenizer.path.empty()) fail<UsageError>("--init {} needs a vocabulary: add --vocab FILE", what);
  config.vocab_size = tokenizer.tokenizer().size();
  prepare_to_train(config, options, what);
  apply_options(config, options.num_labels, options);
  LoadedModel made{.model = DistilBert(config, options.dtype.value_or(DType::f32), options.device),
                   .source = what,
                   .new_head = true};
  if (!named) made.files.push_back(what);
  add_tokenizer(made, std::move(tokenizer));
  made.model.initialise(options.seed);
  made.notes.push_back(fmt::format("every weight is new, drawn from N(0, {})", config.initializer_range));
  return made;
}

DistilBertConfig config_without_weights(const std::string& weights, const std::string& init) {
  if (!init.empty()) return new_config(init);
  const SafetensorsFile file = SafetensorsFile::open(locate_weights(weights));
  std::vector<std::string> ignored;
  DistilBertConfig config = config_of(file, ignored);
  if (const uint64_t labels = infer_dims(file).num_labels; labels > 0) config.num_labels = static_cast<int64_t>(labels);
  return config;
}

LoadPlan plan_model(const SafetensorsFile& file) {
  std::vector<std::string> ignored;
  DistilBertConfig config = config_of(file, ignored);
  apply_options(config, static_cast<int64_t>(infer_dims(file).num_labels), {});
  return plan_load(file, wanted_tensors(DistilBert(config, DType::f32), true));
}

std::string describe_broken_weights(const LoadedModel& loaded) {
  if (loaded.weights_path.empty()) {
    for (const Parameter& p : loaded.model.parameters())
      for (const double x : p.tensor.detach().to_vector())
        if (!std::isfinite(x)) return fmt::format("the weights' {} holds {}", printable(p.name), x);
    return "";
  }
  const SafetensorsFile file = SafetensorsFile::open(loaded.weights_path);
  const LoadPlan plan = plan_load(file, wanted_tensors(loaded.model, !loaded.new_head));
  const double largest =
      loaded.model.dtype() == DType::f32 ? std::numeric_limits<float>::max() : std::numeric_limits<double>::max();
  std::string broken;
  for_each_source(plan, loaded.model, [&](const Parameter&, const LoadPlan::Source& source) {
    if (!broken.empty()) return;
    std::vector<double> values(source.tensor->numel());
    file.read(*source.tensor, values);
    const auto bad = std::find_if(values.begin(), values.end(), [&](double x) { return !(std::abs(x) <= largest); });
    if (bad != values.end())
      broken =
          fmt::format("the weights' {} holds {}", printable(source.tensor->name),
                      std::isfinite(*bad) ? fmt::format("{:g}, too large for f32", *bad) : fmt::format("{}", *bad));
  });
  return broken;
}

WordPiece load_tokenizer(const LoadedModel& loaded, int64_t max_length) {
  const DistilBertConfig& config = loaded.model.config();
  const TokenizerFiles& files = loaded.tokenizer;
  if (files.path.empty())
    fail<UsageError>("there is no vocab.txt or tokenizer.json beside {}; give --vocab FILE", loaded.source);
  if (max_length > config.max_positions)
    fail<UsageError>("--max-length {} is more than the model's {} positions; give --max-length {} or less", max_length,
                     config.max_positions, config.max_positions);
  WordPiece tokenizer = files.tokenizer();
  for (const AddedToken& token : tokenizer.added())
    if (token.stated_id >= config.vocab_size && static_cast<size_t>(token.stated_id) >= files.vocabulary.count)
      fail<BadInput>("{}: the added token {} has the id {}, but the model has embeddings for {}", files.path,
                     quote(token.content), token.stated_id, config.vocab_size);
  // Blank lines at the end of a vocab.txt have ids, but no text has them.
  if (tokenizer.largest_id() >= config.vocab_size)
    fail<BadInput>("{} has {} tokens, but the model has embeddings for {}: this is not its vocabulary", files.path,
                   tokenizer.largest_id() + 1, config.vocab_size);
  return tokenizer;
}

std::string note_lost_sparsity(const SparsityConfig& of_weights, const SparsityConfig& now) {
  if (of_weights.dense() || !now.dense()) return "";
  return fmt::format(
      "the weights are of a model trained with sparsity {}, but this run is dense; --sparsity and "
      "--sparse-method would go on as before",
      of_weights.describe());
}

int saved_max_length(const LoadedModel& loaded) {
  const auto positions = static_cast<double>(loaded.model.config().max_positions);
  return static_cast<int>(std::min(loaded.tokenizer.model_max_length, positions));
}

std::vector<std::string> model_file_names() {
  std::vector<std::string> names{"model.safetensors", "config.json"};
  for (std::string& name : tokenizer_file_names()) names.push_back(std::move(name));
  return names;
}

}  // namespace crisp
