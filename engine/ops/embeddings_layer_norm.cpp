// The sum of word and position embeddings and its LayerNorm, fused. Saves what layer_norm does, and the plans.
#include "engine/ops.h"
#include "engine/ops/layer_norm.h"
#include "engine/ops/rows.h"

namespace crisp {

extern const Op embeddings_layer_norm_op;

Tensor embeddings_layer_norm(Tape& tape, const Tensor& words, const Tensor& positions, const Rows& word_rows,
                             const Rows& position_rows, const Tensor& weight, const Tensor& bias, double epsilon,
                             const Dropout& dropout) {
  const Op& op = embeddings_layer_norm_op;
  const auto complain = [&](const char* problem) {
    fail_operands(tape, op, problem, {{"words", words}, {"positions", positions}, {"weight", weight}, {"bias", bias}});
  };
  check_same_type(tape, op, {{"words", words}, {"positions", positions}, {"weight", weight}, {"bias", bias}});
  if (!words || !positions || !weight || !bias) complain("all operands are needed");
  if (words.rank() != 2 || positions.rank() != 2 || words.dim(1) != positions.dim(1))
    complain("words and positions must be [n, dim] with one dim");
  const int64_t cols = words.dim(1);
  if (weight.shape() != Shape{cols} || bias.shape() != Shape{cols}) complain("weight and bias must be [dim]");
  check_rows(tape, op, "ids", word_rows, words.dim(0), words.device());
  check_rows(tape, op, "position_ids", position_rows, positions.dim(0), words.device());
  if (word_rows.shape().rank() != 1 || word_rows.shape() != position_rows.shape())
    complain("words and positions must both be looked up for [total]");
  if (!(dropout.p >= 0 && dropout.p < 1)) complain("the dropout probability must lie in [0, 1)");

  const int64_t rows = word_rows.size();
  const Tensor y = tape.output(op, {rows, cols}, words.dtype(), {words, positions, weight, bias});
  const SavedNorm saved{.weight = weight,
                        .z = Tensor::empty(y.shape(), y.dtype(), y.device()),
                        .stats = Tensor::empty({rows, 2}, y.dtype(), y.device()),
                        .dropout_y = dropout};
  layer_norm_forward(tape.context(), {words, word_rows}, {positions, position_rows}, saved, bias, epsilon, y);
  const double flops = 9.0 * static_cast<double>(rows * cols);
  tape.record(op, y, flops,
              [words = words.without_values(), positions = positions.without_values(), word_rows, position_rows, saved,
               bias = bias.without_values()](const Context& context, const Tensor& dy) {
                const bool tables = words.requires_grad() || positions.requires_grad();
                const Tensor dz = tables ? Tensor::empty(dy.shape(), dy.dtype(), dy.device()) : Tensor();
                {
                  const GradTargets parameters(saved.weight, bias);
                  layer_norm_backward(context, saved, dy, GradTarget(dz, 0), {}, parameters[0], parameters[1]);
                  parameters.add_up(context);
                }
                if (!tables) return;
                add_row_gradients(context, words, word_rows, dz);
                add_row_gradients(context, positions, position_rows, dz);
              });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> embeddings_layer_norm_samples() {
  const auto run = [](double p) {
    return [p](Tape& tape, std::span<const Tensor> in) {
      const Dropout dropout{p, {.seed = 3, .stream = Stream::dropout}};
      return embeddings_layer_norm(tape, in[0], in[1], in[4], in[5], in[2], in[3], 1e-12, dropout);
    };
  };
  const auto inputs = [](std::initializer_list<int32_t> ids, std::initializer_list<int32_t> positions) {
    return std::vector<Tensor>{sample_input({6, 5}, 1), sample_input({4, 5}, 2), sample_input({5}, 3, 1, 0.3),
                               sample_input({5}, 4),    sample_ids(ids),         sample_ids(positions)};
  };
  // Id 2 occurs three times: its row of the gradient is a sum.
  const std::vector<Tensor> repeated = inputs({2, 0, 2, 5, 2}, {0, 1, 2, 0, 1});
  return {
      {"repeated ids", repeated, run(0), 1e-6},
      {"with dropout", repeated, run(0.3), 1e-6},
      {"one token", inputs({4}, {0}), run(0), 1e-6},
      {"no tokens", inputs({}, {}), run(0), 1e-6},
  };
}

}  // namespace

const Op embeddings_layer_norm_op{"embeddings_layer_norm", embeddings_layer_norm_samples};

}  // namespace crisp
