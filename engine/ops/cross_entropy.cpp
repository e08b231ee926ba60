// Softmax cross-entropy with integer labels, fused: saves the softmax, and its logarithm never sees an underflowed
// probability.
#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op cross_entropy_op;

Tensor cross_entropy(Tape& tape, const Tensor& logits, const Rows& labels) {
  check_same_type(tape, cross_entropy_op, {{"logits", logits}});
  if (logits.rank() != 2 || !labels || labels.shape() != Shape{logits.dim(0)})
    fail_operands(tape, cross_entropy_op, "logits must be [n, classes] and labels [n]", {{"logits", logits}});
  const int64_t rows = logits.dim(0), classes = logits.dim(1);
  if (rows == 0) fail_operands(tape, cross_entropy_op, "there are no rows to average over", {{"logits", logits}});
  check_rows(tape, cross_entropy_op, "labels", labels, classes, logits.device());
  const Tensor loss = tape.output(cross_entropy_op, {}, logits.dtype(), {logits});
  const Tensor losses = Tensor::empty({rows}, logits.dtype(), logits.device());
  const Tensor probabilities = Tensor::empty(logits.shape(), logits.dtype(), logits.device());
  run(tape, logits, [&](auto k) {
    k->cross_entropy(rows, classes, k(logits), k(labels.ids()), k(losses), k(probabilities));
    k->reduce(ReduceOp::mean, 1, rows, 1, k(losses), k(loss));
  });
  const double flops = 5.0 * static_cast<double>(logits.numel());
  tape.record(cross_entropy_op, loss, flops,
              [logits = logits.without_values(), labels, probabilities, rows, classes](const Context& context,
                                                                                       const Tensor& dy) {
                if (const GradTarget d = logits.grad_target())
                  run(context, dy, [&](auto k) {
                    k->cross_entropy_backward(rows, classes, k(probabilities), k(labels.ids()), k(dy), k(d), d.beta);
                  });
              });
  return loss;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> cross_entropy_samples() {
  const auto run = [](Tape& t, std::span<const Tensor> in) { return cross_entropy(t, in[0], in[1]); };
  return {
      {"rows", {sample_input({4, 3}, 1), sample_ids({2, 0, 1, 2})}, run, 1e-6},
      {"one row", {sample_input({1, 5}, 2), sample_ids({3})}, run, 1e-6},
      {"large numbers", {sample_input({2, 3}, 3, -1000), sample_ids({0, 2})}, run, 1e-6},
  };
}

}  // namespace

const Op cross_entropy_op{"cross_entropy", cross_entropy_samples};

}  // namespace crisp
