// Attention as its documentation says it, in f64, one score after the other: the oracle for the fused operation.
#pragma once

#include <vector>

#include "engine/ops.h"

namespace crisp::test {

struct NaiveAttention {
  std::vector<double> out, dq, dk, dv, dspan;
  std::vector<double> weights;                  // before dropout, of all (sequence, head, query, key)
  std::vector<bool> allowed;                    // what the selection and chance leave, likewise
  std::vector<double> kept, entropy, log_kept;  // per head
};

/// The result for q, k and v of any floating-point type, and the gradients of sum(out * dout), computed from the values
/// that the tensors have.
NaiveAttention naive_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                               const Tensor& kv_offsets, const AttentionRule& rule, const std::vector<double>& dout);

}  // namespace crisp::test
