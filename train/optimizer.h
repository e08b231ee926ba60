// AdamW over a model's parameters, with the gradient norm that clipping needs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/kernels.h"
#include "engine/tensor.h"
#include "model/distilbert.h"

namespace crisp {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;  // not on parameters with decays = false
  double span_rate = 1;        // the learning rate of parameters with is_span, as a multiple
  /// Rows without a gradient, of tables that take their gradient as rows, wait until catch_up() asks for them. Whoever
  /// turns this on calls it before each forward pass, for the rows that it reads, and before anything else reads the
  /// parameters.
  bool defer_rows = false;
};

/// Decoupled weight decay, Loshchilov & Hutter, arXiv 1711.05101; the same arithmetic as torch.optim.AdamW, but for
/// first moments too small to matter (engine/cpu/adamw.cpp).
class AdamW {
 public:
  /// The moments start at 0. It keeps handles of its own to the parameters.
  AdamW(std::span<const Parameter> parameters, const AdamWOptions& options);

  /// The 2-norm over all gradients but those of learned spans, in f64. A parameter without gradient counts as 0. Sums
  /// of squares that were formed while a gradient was written are used, the others are computed now.
  double grad_norm() const { return norm(false); }
  /// The same of learned spans alone: in positions, under a penalty of any size, they must not clip the weights.
  double span_grad_norm() const { return norm(true); }

  /// One update with gradients scaled by `gradient_scale` (those of learned spans are not), then forgets the gradients.
  /// A parameter without a gradient is left as it is. Throws Error when a row has a gradient, though it waits: the
  /// forward pass read an old value.
  void step(double learning_rate, double gradient_scale);

  /// Brings these rows (i32, any shape, repeated or not) of a parameter up to date. Nothing to do for a parameter that
  /// takes its gradient as an array.
  void catch_up(const Tensor& parameter, const Tensor& ids);
  /// Brings all parameters and moments up to date. The bits are the same however often and whenever it is called.
  void catch_up();

  /// Whether these are the parameters that it was made for, in that order.
  bool updates(std::span<const Parameter> parameters) const;

  /// Updates done so far.
  int64_t steps() const { return steps_; }
  /// Before parameters and moments are restored: what rows waited for is forgotten.
  void set_steps(int64_t steps);
  /// First and second moments, in the order of the parameters, up to date: what a checkpoint saves.
  std::span<const Tensor> first_moments() {
    catch_up();
    return m_;
  }
  std::span<const Tensor> second_moments() {
    catch_up();
    return v_;
  }

 private:
  // A table whose rows wait.
  struct Table {
    size_t index;                   // of the parameter
    std::vector<AdamWRates> rates;  // of its steps since everything was up to date
    std::vector<int32_t> done;      // how many of them each row has had
  };
  double norm(bool of_spans) const;
  AdamWStep rule(const Parameter& parameter, double learning_rate, double gradient_scale) const;
  void step_rows(Table& table, double learning_rate, double gradient_scale);
  void catch_up(Table& table);
  void replay(Table& table, const Tensor& rows, const Tensor& from, int64_t n);

  std::vector<Parameter> parameters_;
  AdamWOptions options_;
  std::vector<Tensor> m_, v_;
  std::vector<Table> tables_;
  int64_t steps_ = 0;
};

/// What gradients are multiplied with so that their norm is at most max_norm: min(1, max_norm / (norm + 1e-6)), as
/// torch's clip_grad_norm_. 1 when max_norm is 0 (no clipping).
double clip_scale(double norm, double max_norm);

}  // namespace crisp
