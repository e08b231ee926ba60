// The product of linear layers, forward and backward: what linear() and feed_forward() are made of.
#pragma once

#include "engine/context.h"
#include "engine/tensor.h"

namespace crisp {

/// y = x weight' + bias; with `gelu_out`, that receives gelu(y). x [.., in], weight [out, in], bias [out] or empty.
void linear_forward(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y,
                    const Tensor& gelu_out);

/// From the gradient d [.., out] at the product: that of x [.., in], to `dx` if it is not empty; and those of weight
/// and bias, where somebody needs them.
void linear_backward_input(const Context& context, const Tensor& d, const Tensor& weight, const GradTarget& dx);
void linear_backward_parameters(const Context& context, const Tensor& d, const Tensor& x, const Tensor& weight,
                                const Tensor& bias);

/// d = the gradient at gelu's input `before` [.., out], given dy at its output; and that of the bias that was added
/// last before gelu, where somebody needs it. d may be dy.
void gelu_backward(const Context& context, const Tensor& before, const Tensor& dy, const Tensor& d, const Tensor& bias);

}  // namespace crisp
