// Exercise 3: softmax and cross-entropy, in one.
//
//   p[i, c] = e^(logits[i, c]) / sum over d of e^(logits[i, d])      in each row i
//   loss    = mean over rows of -ln p[i, labels[i]]
//
// e^1000 is infinite in floating point, and the logits may well be that large. The same number added to all logits of a
// row changes no p: choose it so that no exponential overflows. Take the logarithm, too, of something that cannot be 0.
//
// To derive: d(loss)/d(logits[i, c]). With ln p written out, most of it cancels, and what is left is short: it needs p,
// the label and the number of rows. It is the same for the label and for the other classes but for one term.
#include "exercise.h"

#include <algorithm>
#include <cmath>

// logits [rows, classes], labels [rows] in 0 .. classes - 1 -> probabilities [rows, classes], loss [1]
void softmax_cross_entropy_forward(int rows, int classes, Input logits, Labels labels, Output probabilities,
                                   Output loss) {
  // TODO: probabilities[i * classes + c] = ..., loss[0] = ...
}

// probabilities as the forward function has written them; dloss is the gradient that arrives, a number. Accumulates
// into dlogits [rows, classes].
void softmax_cross_entropy_backward(int rows, int classes, Input probabilities, Labels labels, double dloss,
                                    Output dlogits) {
  // TODO: dlogits[i * classes + c] += ...
}
