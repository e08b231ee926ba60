// Every operation with a gradient, in the order of engine/ops.h. The tests walk this list; add a new operation here.
#include "engine/op.h"

#define CRISP_OPERATIONS(op)                                                                                         \
  op(add) op(sub) op(mul) op(div) op(scale) op(exp) op(log) op(sqrt) op(tanh) op(sigmoid) op(relu) op(erf) op(gelu)  \
      op(dropout) op(sum) op(mean) op(max) op(slice) op(concat) op(reshape) op(transpose) op(embedding) op(matmul)   \
          op(linear) op(linears) op(feed_forward) op(softmax) op(log_softmax) op(layer_norm) op(residual_layer_norm) \
              op(embeddings_layer_norm) op(cross_entropy) op(attention) op(absorb_keys) op(absorb_values)

namespace crisp {

#define CRISP_DECLARE(name) extern const Op name##_op;
CRISP_OPERATIONS(CRISP_DECLARE)

std::span<const Op* const> all_ops() {
#define CRISP_ADDRESS(name) &name##_op,
  static constexpr const Op* list[] = {CRISP_OPERATIONS(CRISP_ADDRESS)};
  return list;
}

}  // namespace crisp
