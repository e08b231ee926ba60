// What attention() is made of besides the kernel: its checks and its samples.
#pragma once

#include <vector>

#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op attention_op;

std::vector<Sample> attention_samples();

/// Checks everything that attention() is called with, once, so that the kernels can trust it. Throws Error with the
/// operands.
void check_attention(const Tape& tape, const Tensor& q, const Tensor& k, const Tensor& v, const Segments& segments,
                     const AttentionRule& rule);

}  // namespace crisp
