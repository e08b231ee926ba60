// The LayerNorm of three operations: layer_norm, and those fused with what makes its input.
#pragma once

#include "engine/op.h"

namespace crisp {

/// An operand of the sum that is normalised: [rows, cols], or the rows of a table that are looked up.
struct NormInput {
  Tensor values;
  Rows rows = {};
};

/// The saved tensors, and what draws the masks of dropout again.
struct SavedNorm {
  Tensor weight;  // [cols]
  Tensor z;       // [rows, cols]: what was normalised
  Tensor stats;   // [rows, 2]: mean and inverse standard deviation
  Dropout dropout_r = {}, dropout_y = {};
};

/// y = dropout_y(LayerNorm(z) * weight + bias) with z = x + dropout_r(r), which is x itself where r is empty. Of
/// `saved` it writes the stats, and z where there is an r.
void layer_norm_forward(const Context& context, const NormInput& x, const NormInput& r, const SavedNorm& saved,
                        const Tensor& bias, double epsilon, const Tensor& y);
/// The gradients of x, r, weight and bias, each where it is wanted.
void layer_norm_backward(const Context& context, const SavedNorm& saved, const Tensor& dy, const GradTarget& dx,
                         const GradTarget& dr, const GradTarget& dweight, const GradTarget& dbias);

}  // namespace crisp
