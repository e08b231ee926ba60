// What attention() is made of besides the kernel: its checks and its samples.
#pragma once

#include <vector>

#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op attention_op;

std::vector<Sample> attention_samples();

/// attention()'s operands and what they make.
struct AttentionOperands {
  const Tensor& q;
  const Tensor& k;
  const Tensor& v;
  const Tensor& q_offsets;
  const Tensor& kv_offsets;
};

/// The offsets in host memory.
struct AttentionOffsets {
  Tensor q, kv;    // [batch + 1]
  Tensor weights;  // [batch + 1]: where each sequence's weights [heads, n_q, n_k] lie
};

/// Checks everything that attention() is called with, once, so that the kernels can trust it. Throws Error with the
/// operands.
AttentionOffsets check_attention(const Tape& tape, const AttentionOperands& x, const AttentionRule& rule);

}  // namespace crisp
