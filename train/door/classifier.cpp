#include <cmath>
#include <limits>

#include "engine/fail.h"
#include "engine/tape.h"
#include "train/door/state.h"
#include "train/inference/objective.h"
#include "train/inference/to_batch.h"

namespace crisp {
namespace door {
namespace {

PredictorOptions predictor_options(const Classifier::Options& o) {
  return {.threads = o.threads,
          .max_length = o.max_length,
          .precision = o.precision,
          .device = o.device,
          .map_weights = o.map_weights};
}

}  // namespace

Log log_or_nothing(const Log& log) {
  if (log) return [log](const std::string& line) { log(with_names_of_here(line)); };
  return [](const std::string&) {};
}

TokenizedDataset tokenized(const std::vector<std::string>& texts, const WordPiece& tokenizer, int max_length,
                           int threads) {
  if (texts.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    fail<UsageError>("{} texts are more than one call takes", texts.size());
  Dataset data{.path = "the texts", .examples = {}};
  data.examples.reserve(texts.size());
  for (const std::string& text : texts) data.examples.push_back({text, -1});
  return {data, tokenizer, max_length, "", threads};
}

ClassifierState::ClassifierState(const ModelSource& source, const Classifier::Options& options)
    : batch_size_(checked(classifier_settings(), options).eval_batch_size) {
  const PredictorOptions of_predictor = predictor_options(options);
  if (source.files_)
    predictor_.emplace(*source.files_, of_predictor, log_or_nothing(options.log));
  else
    predictor_.emplace(source.path_, of_predictor, log_or_nothing(options.log));
  refuse_parses();
}

ClassifierState::ClassifierState(LoadedModel loaded, const Classifier::Options& options)
    : batch_size_(checked(classifier_settings(), options).eval_batch_size) {
  predictor_.emplace(std::move(loaded), predictor_options(options), log_or_nothing(options.log));
  refuse_parses();
}

void ClassifierState::refuse_parses() const {
  if (predictor_->config().sparsity.needs_parses(false))
    fail<BadInput>("{}: this model's attention follows dependency parses; crisp-predict takes them, the library not",
                   predictor_->loaded().source);
}

Batch ClassifierState::batch(std::string_view text) const {
  const TokenizedDataset data =
      tokenized({std::string(text)}, predictor_->tokenizer(), predictor_->max_length(), /*threads=*/1);
  PackedBatch packed;
  const int32_t first = 0;
  fill_batch(data, std::span(&first, 1), packed);
  return to_batch(packed, predictor_->model(), Labels::without);
}

const Parameter& ClassifierState::parameter(const DistilBert& model, const std::string& name) {
  for (const Parameter& p : model.parameters())
    if (p.name == name) return p;
  fail<UsageError>("the model has no parameter of the name '{}'", name);
}

void ClassifierState::check_label(int32_t label) const {
  const int64_t count = predictor_->config().num_labels;
  if (label < 0 || label >= count) fail<UsageError>("label {}: the model has {} (0 to {})", label, count, count - 1);
}

}  // namespace door

namespace {

NumberArray array_of(const Tensor& tensor) {
  const std::span<const int64_t> dims = tensor.shape().dims();
  return {{dims.begin(), dims.end()}, tensor.detach().to_vector()};
}

// Of what f does not depend on it is 0.
NumberArray gradient_of(const Tensor& tensor) {
  const Tensor grad = tensor.grad();
  if (grad) return array_of(grad);
  const std::span<const int64_t> dims = tensor.shape().dims();
  return {{dims.begin(), dims.end()}, std::vector<double>(static_cast<size_t>(tensor.numel()))};
}

// Each word of a text stands at a position of its own, and the two embeddings are added: so the gradient of position
// i's row is that of the embedding of the word there.
NumberArray gradient_of_tokens(const Parameter& positions, int64_t tokens) {
  NumberArray all = gradient_of(positions.tensor);
  all.values.resize(static_cast<size_t>(tokens * all.shape[1]));
  all.shape[0] = tokens;
  return all;
}

Objective checked_objective(const door::ClassifierState& state, const Classifier::Objective& wanted) {
  if ((wanted.loss_of < 0) == (wanted.logit_of < 0))
    fail<UsageError>("an objective is the loss or the logit of a label from 0 on");
  if (wanted.logit_of >= 0) {
    state.check_label(wanted.logit_of);
    return {.label = {}, .logit = wanted.logit_of};
  }
  state.check_label(wanted.loss_of);
  if (state.predictor().config().head_function() != HeadFunction::softmax)
    fail<UsageError>("this model's head is no softmax over labels, so there is no loss of a label; take a logit");
  return {.label = wanted.loss_of};
}

}  // namespace

Classifier::Classifier(const ModelSource& source, const Options& options)
    : state_(door::naming_settings([&] { return std::make_unique<door::ClassifierState>(source, options); })) {}
Classifier::Classifier(const ModelSource& source) : Classifier(source, Options()) {}
Classifier::Classifier(std::unique_ptr<door::ClassifierState> state) : state_(std::move(state)) {}
Classifier::Classifier(Classifier&&) noexcept = default;
Classifier& Classifier::operator=(Classifier&&) noexcept = default;
Classifier::~Classifier() = default;

int Classifier::num_labels() const { return static_cast<int>(state_->predictor().config().num_labels); }

std::string Classifier::label_name(int32_t label) const {
  state_->check_label(label);
  return state_->predictor().config().label_name(label);
}

Classifier::Head Classifier::head() const {
  switch (state_->predictor().config().head_function()) {
    case HeadFunction::softmax:
      return Head::softmax;
    case HeadFunction::sigmoid:
      return Head::sigmoid;
    case HeadFunction::none:
      break;
  }
  return Head::regression;
}

int Classifier::max_length() const { return state_->predictor().max_length(); }
int Classifier::threads() const { return state_->predictor().context().threads(); }

std::vector<Classifier::Prediction> Classifier::predict(const std::vector<std::string>& texts) const {
  if (texts.empty()) return {};
  const Predictor& predictor = state_->predictor();
  const TokenizedDataset data =
      door::tokenized(texts, predictor.tokenizer(), predictor.max_length(), predictor.context().threads());
  std::vector<Prediction> all;
  all.reserve(texts.size());
  const auto answer = [&] { return predictor.answer(data, state_->batch_size()); };
  for (auto& p : door::naming_settings(answer).predictions) {
    std::string name = predictor.config().label_name(p.label);
    all.push_back({p.label, std::move(name), std::move(p.logits), std::move(p.scores)});
  }
  return all;
}

Classifier::Prediction Classifier::predict_one(std::string_view text) const {
  return std::move(predict(std::vector<std::string>{std::string(text)}).front());
}

std::vector<Classifier::Token> Classifier::tokenize(std::string_view text) const {
  const WordPiece& tokenizer = state_->predictor().tokenizer();
  std::vector<Token> tokens;
  for (const TokenSpan& t : tokenizer.encode_with_offsets(text, max_length()))
    tokens.push_back({t.id, tokenizer.token(t.id), t.begin, t.end});
  return tokens;
}

std::vector<NumberArray> Classifier::attention(std::string_view text) const {
  const Predictor& predictor = state_->predictor();
  const Batch batch = state_->batch(text);
  Tape tape(predictor.context(), Tape::Mode::inference);
  std::vector<Tensor> weights;
  predictor.model().encode(tape, batch, {.weights = &weights});
  std::vector<NumberArray> layers;
  for (const Tensor& w : weights) {  // [queries, heads, keys]
    const auto n = static_cast<size_t>(w.dim(0)), heads = static_cast<size_t>(w.dim(1));
    const std::vector<double> by_query = w.to_vector();
    NumberArray& layer = layers.emplace_back();
    layer.shape = {w.dim(1), w.dim(0), w.dim(2)};
    layer.values.resize(by_query.size());
    for (size_t q = 0; q < n; ++q)
      for (size_t h = 0; h < heads; ++h)
        for (size_t k = 0; k < n; ++k) layer.values[(h * n + q) * n + k] = by_query[(q * heads + h) * n + k];
  }
  return layers;
}

std::vector<NumberArray> Classifier::hidden_states(std::string_view text) const {
  const Predictor& predictor = state_->predictor();
  const Batch batch = state_->batch(text);
  Tape tape(predictor.context(), Tape::Mode::inference);
  std::vector<Tensor> states;
  predictor.model().encode(tape, batch, {.hidden = &states});
  std::vector<NumberArray> layers;
  for (const Tensor& s : states) layers.push_back(array_of(s));
  return layers;
}

std::vector<std::string> Classifier::parameter_names() const {
  std::vector<std::string> names;
  for (const Parameter& p : state_->predictor().model().parameters()) names.push_back(p.name);
  return names;
}

std::vector<int64_t> Classifier::parameter_shape(const std::string& name) const {
  const std::span<const int64_t> dims = state_->parameter(name).tensor.shape().dims();
  return {dims.begin(), dims.end()};
}

NumberArray Classifier::parameter(const std::string& name) const { return array_of(state_->parameter(name).tensor); }

void Classifier::set_parameter(const std::string& name, std::span<const double> values) {
  const Tensor& tensor = state_->parameter(name).tensor;
  if (std::ssize(values) != tensor.numel())
    fail<UsageError>("{} has {} elements, and {} values were given", name, tensor.numel(), values.size());
  tensor.copy_from(Tensor::from(values, tensor.shape(), tensor.dtype()));
  state_->predictor().loaded().weights_path.clear();  // the weights are that file's no more
}

Classifier::Gradients Classifier::gradients(std::string_view text, const Objective& objective,
                                            const std::vector<std::string>& parameters) const {
  const Predictor& predictor = state_->predictor();
  const crisp::Objective wanted = checked_objective(*state_, objective);
  // Of this call alone: other threads ask for theirs at the same time, and what a child of fork() finds is whole.
  const DistilBert model = predictor.model().with_own_gradients();
  for (const Parameter& p : model.parameters()) p.tensor.set_requires_grad(false);
  const auto want = [&](const std::string& name) {
    const Parameter& p = door::ClassifierState::parameter(model, name);
    p.tensor.set_requires_grad();
    return &p;
  };
  const Parameter* const positions = want("distilbert.embeddings.position_embeddings.weight");
  std::vector<const Parameter*> chosen;
  for (const std::string& name : parameters) chosen.push_back(want(name));
  const Batch batch = state_->batch(text);

  Tape tape(predictor.context());
  const Tensor logits = model.forward(tape, batch, {});
  for (const double x : logits.detach().to_vector())
    if (!std::isfinite(x))
      door::naming_settings(
          [&] { explain_not_finite(NotFinite(0, std::isnan(x) ? "nan" : "infinite"), predictor.loaded()); });
  const Tensor value = wanted.of(tape, logits);
  Gradients result{.value = value.item(), .tokens = {}, .parameters = {}};
  tape.backward(value);
  result.tokens = gradient_of_tokens(*positions, batch.words().size());
  for (const Parameter* p : chosen) result.parameters.emplace(p->name, gradient_of(p->tensor));
  return result;
}

}  // namespace crisp
