// AdamW over a model's parameters, with the gradient norm that clipping needs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/tensor.h"
#include "model/distilbert.h"

namespace crisp {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;  // not on parameters with decays = false
};

/// Decoupled weight decay, Loshchilov & Hutter, arXiv 1711.05101; the same arithmetic as torch.optim.AdamW.
class AdamW {
 public:
  /// The moments start at 0. `parameters` must outlive the optimizer.
  AdamW(std::span<const Parameter> parameters, const AdamWOptions& options);

  /// The 2-norm over all gradients, in f64. A parameter without gradient counts as 0.
  double grad_norm() const;

  /// One update with gradients scaled by `gradient_scale`, then forgets the gradients. A parameter without a gradient
  /// is left as it is.
  void step(double learning_rate, double gradient_scale);

  /// Updates done so far.
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }
  /// First and second moments, in the order of the parameters: what a checkpoint saves.
  std::span<const Tensor> first_moments() const { return m_; }
  std::span<const Tensor> second_moments() const { return v_; }

 private:
  std::span<const Parameter> parameters_;
  AdamWOptions options_;
  std::vector<Tensor> m_, v_;
  int64_t steps_ = 0;
};

/// What gradients are multiplied with so that their norm is at most max_norm: min(1, max_norm / (norm + 1e-6)), as
/// torch's clip_grad_norm_. 1 when max_norm is 0 (no clipping).
double clip_scale(double norm, double max_norm);

}  // namespace crisp
