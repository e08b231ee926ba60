// Attention's weights, for inspection: see engine/ops.h.
#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/ops.h"

namespace crisp {
namespace {

// Values for keys first .. first + head_dim - 1 of each sequence: key first + c has a 1 in column c of every head.
Tensor unit_values(const Integers& offsets, int64_t first, int64_t heads, int64_t head_dim, DType dtype) {
  const int64_t keys = offsets.host.back();
  std::vector<double> values(static_cast<size_t>(keys * heads * head_dim));
  for (size_t s = 0; s + 1 < offsets.host.size(); ++s) {
    const int64_t begin = offsets.host[s], count = offsets.host[s + 1] - begin;
    for (int64_t c = 0; c < std::min(head_dim, count - first); ++c)
      for (int64_t h = 0; h < heads; ++h)
        values[static_cast<size_t>(((begin + first + c) * heads + h) * head_dim + c)] = 1;
  }
  return Tensor::from(values, {keys, heads * head_dim}, dtype);
}

}  // namespace

Tensor attention_weights(const Context& context, const Tensor& q, const Tensor& k, const Segments& segments,
                         const AttentionRule& rule) {
  Tape tape(context, Tape::Mode::inference);
  AttentionRule without_dropout = rule;
  without_dropout.dropout = {};
  const Integers& offsets = segments.kv_offsets();
  int64_t longest = 0;
  for (size_t s = 0; s + 1 < offsets.host.size(); ++s)
    longest = std::max<int64_t>(longest, offsets.host[s + 1] - offsets.host[s]);
  const int64_t heads = rule.heads, head_dim = q.dim(1) / heads, rows = q.dim(0) * heads;
  const Tensor weights = Tensor::zeros({q.dim(0), heads, longest}, q.dtype());
  const auto bytes = static_cast<int64_t>(size_of(q.dtype()));
  for (int64_t first = 0; first < longest; first += head_dim) {
    const Tensor values = unit_values(offsets, first, heads, head_dim, q.dtype()).to(q.device());
    const Tensor part =
        attention(tape, q.detach(), k.detach(), values, segments, without_dropout).to(Device::cpu);  // [rows, head_dim]
    const auto* from = static_cast<const char*>(part.raw());
    auto* to = static_cast<char*>(weights.raw()) + first * bytes;
    const auto count = static_cast<size_t>(std::min(head_dim, longest - first) * bytes);
    for (int64_t r = 0; r < rows; ++r) std::memcpy(to + r * longest * bytes, from + r * head_dim * bytes, count);
  }
  return weights;
}

}  // namespace crisp
