#include "train/inference/evaluate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/tape.h"
#include "train/inference/to_batch.h"

namespace crisp {
namespace {

// Of exp(x - largest).
struct ScaledSum {
  double largest, sum = 0;
};
ScaledSum exponentials(const std::vector<double>& x) {
  ScaledSum result{*std::max_element(x.begin(), x.end())};
  for (const double value : x) result.sum += std::exp(value - result.largest);
  return result;
}

Prediction predict(const double* logits, int64_t n, HeadFunction function) {
  Prediction p;
  p.logits.assign(logits, logits + n);
  p.label = static_cast<int32_t>(std::max_element(logits, logits + n) - logits);
  const ScaledSum sum = exponentials(p.logits);
  for (const double x : p.logits)
    p.scores.push_back(function == HeadFunction::softmax   ? std::exp(x - sum.largest) / sum.sum
                       : function == HeadFunction::sigmoid ? 1 / (1 + std::exp(-x))
                                                           : x);
  return p;
}

double log_sum_exp(const std::vector<double>& x) {
  const ScaledSum sum = exponentials(x);
  return sum.largest + std::log(sum.sum);
}

// Sums over batches, per layer and, but for what is the same for all, per head.
struct Sums {
  std::vector<double> kept, entropy, log_kept;
  double pairs = 0, queries = 0;
  void add(const AttentionStats& stats) {
    pairs += static_cast<double>(stats.pairs);
    queries += static_cast<double>(stats.queries);
    for (const auto& [sum, of_batch] :
         {std::pair(&kept, &stats.kept), std::pair(&entropy, &stats.entropy), std::pair(&log_kept, &stats.log_kept)}) {
      const std::vector<double> values = of_batch->to_vector();
      sum->resize(values.size());
      std::transform(sum->begin(), sum->end(), values.begin(), sum->begin(), std::plus());
    }
  }
};

LayerSparsity summarise(const Sums& sums, double requested) {
  LayerSparsity layer{.requested = requested};
  double kept = 0, pairs = 0;
  for (size_t h = 0; h < sums.kept.size(); ++h) {
    kept += sums.kept[h];
    pairs += sums.pairs;
    layer.head_effective.push_back(sums.pairs > 0 ? 1 - sums.kept[h] / sums.pairs : 0);
    layer.head_entropy.push_back(sums.entropy[h] / sums.queries);
    const bool choice = sums.log_kept[h] > 0;
    layer.head_normalised_entropy.push_back(choice ? sums.entropy[h] / sums.log_kept[h]
                                                   : std::numeric_limits<double>::quiet_NaN());
  }
  layer.effective = pairs > 0 ? 1 - kept / pairs : 0;
  return layer;
}

}  // namespace

Evaluation evaluate(const DistilBert& model, const TokenizedDataset& data, int batch_size, Statistics statistics,
                    const EvaluationHooks& hooks, const Context& context) {
  Evaluation result;
  result.total = data.size();
  const HeadFunction function = model.config().head_function();
  const bool labelled = data.labelled() && function == HeadFunction::softmax;
  const std::vector<int32_t> order = sequential_order(data.size());
  std::vector<Sums> sums(statistics == Statistics::attention ? static_cast<size_t>(model.config().layers) : 0);
  Tape tape(context, Tape::Mode::inference);
  if (const auto& f = hooks.before_each_operation) tape.before_each([&f](const Op&) { f(); });
  PackedBatch batch;
  std::vector<AttentionStats> stats;
  std::vector<int64_t> lengths;
  double loss = 0;
  for (int64_t b = 0; b < batch_count(data.size(), batch_size); ++b) {
    fill_batch(data, batch_slice(order, batch_size, b), batch);
    stats.clear();
    const ForwardMode mode{.stats = sums.empty() ? nullptr : &stats};
    const Tensor logits = model.forward(tape, to_batch(batch, model, Labels::without), mode);
    const std::vector<double> values = logits.to_vector();  // waits for the pass; the statistics are there then
    for (size_t l = 0; l < sums.size(); ++l) sums[l].add(stats[l]);
    const int64_t classes = logits.dim(1);
    for (int64_t i = 0; i < batch.batch_size(); ++i) {
      lengths.push_back(batch.offsets[static_cast<size_t>(i + 1)] - batch.offsets[static_cast<size_t>(i)]);
      const double* of_example = values.data() + i * classes;
      const double* bad = std::find_if(of_example, of_example + classes, [](double x) { return !std::isfinite(x); });
      if (bad != of_example + classes)
        throw NotFinite(std::ssize(result.predictions),
                        std::isnan(*bad) ? "nan" : "infinite");  // a NaN's sign depends on the kernels
      Prediction p = predict(of_example, classes, function);
      if (labelled) {
        const int32_t label = batch.labels[static_cast<size_t>(i)];
        result.correct += p.label == label;
        loss += log_sum_exp(p.logits) - p.logits.at(static_cast<size_t>(label));
      }
      result.predictions.push_back(std::move(p));
    }
    if (hooks.after_batch) hooks.after_batch(std::ssize(result.predictions));
  }
  result.loss = labelled ? loss / static_cast<double>(data.size()) : std::numeric_limits<double>::quiet_NaN();
  if (!sums.empty()) {
    std::vector<double> kept;
    for (const Sums& of_layer : sums) kept.push_back(std::accumulate(of_layer.kept.begin(), of_layer.kept.end(), 0.0));
    result.flops = forward_flops(model.config(), lengths, kept);
  }
  const SparsityConfig& sparsity = model.config().sparsity;
  for (size_t l = 0; l < sums.size(); ++l)
    result.layers.push_back(summarise(sums[l], sparsity.requested_at_evaluation(static_cast<int64_t>(l))));
  result.spans = model.spans();
  for (const auto& layer : result.spans) {
    auto& windows = result.span_windows.emplace_back();
    for (const double z : layer) windows.push_back(hard_window(z, sparsity.span_ramp.value()));
  }
  return result;
}

}  // namespace crisp
