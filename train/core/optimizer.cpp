#include "train/core/optimizer.h"

#include <algorithm>
#include <utility>

#include "engine/fail.h"
#include "engine/host_memory.h"

namespace crisp {
namespace {

// After so many steps all rows catch up, so that a long run remembers no more.
constexpr size_t most_deferred = 512;

// Of a table a training uses some rows: those never met, whose moments stay 0, need no memory.
Tensor moments_of(const Tensor& parameter) {
  const Tensor zeros = Tensor::zeros(parameter.shape(), parameter.dtype(), parameter.device());
  if (parameter.gradient().by_rows() && parameter.device() == Device::cpu) take_memory_as_written(zeros.raw());
  return zeros;
}

}  // namespace

AdamW::AdamW(std::span<const Parameter> parameters, const AdamWOptions& options, const Context& context)
    : parameters_(parameters.begin(), parameters.end()), options_(options), context_(&context) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& t = parameters_[i].tensor;
    (parameters_[i].is_span ? spans_ : weights_).push_back(t);
    m_.push_back(moments_of(t));
    v_.push_back(moments_of(t));
    if (!t.gradient().by_rows()) continue;
    const auto rows = static_cast<size_t>(t.dim(0));
    Table& table = tables_.emplace_back(Table{i, {}, std::vector<int32_t>(rows)});
    table.rates.reserve(most_deferred);
    due_rows_.reserve(rows);  // a training step asks the system for nothing
    due_from_.reserve(rows);
  }
  parts_.reserve(parameters_.size());
  size_t rows = 0;
  for (const Table& table : tables_) rows += table.done.size();
  steps_called_.resize(std::max<size_t>(1, options_.steps_ahead));
  for (Unread& step : steps_called_) step.changes.reserve(rows + tables_.size());  // each row is up to date once
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

ClipResult AdamW::step(double learning_rate, double max_grad_norm, const StepLoss& loss) {
  if (unread_ > 0) fail("AdamW: {} steps before this one have not been read", unread_);
  enqueue(learning_rate, max_grad_norm, loss);
  return read_oldest();
}

void AdamW::enqueue(double learning_rate, double max_grad_norm, const StepLoss& loss,
                    const std::function<void(const Tensor& clip)>& also) {
  if (!has_room())
    fail("AdamW: {} steps have not been read, or rows must catch up; read_oldest() comes first", unread_);
  const auto has_gradient = [&](size_t i) { return static_cast<bool>(parameters_[i].tensor.gradient()); };
  for (const Table& table : tables_)
    if (has_gradient(table.index)) check_up_to_date(table);

  const Tensor clip = clip_gradients(*context_, weights_, spans_, loss, max_grad_norm, last_clip());
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
  if (also) also(clip);

  Answer answer(clip);  // the only one that a step waits for; where it cannot be asked for, the step does not count
  Unread& step = steps_called_[unread_++];
  step.clip = clip;
  step.answer = std::move(answer);
  ++steps_;
  for (Table& table : tables_)
    if (has_gradient(table.index)) note_step(table, part(table.index, learning_rate, steps_).step);
  if (options_.steps_ahead > 0) clear_gradients();  // those of the next step are about to be formed
}

// The steps that a table remembers are not forgotten while one of them may have to be undone.
bool AdamW::has_room() const {
  const auto is_full = [](const Table& t) { return t.rates.size() >= most_deferred; };
  return unread_ < steps_called_.size() && std::none_of(tables_.begin(), tables_.end(), is_full);
}

ClipResult AdamW::read_oldest() {
  if (unread_ == 0) fail("AdamW: every step has been read");
  Unread& oldest = steps_called_.front();
  const ClipResult result = read_clip(oldest.answer);
  if (result.is_finite == 0) {
    go_back();
    return result;
  }
  oldest.clear();
  std::rotate(steps_called_.begin(), steps_called_.begin() + 1, steps_called_.end());
  if (--unread_ == 0)
    for (Table& table : tables_)
      if (!options_.defer_rows || table.rates.size() >= most_deferred) catch_up(table);
  if (options_.steps_ahead == 0) clear_gradients();
  return result;
}

// Keeps the memory.
void AdamW::Unread::clear() {
  clip = {};
  answer = {};
  changes.clear();
}

// The device has changed nothing since the oldest step was called for.
void AdamW::go_back() {
  steps_ -= static_cast<int64_t>(unread_);
  while (unread_ > 0) {
    Unread& last = steps_called_[--unread_];
    for (auto change = last.changes.rbegin(); change != last.changes.rend(); ++change) {
      Table& table = tables_[change->table];
      if (change->row == Change::a_step) {
        table.rates.pop_back();
      } else {
        table.done[static_cast<size_t>(change->row)] = change->done;
      }
    }
    last.clear();
  }
}

// Empty where all steps have been read.
Tensor AdamW::last_clip() const { return unread_ > 0 ? steps_called_[unread_ - 1].clip : Tensor(); }

void AdamW::clear_gradients() {
  for (const Parameter& p : parameters_) p.tensor.clear_grad();
}

void AdamW::note(const Table& table, int32_t row, int32_t done) {
  if (unread_ > 0)
    steps_called_[unread_ - 1].changes.push_back({static_cast<size_t>(&table - tables_.data()), row, done});
}

// For the rows that have had the step with their gradient, and for the others, which wait for it.
void AdamW::note_step(Table& table, const AdamWStep& step) {
  note(table, Change::a_step, 0);
  table.rates.push_back(adamw_rates(step));
  for (const int32_t row : parameters_[table.index].tensor.gradient().rows().host) {
    int32_t& done = table.done[static_cast<size_t>(row)];
    note(table, row, done);
    done = static_cast<int32_t>(table.rates.size());
  }
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
    catch_up_rows(*context_, rows, table.rates, due_rows_, due_from_, last_clip());
  } catch (...) {  // they wait still
    for (size_t i = 0; i < due_rows_.size(); ++i) table.done[static_cast<size_t>(due_rows_[i])] = due_from_[i];
    throw;
  }
  for (size_t i = 0; i < due_rows_.size(); ++i) note(table, due_rows_[i], due_from_[i]);
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
  if (unread_ > 0) fail("AdamW: {} steps have not been read; nobody knows what is up to date", unread_);
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
  for (Unread& step : steps_called_) step.clear();
  unread_ = 0;
  steps_ = steps;
  for (Table& table : tables_) forget_rates(table);
}

}  // namespace crisp
