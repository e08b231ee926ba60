// Solution of exercise 6: attention that keeps the largest scores only (Gupta et al., arXiv 2106.06899).
//
// A score that was not kept has no gradient. So the formulas are those of exercise 5 over the kept keys alone, and all
// others, whose weight is 0, are left out of every loop.
#include "exercise.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

// q [batch, queries, dim], k and v [batch, keys, dim], 1 <= kept <= keys -> weights [batch, queries, keys],
// y [batch, queries, dim]
void top_k_attention_forward(int batch, int queries, int keys, int dim, int kept, Input q, Input k, Input v,
                             Output weights, Output y) {
  const double scale = 1 / std::sqrt(dim);
  for (int b = 0; b < batch; ++b) {
    for (int i = 0; i < queries; ++i) {
      const int query = b * queries + i;  // its row in q and y, and in the weights
      std::vector<double> scores(keys);
      for (int j = 0; j < keys; ++j)
        for (int c = 0; c < dim; ++c) scores[j] += scale * q[query * dim + c] * k[(b * keys + j) * dim + c];

      std::vector<int> order(keys);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int a, int c) { return scores[a] > scores[c]; });
      double sum = 0;
      for (int j = 0; j < keys; ++j) weights[query * keys + j] = 0;
      for (int r = 0; r < kept; ++r) sum += std::exp(scores[order[r]] - scores[order[0]]);
      for (int r = 0; r < kept; ++r)
        weights[query * keys + order[r]] = std::exp(scores[order[r]] - scores[order[0]]) / sum;

      for (int c = 0; c < dim; ++c) {
        double value = 0;
        for (int j = 0; j < keys; ++j) value += weights[query * keys + j] * v[(b * keys + j) * dim + c];
        y[query * dim + c] = value;
      }
    }
  }
}

// weights as the forward function has written them, dy [batch, queries, dim]; accumulates into dq [batch, queries,
// dim], dk and dv [batch, keys, dim].
void top_k_attention_backward(int batch, int queries, int keys, int dim, int kept, Input q, Input k, Input v,
                              Input weights, Input dy, Output dq, Output dk, Output dv) {
  const double scale = 1 / std::sqrt(dim);
  for (int b = 0; b < batch; ++b) {
    for (int i = 0; i < queries; ++i) {
      const int query = b * queries + i;
      std::vector<double> dweights(keys);
      double mean = 0;
      for (int j = 0; j < keys; ++j) {
        if (weights[query * keys + j] == 0) continue;
        for (int c = 0; c < dim; ++c) dweights[j] += dy[query * dim + c] * v[(b * keys + j) * dim + c];
        mean += weights[query * keys + j] * dweights[j];
      }
      for (int j = 0; j < keys; ++j) {
        const double p = weights[query * keys + j];
        if (p == 0) continue;
        const double dscore = p * (dweights[j] - mean);
        for (int c = 0; c < dim; ++c) {
          const int key = (b * keys + j) * dim + c;
          dv[key] += p * dy[query * dim + c];
          dq[query * dim + c] += scale * dscore * k[key];
          dk[key] += scale * dscore * q[query * dim + c];
        }
      }
    }
  }
}
