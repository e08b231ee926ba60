// What attention() is made of besides the kernel: its checks and its samples.
#pragma once

#include <vector>

#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op attention_op;

std::vector<Sample> attention_samples();

/// Where q, k and v stand: in tensors of their own, or as columns beside each other.
struct AttentionOperands {
  enum class Form : uint8_t { apart, kv, qkv };  // k | v in one, or q | k | v

  Form form;
  Tensor q, k, v;  // of those that are beside each other, each is all of them

  int64_t dim() const { return form == Form::qkv ? q.dim(1) / 3 : q.dim(1); }
  /// The first column of keys and of values.
  int64_t k_column() const { return form == Form::qkv ? dim() : 0; }
  int64_t v_column() const { return form == Form::apart ? 0 : k_column() + dim(); }
  /// Each tensor once; the others are empty.
  Tensor own_k() const { return form == Form::qkv ? Tensor() : k; }
  Tensor own_v() const { return form == Form::apart ? v : Tensor(); }
};

/// Checks everything that attention() is called with, once, so that the kernels can trust it. Throws Error with the
/// operands.
void check_attention(const Tape& tape, const AttentionOperands& operands, const Segments& segments,
                     const AttentionRule& rule);

}  // namespace crisp
