// A wrong answer to softmax_cross_entropy. The softmax runs over the rows of a column.
#include "exercise.h"

#include <algorithm>
#include <cmath>

// logits [rows, classes], labels [rows] in 0 .. classes - 1 -> probabilities [rows, classes], loss [1]
void softmax_cross_entropy_forward(int rows, int classes, Input logits, Labels labels, Output probabilities,
                                   Output loss) {
  for (int c = 0; c < classes; ++c) {
    double largest = logits[c];
    for (int i = 1; i < rows; ++i) largest = std::max(largest, logits[i * classes + c]);
    double sum = 0;
    for (int i = 0; i < rows; ++i) sum += std::exp(logits[i * classes + c] - largest);
    for (int i = 0; i < rows; ++i) probabilities[i * classes + c] = std::exp(logits[i * classes + c] - largest) / sum;
  }
  double total = 0;
  for (int i = 0; i < rows; ++i) total -= std::log(probabilities[i * classes + labels[i]]);
  loss[0] = total / rows;
}

// probabilities as the forward function has written them; dloss is the gradient that arrives, a number. Accumulates
// into dlogits [rows, classes].
void softmax_cross_entropy_backward(int rows, int classes, Input probabilities, Labels labels, double dloss,
                                    Output dlogits) {
  for (int i = 0; i < rows; ++i)
    for (int c = 0; c < classes; ++c)
      dlogits[i * classes + c] += dloss / rows * (probabilities[i * classes + c] - (c == labels[i] ? 1 : 0));
}
