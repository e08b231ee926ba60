#include "tests/engine/naive_attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/engine/helpers.h"

namespace crisp::test {
namespace {

using Row = std::vector<double>;
using Mask = std::vector<bool>;

size_t at(int64_t i) { return static_cast<size_t>(i); }

// Positions of a row by score, the largest (or smallest) first and the earlier of equal ones; protected ones before
// all.
std::vector<size_t> ranked(const Row& scores, const Mask& guarded, bool smallest_first = false) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (guarded[a] || guarded[b]) return guarded[a] && !guarded[b];
    return smallest_first ? scores[a] < scores[b] : scores[a] > scores[b];
  });
  return order;
}

double quantile(std::vector<Row> rows, double q) {
  Row all;
  for (const Row& row : rows) all.insert(all.end(), row.begin(), row.end());
  std::sort(all.begin(), all.end());
  const double place = q * static_cast<double>(all.size() - 1);
  const auto below = static_cast<size_t>(place);
  const double next = all[std::min(below + 1, all.size() - 1)];
  return all[below] + (place - static_cast<double>(below)) * (next - all[below]);
}

double gate_of(const AttentionRule& rule, double span, size_t i, size_t j) {
  const double distance = std::abs(static_cast<double>(i) - static_cast<double>(j));
  return std::clamp((rule.span_ramp + span - distance) / rule.span_ramp, 0.0, 1.0);
}

// What multiplies exp(score) or the like, from the scores that are kept.
Row normalised(Normaliser normaliser, const Row& scores, const Mask& keep, const Row& gate) {
  Row sorted, weights(scores.size(), 0.0);
  for (size_t j = 0; j < scores.size(); ++j)
    if (keep[j]) sorted.push_back(scores[j]);
  std::sort(sorted.rbegin(), sorted.rend());
  if (normaliser == Normaliser::softmax) {
    double sum = 0;
    for (size_t j = 0; j < scores.size(); ++j)
      if (keep[j]) sum += weights[j] = gate[j] * std::exp(scores[j] - sorted[0]);
    for (double& w : weights) w /= sum;
    return weights;
  }
  // Algorithm 1 of arXiv 1602.02068, algorithm 2 of arXiv 1905.05702: the threshold from the k largest, for the largest
  // k that it keeps.
  double sum = 0, squares = 0, threshold = 0;
  for (size_t k = 1; k <= sorted.size(); ++k) {
    const double z = normaliser == Normaliser::sparsemax ? sorted[k - 1] : sorted[k - 1] / 2,
                 n = static_cast<double>(k);
    sum += z;
    squares += z * z;
    const double mean = sum / n, spread = squares - n * mean * mean;
    const double t = normaliser == Normaliser::sparsemax ? (sum - 1) / n : mean - std::sqrt((1 - spread) / n);
    if (t < z) threshold = t;  // false for NaN: no threshold reaches that far
  }
  for (size_t j = 0; j < scores.size(); ++j) {
    if (!keep[j]) continue;
    const double over = (normaliser == Normaliser::sparsemax ? scores[j] : scores[j] / 2) - threshold;
    if (over > 0) weights[j] = normaliser == Normaliser::sparsemax ? over : over * over;
  }
  return weights;
}

// The gradient at the scores: the product with the whole Jacobian of the normaliser.
Row scores_gradient(Normaliser normaliser, const Row& w, const Row& dw) {
  Row g(w.size()), result(w.size());
  for (size_t j = 0; j < w.size(); ++j)
    g[j] = normaliser == Normaliser::softmax ? w[j] : normaliser == Normaliser::entmax15 ? std::sqrt(w[j]) : w[j] > 0;
  const double sum = std::accumulate(g.begin(), g.end(), 0.0);
  for (size_t i = 0; i < w.size(); ++i)
    for (size_t j = 0; j < w.size(); ++j) result[i] += dw[j] * ((i == j ? g[i] : 0) - g[i] * g[j] / sum);
  return result;
}

}  // namespace

NaiveAttention naive_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                               const Tensor& kv_offsets, const AttentionRule& rule, const std::vector<double>& dout) {
  const Row Q = q.to_vector(), K = k.to_vector(), V = v.to_vector();
  const int64_t dim = q.dim(1), width = dim / rule.heads, total_q = q.dim(0);
  const auto heads = at(rule.heads);
  NaiveAttention r{.out = Row(Q.size()),
                   .dq = Row(Q.size()),
                   .dk = Row(K.size()),
                   .dv = Row(V.size()),
                   .dspan = Row(heads),
                   .weights = {},
                   .allowed = {},
                   .kept = Row(heads),
                   .entropy = Row(heads),
                   .log_kept = Row(heads)};
  const Row spans = rule.span ? rule.span.to_vector() : Row(heads);
  uint64_t index = 0;  // of the weight
  const std::vector<int32_t> of_queries = i32_values(q_offsets), of_keys = i32_values(kv_offsets);
  for (size_t s = 0; s + 1 < of_queries.size(); ++s) {
    const int32_t *qo = of_queries.data() + s, *ko = of_keys.data() + s;
    const auto n_q = at(qo[1] - qo[0]), n_k = at(ko[1] - ko[0]);
    for (size_t h = 0; h < heads; ++h) {
      const auto place = [&](int32_t first, size_t row, int64_t c) {
        return (at(first) + row) * at(dim) + h * at(width) + at(c);
      };
      std::vector<Row> scores(n_q, Row(n_k));
      for (size_t i = 0; i < n_q; ++i)
        for (size_t j = 0; j < n_k; ++j)
          for (int64_t c = 0; c < width; ++c)
            scores[i][j] += rule.scale * Q[place(qo[0], i, c)] * K[place(ko[0], j, c)];
      const uint64_t first_weight = index;
      for (size_t i = 0; i < n_q; ++i, index += n_k) {
        const Row& z = scores[i];
        const auto best = [&](const Mask& among) {
          size_t found = n_k;
          for (size_t j = 0; j < n_k; ++j)
            if (among[j] && (found == n_k || z[j] > z[found])) found = j;
          return found;
        };
        Mask guarded(n_k), keep(n_k, true);
        const Mask everything(n_k, true);
        for (size_t j = 0; j < n_k; ++j)
          guarded[j] =
              (rule.keep_first && j == 0) || (rule.keep_last && j + 1 == n_k) || (rule.keep_diagonal && i == j);
        const size_t count = at(top_k_count(rule.sparsity, static_cast<int64_t>(n_k)));
        Row gate(n_k, 1.0);
        if (rule.span) {
          for (size_t j = 0; j < n_k; ++j) keep[j] = (gate[j] = gate_of(rule, spans[h], i, j)) > 0;
          if (std::count(keep.begin(), keep.end(), true) == 0) {
            const size_t nearest = std::min(i, n_k - 1);
            keep[nearest] = true;
            gate[nearest] = 1;
          }
        }
        switch (rule.selection) {
          case Selection::all:
            break;
          case Selection::listed: {
            keep.assign(n_k, false);
            const bool per_head = rule.lists.by_head();
            const auto* list = rule.lists.starts().host.data() + (per_head ? at(total_q) * h : 0) + at(qo[0]) + i;
            for (int32_t t = list[0]; t < list[1]; ++t) keep[at(rule.lists.keys().host[static_cast<size_t>(t)])] = true;
            break;
          }
          case Selection::top_k_row:
          case Selection::bottom_k: {
            keep.assign(n_k, false);
            const auto order = ranked(z, guarded, rule.selection == Selection::bottom_k);
            for (size_t t = 0; t < count; ++t) keep[order[t]] = true;
            break;
          }
          case Selection::top_k_ties: {
            const size_t last = ranked(z, guarded)[count - 1];
            for (size_t j = 0; j < n_k; ++j) keep[j] = guarded[j] || (!guarded[last] && z[j] >= z[last]);
            break;
          }
          case Selection::percentile_head:
          case Selection::threshold: {
            const double limit =
                rule.selection == Selection::threshold ? rule.threshold : quantile(scores, rule.sparsity);
            for (size_t j = 0; j < n_k; ++j) keep[j] = guarded[j] || z[j] >= limit;
            if (std::count(keep.begin(), keep.end(), true) == 0) keep[best(everything)] = true;
            break;
          }
          case Selection::drop_top: {
            const auto order = ranked(z, Mask(n_k));
            for (size_t t = 0; t + count < n_k; ++t)
              keep[order[t]] = guarded[order[t]] || keeps(random_word(rule.drop_key, index + order[t]), rule.drop_p);
            break;
          }
        }
        if (rule.key_dropout.p > 0) {
          const Mask before = keep;
          for (size_t j = 0; j < n_k; ++j) {
            const uint64_t element = (rule.key_dropout.columns ? first_weight : index) + j;
            keep[j] =
                before[j] && (guarded[j] || keeps(random_word(rule.key_dropout.key, element), rule.key_dropout.p));
          }
          if (std::count(keep.begin(), keep.end(), true) == 0) keep[best(before)] = true;
        }
        const Row w = normalised(rule.normaliser, z, keep, gate);
        r.log_kept[h] += std::log(static_cast<double>(std::count(keep.begin(), keep.end(), true)));
        Row dropped(n_k), dw(n_k);
        Mask has_part = keep;
        if (rule.normaliser != Normaliser::softmax)
          for (size_t j = 0; j < n_k; ++j) has_part[j] = w[j] > 0;
        const auto parts = static_cast<size_t>(std::count(has_part.begin(), has_part.end(), true));
        size_t before = 0;  // keys that have a part
        for (size_t j = 0; j < n_k; ++j) {
          r.kept[h] += has_part[j];
          if (w[j] > 0) r.entropy[h] -= w[j] * std::log(w[j]);
          const uint64_t element = index + (2 * parts > n_k ? j : before);
          before += has_part[j];
          const bool stays = keeps(random_word(rule.dropout.key, element), rule.dropout.p);
          const double factor = stays ? 1 / (1 - rule.dropout.p) : 0;
          dropped[j] = w[j] * factor;
          for (int64_t c = 0; c < width; ++c) {
            r.out[place(qo[0], i, c)] += dropped[j] * V[place(ko[0], j, c)];
            r.dv[place(ko[0], j, c)] += dropped[j] * dout[place(qo[0], i, c)];
            dw[j] += factor * dout[place(qo[0], i, c)] * V[place(ko[0], j, c)];
          }
        }
        const Row dz = scores_gradient(rule.normaliser, w, dw);
        for (size_t j = 0; j < n_k; ++j) {
          for (int64_t c = 0; c < width; ++c) {
            r.dq[place(qo[0], i, c)] += rule.scale * dz[j] * K[place(ko[0], j, c)];
            r.dk[place(ko[0], j, c)] += rule.scale * dz[j] * Q[place(qo[0], i, c)];
          }
          if (rule.span && gate[j] > 0 && gate[j] < 1) r.dspan[h] += dz[j] / gate[j] / rule.span_ramp;
        }
        r.weights.insert(r.weights.end(), w.begin(), w.end());
        r.allowed.insert(r.allowed.end(), keep.begin(), keep.end());
      }
    }
  }
  return r;
}

}  // namespace crisp::test
