#include "train/core/trainer.h"

#include <algorithm>
#include <cmath>

#include "engine/backend.h"
#include "engine/fail.h"
#include "engine/op.h"
#include "engine/ops.h"
#include "train/inference/limits.h"
#include "train/inference/to_batch.h"

namespace crisp {
namespace {

int batch_size_of(const TrainerOptions& options) {
  if (options.batch_size < 1 || options.batch_size > largest_batch)
    fail<UsageError>("a batch of {} sentences; it must be from 1 to {}", options.batch_size, largest_batch);
  return static_cast<int>(options.batch_size);
}

int64_t steps_of_epoch(const TrainerOptions& options, int64_t examples) {
  const int64_t batches = batch_count(examples, batch_size_of(options));
  const int64_t accumulation = options.gradient_accumulation_steps;
  if (accumulation < 1) fail<UsageError>("{} batches an optimizer step; it must be at least 1", accumulation);
  return batches / accumulation + (batches % accumulation > 0);
}

// Without the sign of a NaN, which is chance.
double printable(double x) { return std::isnan(x) ? std::abs(x) : x; }

Schedule schedule_of(const TrainerOptions& options, int64_t examples) {
  const int64_t total = total_steps_of(options, examples);
  return {options.schedule, total, warmup_steps_for(total, options.warmup_ratio, options.warmup_steps)};
}

BrokenTensor result_of(const NodeInfo& node, BrokenTensor::Kind kind, const Tensor& values) {
  return {.kind = kind,
          .name = node.output.label(),
          .operation = node.op->name,
          .module = node.scope ? node.scope->path() : "",
          .values = values.detach()};
}

}  // namespace

int64_t total_steps_of(const TrainerOptions& options, int64_t examples) {
  const double of_epoch = static_cast<double>(steps_of_epoch(options, examples));
  const double steps = options.max_steps > 0 ? static_cast<double>(options.max_steps)
                                             : std::ceil(options.epochs_or_default() * of_epoch);
  // Also false for NaN. An optimizer step has at most as many micro-steps as an epoch.
  const double micro_steps = steps * static_cast<double>(std::min(options.gradient_accumulation_steps,
                                                                  batch_count(examples, batch_size_of(options))));
  if (!(steps >= 0 && steps <= static_cast<double>(most_steps) && micro_steps < 4294967296.0))
    fail<UsageError>(
        "{:g} optimizer steps (of {} batches each) are more than this program counts; fewer --epochs or "
        "--max-steps are needed",
        steps, options.gradient_accumulation_steps);
  return static_cast<int64_t>(steps);
}

Trainer::Trainer(DistilBert& model, const TokenizedDataset& data, const TrainerOptions& options, const Context& context)
    : model_(model),
      data_(data),
      options_(options),
      batches_per_epoch_(batch_count(data.size(), batch_size_of(options))),
      steps_per_epoch_(steps_of_epoch(options, data.size())),
      schedule_(schedule_of(options, data.size())),
      optimizer_(
          model.parameters(),
          {.beta1 = options.beta1,
           .beta2 = options.beta2,
           .epsilon = options.epsilon,
           .weight_decay = options.weight_decay,
           .span_rate = model.config().sparsity.span_learning_rate.value_or(0) / options.learning_rate_or_default(),
           .defer_rows = true,
           .steps_ahead = backend(model.device()).launches_kernels ? steps_ahead : 0},
          context),
      tape_(context) {
  if (data.size() == 0) fail<UsageError>("there is nothing to train on: the training set is empty");
  if (!data.labelled()) fail<UsageError>("the training set has no labels");
  reserve_batch(data, batch_size_of(options), batch_);
  const auto micro_steps = static_cast<size_t>(std::min(options.gradient_accumulation_steps, batches_per_epoch_));
  losses_.reserve(micro_steps);
  shares_.reserve(micro_steps);
  unread_.resize(std::max<size_t>(1, optimizer_.steps_ahead()));
  for (Unread& step : unread_) {
    step.losses.reserve(micro_steps);
    step.shares.reserve(micro_steps);
  }
  restore_position();
}

void Trainer::check_parameters() const {
  if (!optimizer_.updates(model_.parameters()))
    fail("the model has other parameters than when its trainer was made (set_sparsity): make a new trainer");
}

double Trainer::epoch() const {
  return static_cast<double>(state_.micro_step) / static_cast<double>(batches_per_epoch_);
}

double Trainer::epoch_at(int64_t step) const {
  const int64_t batches = std::min(step % steps_per_epoch_ * options_.gradient_accumulation_steps, batches_per_epoch_);
  return static_cast<double>(step / steps_per_epoch_ * batches_per_epoch_ + batches) /
         static_cast<double>(batches_per_epoch_);
}

void Trainer::restore_position() {
  optimizer_.set_steps(state_.step);
  order_epoch_ = prepared_ = -1;
  forget_losses();
  forget_unread();
  // Gradients of a step that is not part of the restored run.
  if (state_.accumulated == 0) clear_gradients();
}

// The last optimizer step of an epoch takes the batches that are left, and the last batch the sentences that are left.
Trainer::Group Trainer::group_of(int64_t micro_step) const {
  const int64_t batch = micro_step % batches_per_epoch_;
  const int64_t first = batch - batch % options_.gradient_accumulation_steps;
  const int64_t count = std::min(options_.gradient_accumulation_steps, batches_per_epoch_ - first);
  const int64_t end = std::min<int64_t>((first + count) * options_.batch_size, data_.size());
  return {micro_step - batch + first, count, end - first * options_.batch_size};
}

// Makes batch_ and inputs_ those of a micro-step. A GPU works on a step while those of the next are made.
void Trainer::prepare(int64_t micro_step) {
  if (prepared_ == micro_step) return;
  prepared_ = -1;
  const int64_t epoch = micro_step / batches_per_epoch_, batch = micro_step % batches_per_epoch_;
  if (epoch != order_epoch_) {
    order_ = epoch_order(options_.seed, static_cast<uint32_t>(epoch), data_.size());
    order_epoch_ = epoch;
  }
  fill_batch(data_, batch_slice(order_, static_cast<int>(options_.batch_size), batch), batch_);
  inputs_.reset();  // first, so that its memory serves the next
  inputs_.emplace(to_batch(batch_, model_, Labels::with));
  prepared_ = micro_step;
}

std::vector<int32_t> Trainer::examples(int64_t micro_step) const {
  const int64_t epoch = micro_step / batches_per_epoch_, batch = micro_step % batches_per_epoch_;
  const std::vector<int32_t> order = epoch_order(options_.seed, static_cast<uint32_t>(epoch), data_.size());
  const auto some = batch_slice(order, static_cast<int>(options_.batch_size), batch);
  return {some.begin(), some.end()};
}

ForwardMode Trainer::mode(int64_t micro_step) const {
  const double progress = static_cast<double>(state_.step) / static_cast<double>(std::max<int64_t>(1, total_steps()));
  return {.training = true, .seed = options_.seed, .step = static_cast<uint32_t>(micro_step), .progress = progress};
}

// The loss of a micro-step, its batch in batch_ and its operations on tape_.
Tensor Trainer::forward(int64_t micro_step) {
  prepare(micro_step);
  const Batch& inputs = *inputs_;
  tape_.clear();
  tape_.before_each([this](const Op&) {
    if (check_) check_();
  });
  optimizer_.catch_up(model_.word_embeddings(), inputs.words().distinct().host);
  const Tensor logits = model_.forward(tape_, inputs, mode(micro_step));
  return cross_entropy(tape_, logits, inputs.labels());
}

// Of the loss and the penalty on learned spans, which is the same in all micro-batches of a step.
void Trainer::backward(const Tensor& loss, double share) {
  span_penalty_ = model_.span_penalty(tape_);
  const Tensor sum = span_penalty_ ? add(tape_, loss, span_penalty_) : loss;
  if (state_.accumulated > 0) tape_.before_each({});  // half of it would spoil the gradients that are there
  try {
    tape_.backward(sum, share);
  } catch (...) {
    if (state_.accumulated == 0) clear_gradients();
    throw;
  }
}

void Trainer::clear_gradients() {
  for (const Parameter& p : model_.parameters()) p.tensor.clear_grad();
}

void Trainer::forget_losses() {
  losses_.clear();
  shares_.clear();
}

void Trainer::forget_unread() {
  for (Unread& step : unread_) {
    step.losses.clear();
    step.shares.clear();
  }
}

void Trainer::read_losses() {
  settle();
  read_pending_losses();
}

void Trainer::read_pending_losses() {
  const int64_t first = state_.micro_step - std::ssize(losses_);
  for (size_t i = 0; i < losses_.size(); ++i) {
    const double loss = losses_[i].item();
    if (!std::isfinite(loss)) report_loss(loss, first + static_cast<int64_t>(i));
    state_.pending_loss += loss * shares_[i];
  }
  forget_losses();
}

void Trainer::check_between_operations(std::function<void()> check) { check_ = std::move(check); }

bool Trainer::micro_step(StepReport& report) {
  if (!advance()) return false;
  report = settle();
  return true;
}

bool Trainer::advance() {
  check_parameters();
  if (state_.accumulated == 0)
    while (!optimizer_.has_room()) read_oldest();
  prepare(state_.micro_step);
  StepCalls calls(model_.device());
  const Group group = group_of(state_.micro_step);
  const Tensor loss = forward(state_.micro_step);
  // The batch's loss is a mean over its sentences; the last batch of an epoch may have fewer of them.
  const double share = static_cast<double>(batch_.batch_size()) / static_cast<double>(group.sentences);
  last_tokens_ = batch_.total();
  backward(loss, share);
  losses_.push_back(loss.detach());
  shares_.push_back(share);
  ++state_.micro_step;
  if (++state_.accumulated < group.count) {
    calls.end();
    return false;
  }

  Unread& step = unread_[optimizer_.unread()];
  step.learning_rate = options_.learning_rate_or_default() * schedule_.factor(state_.step);
  step.state = state_;
  const StepLoss parts{state_.pending_loss, losses_, shares_, span_penalty_};
  optimizer_.enqueue(step.learning_rate, options_.max_grad_norm, parts,
                     [this](const Tensor& clip) { model_.clamp_spans(context(), clip); });
  // Before anything else can fail: the optimizer counts the step.
  step.losses.swap(losses_);
  step.shares.swap(shares_);
  ++state_.step;
  state_.pending_loss = 0;
  state_.accumulated = 0;
  calls.end();
  if (!finished()) prepare(state_.micro_step);
  // What the host wants to know of the device it asks last.
  if (optimizer_.steps_ahead() == 0 || finished()) settle();
  if (finished()) optimizer_.catch_up();
  return true;
}

const StepReport& Trainer::settle() {
  while (optimizer_.unread() > 0) read_oldest();
  return report_;
}

void Trainer::read_oldest() {
  const ClipResult clip = optimizer_.read_oldest();
  if (clip.is_finite == 0) {
    go_back();
    if (!std::isfinite(clip.loss)) {
      read_pending_losses();
      report_loss(clip.loss, state_.micro_step - 1);  // none is broken by itself: their sum overflowed
    }
    report_norm(clip.norm + clip.other);
  }
  Unread& step = unread_.front();
  report_ = {
      .loss = clip.loss, .span_penalty = clip.penalty, .grad_norm = clip.norm, .learning_rate = step.learning_rate};
  state_.loss_sum += report_.loss;
  state_.total_loss_sum += report_.loss;
  ++state_.loss_count;
  step.losses.clear();
  step.shares.clear();
  std::rotate(unread_.begin(), unread_.begin() + 1, unread_.end());
}

// To the end of the oldest unread step, of which the optimizer has done nothing.
void Trainer::go_back() {
  Unread& step = unread_.front();
  const TrainState now = std::exchange(state_, step.state);
  state_.loss_sum = now.loss_sum;
  state_.total_loss_sum = now.total_loss_sum;
  state_.loss_count = now.loss_count;
  losses_.swap(step.losses);
  shares_.swap(step.shares);
  forget_unread();
  if (optimizer_.steps_ahead() > 0) clear_gradients();  // those of a later step
}

// Parameters come first in time, then the forward pass in order, which runs once more and keeps its values this time.
BrokenTensor Trainer::first_broken_value(int64_t micro_step) {
  check_ = {};  // the step cannot be taken back any more
  optimizer_.catch_up();
  for (const Parameter& p : model_.parameters())
    if (!all_finite(p.tensor, context()))
      return {.kind = BrokenTensor::Kind::parameter, .name = p.tensor.label(), .values = p.tensor};
  tape_.keep_values();
  forward(micro_step);
  for (const NodeInfo& node : tape_.nodes())
    if (!all_finite(node.output, context())) {
      BrokenTensor found = result_of(node, BrokenTensor::Kind::result, node.output);
      found.inputs = node.inputs;
      return found;
    }
  return {};
}

// Runs the micro-batches of the step that could not be made once more (their dropout is the same) and looks at each
// gradient as soon as it is there. A parameter's gradient has no moment of its own: it is looked at when the next
// result's gradient is not finite, and at the end of the pass. `micro_step` becomes that of the gradient.
BrokenTensor Trainer::first_broken_gradient(const Group& group, int64_t& micro_step) {
  using enum BrokenTensor::Kind;
  const std::vector<Parameter>& parameters = model_.parameters();
  const auto broken_parameter = [&]() -> BrokenTensor {
    for (auto p = parameters.rbegin(); p != parameters.rend(); ++p) {
      const Gradient& gradient = p->tensor.gradient();
      if (!gradient || all_finite(gradient.values(), context())) continue;
      BrokenTensor found{.kind = parameter_gradient, .name = p->tensor.label(), .values = gradient.values().clone()};
      if (gradient.by_rows()) found.rows.assign(gradient.rows().host.begin(), gradient.rows().host.end());
      return found;
    }
    return {};
  };
  check_ = {};
  clear_gradients();
  BrokenTensor found;
  for (micro_step = group.first;; ++micro_step) {
    const Tensor loss = forward(micro_step);
    for (const NodeInfo& node : tape_.nodes()) {
      tape_.on_grad(node.output, [this, &found, &broken_parameter, node](const Tensor& gradient) {
        if (found.kind != sum || all_finite(gradient, context())) return;
        found = broken_parameter();
        if (found.kind == sum) found = result_of(node, result_gradient, gradient);
      });
    }
    backward(loss, static_cast<double>(batch_.batch_size()) / static_cast<double>(group.sentences));
    if (found.kind == sum) found = broken_parameter();
    if (found.kind != sum || micro_step + 1 == group.first + group.count) return found;
  }
}

void Trainer::report_loss(double loss, int64_t micro_step) {
  throw StepDiverged(fmt::format("the loss is {}", printable(loss)), state_.step + 1, micro_step,
                     first_broken_value(micro_step));
}

void Trainer::report_norm(double norm) {
  int64_t micro_step = state_.micro_step - 1;
  BrokenTensor found = first_broken_gradient(group_of(micro_step), micro_step);
  throw StepDiverged(fmt::format("the gradient norm is {}", printable(norm)), state_.step + 1, micro_step,
                     std::move(found));
}

}  // namespace crisp
