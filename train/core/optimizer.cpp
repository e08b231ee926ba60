#include "train/core/optimizer.h"

#include <algorithm>

#include "engine/fail.h"

namespace crisp {
namespace {

// After so many steps all rows catch up, so that a long run remembers no more.
constexpr size_t most_deferred = 512;

}  // namespace

AdamW::AdamW(std::span<const Parameter> parameters, const AdamWOptions& options, const Context& context)
    : parameters_(parameters.begin(), parameters.end()), options_(options), context_(&context) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& t = parameters_[i].tensor;
    (parameters_[i].is_span ? spans_ : weights_).push_back(t);
    m_.push_back(Tensor::zeros(t.shape(), t.dtype(), t.device()));
    v_.push_back(Tensor::zeros(t.shape(), t.dtype(), t.device()));
    if (!t.gradient().by_rows()) continue;
    const auto rows = static_cast<size_t>(t.dim(0));
    Table& table = tables_.emplace_back(Table{i, {}, std::vector<int32_t>(rows)});
    table.rates.reserve(most_deferred);
    due_rows_.reserve(rows);  // a training step asks the system for nothing
    due_from_.reserve(rows);
  }
  parts_.reserve(parameters_.size());
}

bool AdamW::updates(std::span<const Parameter> parameters) const {
  return std::equal(parameters_.begin(), parameters_.end(), parameters.begin(), parameters.end(),
                    [](const Parameter& a, const Parameter& b) { return a.tensor.same_as(b.tensor); });
}

AdamWPart AdamW::part(size_t index, double learning_rate, int64_t step) const {
  const Parameter& p = parameters_[index];
  return {.parameter = p.tensor,
          .gradient = p.tensor.gradient().values(),
          .m = m_[index],
          .v = v_[index],
          .step = {.learning_rate = p.is_span ? learning_rate * options_.span_rate : learning_rate,
                   .beta1 = options_.beta1,
                   .beta2 = options_.beta2,
                   .epsilon = options_.epsilon,
                   .weight_decay = p.decays ? options_.weight_decay : 0,
                   .gradient_scale = 1,
                   .step = step},
          .clipped = !p.is_span};
}

void AdamW::check_up_to_date(const Table& table) const {
  const Tensor& parameter = parameters_[table.index].tensor;
  for (const int32_t row : parameter.gradient().rows().host)
    if (table.done[static_cast<size_t>(row)] != static_cast<int32_t>(table.rates.size()))
      fail("AdamW: row {} of {} was used without being up to date; call catch_up() before the forward pass", row,
           parameter.label());
}

ClipResult AdamW::step(double learning_rate, double max_grad_norm, const StepLoss& loss,
                       const std::function<void()>& meanwhile) {
  const auto has_gradient = [&](size_t i) { return static_cast<bool>(parameters_[i].tensor.gradient()); };
  for (const Table& table : tables_)
    if (has_gradient(table.index)) check_up_to_date(table);

  const Tensor clip = clip_gradients(*context_, weights_, spans_, loss, max_grad_norm);
  parts_.clear();
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (has_gradient(i) && !parameters_[i].tensor.gradient().by_rows())
      parts_.push_back(part(i, learning_rate, steps_ + 1));
  adamw(*context_, parts_, clip);
  parts_.clear();
  for (const Table& table : tables_)
    if (has_gradient(table.index))
      adamw_rows(*context_, part(table.index, learning_rate, steps_ + 1),
                 parameters_[table.index].tensor.gradient().rows(), clip);

  if (meanwhile) meanwhile();
  const ClipResult result = read_clip(clip);  // the only answer from the device that a step waits for, at its end
  if (result.is_finite == 0) return result;
  ++steps_;
  for (Table& table : tables_)
    if (has_gradient(table.index)) note_step(table, part(table.index, learning_rate, steps_).step);
  for (const Parameter& p : parameters_) p.tensor.clear_grad();
  return result;
}

// For the rows that have had the step with their gradient, and for the others, which wait for it.
void AdamW::note_step(Table& table, const AdamWStep& step) {
  table.rates.push_back(adamw_rates(step));
  for (const int32_t row : parameters_[table.index].tensor.gradient().rows().host)
    table.done[static_cast<size_t>(row)] = static_cast<int32_t>(table.rates.size());
  if (!options_.defer_rows || table.rates.size() == most_deferred) catch_up(table);
}

// Makes rows, which name() numbers from 0 to count - 1, have all steps that they have missed.
template <class Name>
void AdamW::replay(Table& table, size_t count, Name&& name) {
  const auto now = static_cast<int32_t>(table.rates.size());
  due_rows_.clear();
  due_from_.clear();
  for (size_t i = 0; i < count; ++i) {
    const int32_t row = name(i);
    int32_t& done = table.done[static_cast<size_t>(row)];
    if (done == now) continue;
    due_rows_.push_back(row);
    due_from_.push_back(done);
    done = now;  // so a repeated row is listed once
  }
  AdamWPart rows = part(table.index, 0, steps_);
  rows.gradient = {};
  try {
    catch_up_rows(*context_, rows, table.rates, due_rows_, due_from_);
  } catch (...) {  // they wait still
    for (size_t i = 0; i < due_rows_.size(); ++i) table.done[static_cast<size_t>(due_rows_[i])] = due_from_[i];
    throw;
  }
}

void AdamW::catch_up(const Tensor& parameter, std::span<const int32_t> wanted) {
  const auto found = std::find_if(tables_.begin(), tables_.end(),
                                  [&](const Table& t) { return parameters_[t.index].tensor.same_as(parameter); });
  if (found == tables_.end() || found->rates.empty()) return;
  for (const int32_t id : wanted)
    if (id < 0 || id >= parameter.dim(0)) fail("AdamW: {} has no row {}", parameter.label(), id);
  replay(*found, wanted.size(), [&](size_t i) { return wanted[i]; });
}

void AdamW::catch_up() {
  for (Table& table : tables_) catch_up(table);
}

void AdamW::catch_up(Table& table) {
  if (table.rates.empty()) return;
  replay(table, table.done.size(), [](size_t row) { return static_cast<int32_t>(row); });
  forget_rates(table);
}

void AdamW::forget_rates(Table& table) {
  table.rates.clear();
  std::fill(table.done.begin(), table.done.end(), 0);
}

void AdamW::set_steps(int64_t steps) {
  steps_ = steps;
  for (Table& table : tables_) forget_rates(table);
}

}  // namespace crisp
