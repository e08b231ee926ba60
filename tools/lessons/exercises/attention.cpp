// Exercise 5: attention (Vaswani et al., arXiv 1706.03762), one head, a batch of sequences.
//
//   scores[i, j]  = scale sum over c of q[i, c] k[j, c],   scale = 1 / sqrt(dim)
//   weights[i, j] = softmax over the keys j of scores[i, j]
//   y[i, c]       = sum over j of weights[i, j] v[j, c]
//
// for each sequence of the batch by itself. There are as many scores as pairs of a query i and a key j.
//
// To derive, backwards through the three lines:
//   dv and dweights from dy          (a product of matrices each: which index disappears?)
//   dscores from dweights            (a row of the softmax at a time: d(p_j)/d(s_l) = p_j ([j = l] - p_l))
//   dq and dk from dscores           (and the scale)
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
      // TODO: dweights and dscores of this query's row (vectors of `keys` numbers), then
      // dv[...] += ..., dq[...] += ..., dk[...] += ...
    }
  }
}
