// The product of linear layers, forward and backward: what linear() and feed_forward() are made of.
#pragma once

#include "engine/tensor.h"

namespace crisp {

/// y = x weight' + bias; with `gelu_out`, that receives gelu(y). x [.., in], weight [out, in], bias [out] or empty.
void linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y, const Tensor& gelu_out);

/// Adds to the gradients of x, weight and bias what follows from the gradient d [.., out] at the product; where nobody
/// needs one it is not computed. The values of x and weight are read, those of bias are not.
void linear_backward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& d);

/// The gradient at gelu's input `before`, given the one at its output.
Tensor gelu_gradient(const Tensor& before, const Tensor& dy);

}  // namespace crisp
