#include "train/trainer.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {
namespace {

int64_t steps_of_epoch(const TrainOptions& options, int64_t examples) {
  const int64_t batches = batch_count(examples, static_cast<int>(options.batch_size));
  return (batches + options.gradient_accumulation_steps - 1) / options.gradient_accumulation_steps;
}

// Without the sign of a NaN, which is chance.
double printable(double x) { return std::isnan(x) ? std::abs(x) : x; }

Schedule schedule_of(const TrainOptions& options, int64_t examples) {
  const int64_t total = total_steps_of(options, examples);
  return {options.schedule, total, warmup_steps_for(total, options.warmup_ratio, options.warmup_steps)};
}

}  // namespace

int64_t total_steps_of(const TrainOptions& options, int64_t examples) {
  if (options.max_steps > 0) return options.max_steps;
  return static_cast<int64_t>(std::ceil(options.epochs * static_cast<double>(steps_of_epoch(options, examples))));
}

Trainer::Trainer(DistilBert& model, const TokenizedDataset& data, const TrainOptions& options)
    : model_(model),
      data_(data),
      options_(options),
      batches_per_epoch_(batch_count(data.size(), static_cast<int>(options.batch_size))),
      steps_per_epoch_(steps_of_epoch(options, data.size())),
      schedule_(schedule_of(options, data.size())),
      optimizer_(model.parameters(), {options.beta1, options.beta2, options.epsilon, options.weight_decay}) {
  if (data.size() == 0) fail<UsageError>("there is nothing to train on: the training set is empty");
  if (!data.labelled()) fail<UsageError>("the training set has no labels");
  reserve_batch(data, static_cast<int>(options.batch_size), batch_);
  restore_position();
}

double Trainer::epoch() const {
  return static_cast<double>(state_.micro_step) / static_cast<double>(batches_per_epoch_);
}

void Trainer::restore_position() {
  optimizer_.set_steps(state_.step);
  order_epoch_ = -1;
  // Gradients of a step that is not part of the restored run.
  if (state_.accumulated == 0)
    for (const Parameter& p : model_.parameters()) p.tensor.clear_grad();
}

// Micro-steps of the optimizer step that is number `step_of_epoch` of its epoch: the last one takes what is left.
int64_t Trainer::micro_steps_in(int64_t step_of_epoch) const {
  const int64_t done = step_of_epoch * options_.gradient_accumulation_steps;
  return std::min(options_.gradient_accumulation_steps, batches_per_epoch_ - done);
}

bool Trainer::micro_step(StepReport& report) {
  const int64_t epoch = state_.micro_step / batches_per_epoch_, batch = state_.micro_step % batches_per_epoch_;
  if (epoch != order_epoch_) {
    order_ = epoch_order(options_.seed, static_cast<uint32_t>(epoch), data_.size());
    order_epoch_ = epoch;
  }
  fill_batch(data_, batch_slice(order_, static_cast<int>(options_.batch_size), batch), batch_);
  const int64_t group = micro_steps_in(batch / options_.gradient_accumulation_steps);

  tape_.clear();
  const BatchTensors inputs = to_tensors(batch_, model_.device());
  const ForwardMode mode{.training = true, .seed = options_.seed, .step = static_cast<uint32_t>(state_.micro_step)};
  const Tensor logits = model_.forward(tape_, inputs, mode);
  const Tensor loss = cross_entropy(tape_, logits, label_tensor(batch_, model_.device()));
  const double loss_value = loss.item();
  flops_ = tape_.flops();
  if (!std::isfinite(loss_value)) report_divergence(fmt::format("the loss is {}", printable(loss_value)));
  tape_.backward(loss, 1.0 / static_cast<double>(group));

  state_.pending_loss += loss_value;
  ++state_.micro_step;
  if (++state_.accumulated < group) return false;
  report = optimizer_step();
  report.loss = state_.pending_loss / static_cast<double>(group);
  state_.loss_sum += report.loss;
  state_.total_loss_sum += report.loss;
  ++state_.loss_count;
  state_.pending_loss = 0;
  state_.accumulated = 0;
  return true;
}

StepReport Trainer::optimizer_step() {
  StepReport report;
  report.grad_norm = optimizer_.grad_norm();
  if (!std::isfinite(report.grad_norm))
    report_divergence(fmt::format("the gradient norm is {}", printable(report.grad_norm)));
  report.learning_rate = options_.learning_rate * schedule_.factor(state_.step);
  optimizer_.step(report.learning_rate, clip_scale(report.grad_norm, options_.max_grad_norm));
  ++state_.step;
  return report;
}

// Parameters come first in time, then the forward pass in order, then gradients.
void Trainer::report_divergence(const std::string& what) {
  const auto first_broken = [&]() -> std::string {
    for (const Parameter& p : model_.parameters())
      if (!all_finite(p.tensor)) return "the parameter " + p.tensor.label();
    for (const NodeInfo& node : tape_.nodes())
      if (node.output && !all_finite(node.output)) return "the result " + node.output.label();
    for (const Parameter& p : model_.parameters())
      if (p.tensor.grad() && !all_finite(p.tensor.grad())) return "the gradient of " + p.tensor.label();
    return "none of those kept: a sum overflowed";
  };
  fail<Diverged>(
      "{} at step {}; the first tensor that is not finite: {}\nTry a lower --learning-rate or a longer warmup; the "
      "checkpoints of earlier steps are intact",
      what, state_.step + 1, first_broken());
}

}  // namespace crisp
