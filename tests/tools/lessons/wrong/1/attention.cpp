// A wrong answer to attention. Forgets the scale in the backward pass.
#include "exercise.h"

#include <algorithm>
#include <cmath>
#include <vector>

// q [batch, queries, dim], k and v [batch, keys, dim] -> weights [batch, queries, keys], y [batch, queries, dim]
void attention_forward(int batch, int queries, int keys, int dim, Input q, Input k, Input v, Output weights, Output y) {
  const double scale = 1 / std::sqrt(dim);
  for (int b = 0; b < batch; ++b) {
    for (int i = 0; i < queries; ++i) {
      const int query = b * queries + i;  // its row in q and y, and in the weights
      std::vector<double> scores(keys);
      double largest = -INFINITY;
      for (int j = 0; j < keys; ++j) {
        for (int c = 0; c < dim; ++c) scores[j] += scale * q[query * dim + c] * k[(b * keys + j) * dim + c];
        largest = std::max(largest, scores[j]);
      }
      double sum = 0;
      for (int j = 0; j < keys; ++j) sum += std::exp(scores[j] - largest);
      for (int j = 0; j < keys; ++j) weights[query * keys + j] = std::exp(scores[j] - largest) / sum;
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
void attention_backward(int batch, int queries, int keys, int dim, Input q, Input k, Input v, Input weights, Input dy,
                        Output dq, Output dk, Output dv) {
  for (int b = 0; b < batch; ++b) {
    for (int i = 0; i < queries; ++i) {
      const int query = b * queries + i;
      std::vector<double> dweights(keys);
      double mean = 0;
      for (int j = 0; j < keys; ++j) {
        for (int c = 0; c < dim; ++c) dweights[j] += dy[query * dim + c] * v[(b * keys + j) * dim + c];
        mean += weights[query * keys + j] * dweights[j];
      }
      for (int j = 0; j < keys; ++j) {
        const double p = weights[query * keys + j];
        const double dscore = p * (dweights[j] - mean);
        for (int c = 0; c < dim; ++c) {
          const int key = (b * keys + j) * dim + c;
          dv[key] += p * dy[query * dim + c];
          dq[query * dim + c] += dscore * k[key];
          dk[key] += dscore * q[query * dim + c];
        }
      }
    }
  }
}
