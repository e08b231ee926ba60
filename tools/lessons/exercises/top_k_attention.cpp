// Exercise 6: attention that keeps the largest scores only (Gupta et al., arXiv 2106.06899; Crisp Attention,
// arXiv 2508.06016).
//
// As exercise 5, but each query keeps `kept` of its keys, those with the largest scores; of equal scores the earlier
// key wins. The others have the weight 0, and the softmax runs over the kept ones alone, so that their weights add up
// to 1.
//
// To derive: the gradient. Which keys are kept is a choice, and a choice has no derivative: to it, the set is a
// constant. What is then the gradient of a score that was not kept? And where in the backward pass can a dropped key be
// left out, so that work is saved?
#include "exercise.h"

#include <algorithm>
#include <cmath>
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

      // TODO: choose the keys, and write weights[query * keys + j] for each j = 0 .. keys - 1, 0 for those not kept.

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
  // TODO
}
