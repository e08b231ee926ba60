// Every operation with a gradient, in the order of engine/ops.h. The tests walk this list; add a new operation here.
#include "engine/op.h"

namespace crisp {

extern const Op add_op, sub_op, mul_op, div_op;
extern const Op scale_op, exp_op, log_op, sqrt_op, tanh_op, sigmoid_op, relu_op, erf_op, gelu_op, dropout_op;
extern const Op sum_op, mean_op, max_op;
extern const Op slice_op, concat_op, reshape_op, transpose_op, embedding_op;
extern const Op matmul_op, linear_op, feed_forward_op;
extern const Op softmax_op, log_softmax_op, layer_norm_op, residual_layer_norm_op, embeddings_layer_norm_op;
extern const Op cross_entropy_op;
extern const Op attention_op, absorb_keys_op, absorb_values_op;

std::span<const Op* const> all_ops() {
  static constexpr const Op* list[] = {
      &add_op,
      &sub_op,
      &mul_op,
      &div_op,
      &scale_op,
      &exp_op,
      &log_op,
      &sqrt_op,
      &tanh_op,
      &sigmoid_op,
      &relu_op,
      &erf_op,
      &gelu_op,
      &dropout_op,
      &sum_op,
      &mean_op,
      &max_op,
      &slice_op,
      &concat_op,
      &reshape_op,
      &transpose_op,
      &embedding_op,
      &matmul_op,
      &linear_op,
      &feed_forward_op,
      &softmax_op,
      &log_softmax_op,
      &layer_norm_op,
      &residual_layer_norm_op,
      &embeddings_layer_norm_op,
      &cross_entropy_op,
      &attention_op,
      &absorb_keys_op,
      &absorb_values_op,
  };
  return list;
}

}  // namespace crisp
