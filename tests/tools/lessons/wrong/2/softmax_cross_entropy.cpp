// A wrong answer to softmax_cross_entropy. Forgets the label.
#include "exercise.h"

#include <algorithm>
#include <cmath>

// logits [rows, classes], labels [rows] in 0 .. classes - 1 -> probabilities [rows, classes], loss [1]
void softmax_cross_entropy_forward(int rows, int classes, Input logits, Labels labels, Output probabilities,
                                   Output loss) {
  double total = 0;
  for (int i = 0; i < rows; ++i) {
    double largest = logits[i * classes];
    for (int c = 1; c < classes; ++c) largest = std::max(largest, logits[i * classes + c]);
    double sum = 0;
    for (int c = 0; c < classes; ++c) sum += std::exp(logits[i * classes + c] - largest);
    for (int c = 0; c < classes; ++c)
      probabilities[i * classes + c] = std::exp(logits[i * classes + c] - largest) / sum;
    total += std::log(sum) - (logits[i * classes + labels[i]] - largest);
  }
  loss[0] = total / rows;
}

// probabilities as the forward function has written them; dloss is the gradient that arrives, a number. Accumulates
// into dlogits [rows, classes].
void softmax_cross_entropy_backward(int rows, int classes, Input probabilities, Labels labels, double dloss,
                                    Output dlogits) {
  for (int i = 0; i < rows; ++i)
    for (int c = 0; c < classes; ++c) dlogits[i * classes + c] += dloss / rows * probabilities[i * classes + c];
}
