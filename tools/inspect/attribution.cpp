#include "tools/inspect/attribution.h"

#include <algorithm>
#include <numeric>

#include "engine/fail.h"
#include "tools/inspect/quadrature.h"

namespace crisp::inspect {
namespace {

// The same model over other words, with a copy of all else as constants.
DistilBert over_other_words(const DistilBert& model, int64_t count) {
  DistilBertConfig config = model.config();
  config.vocab_size = count;
  DistilBert copy(config, model.dtype(), model.device());
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    const Tensor& from = model.parameters()[i].tensor;
    if (!from.same_as(model.word_embeddings())) copy.parameters()[i].tensor.set_requires_grad(false).copy_from(from);
  }
  return copy;
}

std::vector<double> embeddings_of(const DistilBert& model, const std::vector<int32_t>& ids) {
  const Tensor table = model.word_embeddings().detach();
  const int64_t dim = table.dim(1);
  std::vector<double> all;
  for (const int32_t id : ids) {
    if (id != AttributionInput::no_word && (id < 0 || id >= table.dim(0)))
      fail("attribute: the model has no word {}: there are {}", id, table.dim(0));
    const std::vector<double> one = id == AttributionInput::no_word ? std::vector<double>(static_cast<size_t>(dim))
                                                                    : table.view_rows(id, 1).to_vector();
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

// The line from the baseline's embeddings, at 0, to the text's, at 1. Its points are texts of a model whose words are
// the tokens of these points, in their order: each token has an embedding of its own, and a gradient.
class Path {
 public:
  Path(const Context& context, const DistilBert& model, const AttributionInput& input, const Objective& objective,
       const AttributionOptions& options)
      : context_(context),
        objective_(objective),
        mode_(options.mode),
        tree_distances_(input.tree_distances),
        from_(embeddings_of(model, input.baseline)),
        to_(embeddings_of(model, input.ids)),
        tokens_(std::ssize(input.ids)),
        // Dropout goes by the row of a batch, so that in training all points are the first sequence of theirs.
        most_(mode_.training ? 1 : std::max<int64_t>(1, options.batch_rows / tokens_)),
        model_(over_other_words(model, most_ * tokens_)) {}

  const std::vector<double>& from() const { return from_; }
  const std::vector<double>& to() const { return to_; }

  // f, summed over the points; and to `sum` are added their gradients, each with its weight. At most most() points.
  double add(std::span<const double> points, std::span<const double> weights, std::vector<double>& sum) const;
  int64_t most() const { return most_; }

 private:
  Batch batch(int64_t count) const;

  const Context& context_;
  const Objective objective_;
  const ForwardMode mode_;
  const std::span<const int32_t> tree_distances_;
  const std::vector<double> from_, to_;  // [tokens, dim]
  const int64_t tokens_, most_;
  const DistilBert model_;
};

Batch Path::batch(int64_t count) const {
  std::vector<int32_t> ids(static_cast<size_t>(count * tokens_)), positions, offsets, distances;
  std::iota(ids.begin(), ids.end(), 0);
  for (int64_t i = 0; i < count * tokens_; ++i) positions.push_back(static_cast<int32_t>(i % tokens_));
  for (int64_t i = 0; i <= count; ++i) offsets.push_back(static_cast<int32_t>(i * tokens_));
  for (int64_t i = 0; i < count; ++i) distances.insert(distances.end(), tree_distances_.begin(), tree_distances_.end());
  return {ids,
          positions,
          offsets,
          {.device = model_.device(), .tree_distances = distances, .heads = model_.config().heads}};
}

double Path::add(std::span<const double> points, std::span<const double> weights, std::vector<double>& sum) const {
  const Tensor& words = model_.word_embeddings();
  std::vector<double> values(static_cast<size_t>(words.numel()));
  for (size_t p = 0; p < points.size(); ++p)
    for (size_t e = 0; e < to_.size(); ++e)
      values[p * to_.size() + e] = points[p] == 1 ? to_[e] : from_[e] + points[p] * (to_[e] - from_[e]);
  words.copy_from(Tensor::from(values, words.shape(), model_.dtype()));
  words.clear_grad();
  Tape tape(context_);
  const Tensor total = objective_.of(tape, model_.forward(tape, batch(std::ssize(points)), mode_));
  const double value = total.item();
  tape.backward(total);
  const std::vector<double> gradient = words.grad().to_vector();
  for (size_t p = 0; p < points.size(); ++p)
    for (size_t e = 0; e < to_.size(); ++e) sum[e] += weights[p] * gradient[p * to_.size() + e];
  return value;
}

std::vector<double> mean_gradient(const Path& path, int64_t steps, const AttributionOptions& options) {
  const Quadrature rule = gauss_legendre(steps);
  std::vector<double> sum(path.to().size());
  for (int64_t done = 0; done < steps;) {
    const auto first = static_cast<size_t>(done), count = static_cast<size_t>(std::min(path.most(), steps - done));
    path.add(std::span(rule.points).subspan(first, count), std::span(rule.weights).subspan(first, count), sum);
    done += static_cast<int64_t>(count);
    if (options.progress) options.progress(done, steps);
  }
  return sum;
}

}  // namespace

double Attribution::error(const Trial& trial) const {
  const double missing = std::abs(trial.sum - difference());
  return missing == 0 ? 0 : missing / std::abs(difference());
}

std::vector<double> Attribution::by_token(const std::vector<double>& elements) const {
  std::vector<double> sums(static_cast<size_t>(tokens));
  for (size_t e = 0; e < elements.size(); ++e) sums[e / static_cast<size_t>(dim)] += elements[e];
  return sums;
}

Attribution attribute(const Context& context, const DistilBert& model, const AttributionInput& input,
                      const Objective& objective, const AttributionOptions& options) {
  if (input.ids.empty() || input.ids.size() != input.baseline.size())
    fail("attribute: {} tokens, of a baseline {}", input.ids.size(), input.baseline.size());
  const Path path(context, model, input, objective, options);
  Attribution a;
  a.tokens = std::ssize(input.ids);
  a.dim = model.config().dim;
  a.tolerance = options.tolerance;
  a.embeddings = path.to();
  a.baseline = path.from();
  const size_t elements = a.embeddings.size();
  a.gradient.resize(elements);
  const double start = 0, end = 1, weight = 1;
  std::vector<double> unused(elements);
  a.value = path.add({&end, 1}, {&weight, 1}, a.gradient);
  a.baseline_value = path.add({&start, 1}, {&weight, 1}, unused);
  if (!std::isfinite(a.value) || !std::isfinite(a.baseline_value))
    fail<Diverged>("f is {} at the text and {} at the baseline", a.value, a.baseline_value);
  for (size_t e = 0; e < elements; ++e) a.gradient_x_input.push_back(a.gradient[e] * a.embeddings[e]);
  for (int64_t steps = options.steps > 0 ? options.steps : 8;; steps *= 2) {
    a.integrated_gradients = mean_gradient(path, steps, options);
    double sum = 0;
    for (size_t e = 0; e < elements; ++e) {
      a.integrated_gradients[e] *= a.embeddings[e] - a.baseline[e];
      sum += a.integrated_gradients[e];
    }
    a.trials.push_back({steps, sum});
    if (options.steps > 0 || a.reached() || 2 * steps > options.most_steps) return a;
  }
}

}  // namespace crisp::inspect
