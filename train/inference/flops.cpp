#include "train/inference/flops.h"

#include "engine/fail.h"

namespace crisp {

ForwardFlops forward_flops(const DistilBertConfig& config, std::span<const int64_t> lengths,
                           std::span<const double> kept) {
  if (static_cast<int64_t>(kept.size()) != config.layers)
    fail("forward_flops: kept pairs of {} layers, but the model has {}", kept.size(), config.layers);
  if (lengths.empty()) return {};
  double tokens = 0, pairs = 0, kept_pairs = 0;  // pairs of one head of one layer; kept_pairs of all
  for (const int64_t length : lengths) {
    const auto n = static_cast<double>(length);
    tokens += n;
    pairs += n * n;
  }
  for (const double of_layer : kept) kept_pairs += of_layer;
  const auto sentences = static_cast<double>(lengths.size()), layers = static_cast<double>(config.layers),
             dim = static_cast<double>(config.dim), hidden = static_cast<double>(config.hidden_dim),
             labels = static_cast<double>(config.num_labels);
  const double of_pair = 2 * static_cast<double>(config.head_dim());  // in one of the two products of one head
  const double dense = layers * static_cast<double>(config.heads) * pairs * of_pair;  // one product
  const double projections = 2 * tokens * layers * (4 * dim * dim + 2 * dim * hidden);
  const double head = 2 * sentences * (dim * dim + dim * labels);
  ForwardFlops flops;
  flops.attention = 2 * kept_pairs * of_pair / sentences;
  flops.attention_dense = 2 * dense / sentences;
  flops.attention_scored = (dense + kept_pairs * of_pair) / sentences;
  flops.total = (projections + head) / sentences + flops.attention;
  return flops;
}

}  // namespace crisp
