#include "train/optimizer.h"

#include <algorithm>
#include <cmath>

#include "engine/ops.h"

namespace crisp {

AdamW::AdamW(std::span<const Parameter> parameters, const AdamWOptions& options)
    : parameters_(parameters), options_(options) {
  for (const Parameter& p : parameters_) {
    m_.push_back(Tensor::zeros(p.tensor.shape(), p.tensor.dtype(), p.tensor.device()));
    v_.push_back(Tensor::zeros(p.tensor.shape(), p.tensor.dtype(), p.tensor.device()));
  }
}

double AdamW::grad_norm() const {
  double sum = 0;
  for (const Parameter& p : parameters_)
    if (const Tensor gradient = p.tensor.grad()) sum += sum_squares(gradient);
  return std::sqrt(sum);
}

void AdamW::step(double learning_rate, double gradient_scale) {
  ++steps_;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = parameters_[i];
    const Tensor gradient = p.tensor.grad();
    if (!gradient) continue;
    const AdamWStep update{.learning_rate = learning_rate,
                           .beta1 = options_.beta1,
                           .beta2 = options_.beta2,
                           .epsilon = options_.epsilon,
                           .weight_decay = p.decays ? options_.weight_decay : 0,
                           .gradient_scale = gradient_scale,
                           .step = steps_};
    adamw(p.tensor, gradient, m_[i], v_[i], update);
    p.tensor.clear_grad();
  }
}

double clip_scale(double norm, double max_norm) { return max_norm > 0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1.0; }

}  // namespace crisp
