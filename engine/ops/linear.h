// The product of linear layers, forward and backward: what linear(), linears() and feed_forward() are made of.
#pragma once

#include "engine/context.h"
#include "engine/tensor.h"

namespace crisp {

/// Some columns of a tensor [.., cols].
struct Columns {
  Columns(const Tensor& of, int64_t from, int64_t n) : tensor(of), first(from), count(n) {}
  Columns(const Tensor& all) : Columns(all, 0, all.shape().last()) {}  // NOLINT: a tensor is all of its columns
  int64_t row() const { return tensor.shape().last(); }

  const Tensor& tensor;
  int64_t first, count;
};

/// y = x weight' + bias; with `gelu_out`, that receives gelu(y). x [.., in], weight [out, in], bias [out] or empty.
void linear_forward(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias, const Columns& y,
                    const Tensor& gelu_out);

/// From the gradient d [.., out] at the product: that of x [.., in]; and those of weight and bias. Each where its place
/// is not empty.
void linear_backward_input(const Context& context, const Columns& d, const Tensor& weight, const GradTarget& dx);
void linear_backward_parameters(const Context& context, const Columns& d, const Tensor& x, const GradTarget& dweight,
                                const GradTarget& dbias);

/// d = the gradient at gelu's input `before` [.., out], given dy at its output; that of the bias that was added last
/// before gelu, and gelu(before), each where its place is not empty. d may be dy, and `after` may be `before`.
void gelu_backward(const Context& context, const Tensor& before, const Tensor& dy, const Tensor& d, const Tensor& after,
                   const GradTarget& dbias);

}  // namespace crisp
