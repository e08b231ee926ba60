#include "train/optimizer.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "engine/ops.h"

namespace crisp {
namespace {

// After so many steps all rows catch up, so that a long run remembers no more.
constexpr size_t most_deferred = 512;

}  // namespace

AdamW::AdamW(std::span<const Parameter> parameters, const AdamWOptions& options)
    : parameters_(parameters.begin(), parameters.end()), options_(options) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& t = parameters_[i].tensor;
    m_.push_back(Tensor::zeros(t.shape(), t.dtype(), t.device()));
    v_.push_back(Tensor::zeros(t.shape(), t.dtype(), t.device()));
    if (!t.has_row_gradient()) continue;
    Table& table = tables_.emplace_back(Table{i, {}, std::vector<int32_t>(static_cast<size_t>(t.dim(0)))});
    table.rates.reserve(most_deferred);
  }
}

bool AdamW::updates(std::span<const Parameter> parameters) const {
  return std::equal(parameters_.begin(), parameters_.end(), parameters.begin(), parameters.end(),
                    [](const Parameter& a, const Parameter& b) { return a.tensor.same_as(b.tensor); });
}

double AdamW::norm(bool of_spans) const {
  double sum = 0;
  for (const Parameter& p : parameters_) {
    if (p.is_span != of_spans) continue;
    const double known = p.tensor.grad_sum_squares();
    if (!std::isnan(known)) {
      sum += known;
    } else if (const RowGradient rows = p.tensor.row_grad()) {
      sum += sum_squares(rows);
    } else if (!p.tensor.has_row_gradient()) {
      if (const Tensor gradient = p.tensor.grad()) sum += sum_squares(gradient);
    }
  }
  return std::sqrt(sum);
}

AdamWStep AdamW::rule(const Parameter& p, double learning_rate, double gradient_scale) const {
  return {.learning_rate = p.is_span ? learning_rate * options_.span_rate : learning_rate,
          .beta1 = options_.beta1,
          .beta2 = options_.beta2,
          .epsilon = options_.epsilon,
          .weight_decay = p.decays ? options_.weight_decay : 0,
          .gradient_scale = p.is_span ? 1 : gradient_scale,
          .step = steps_};
}

void AdamW::step(double learning_rate, double gradient_scale) {
  for (const Table& table : tables_) {
    const RowGradient gradient = parameters_[table.index].tensor.row_grad();
    if (!gradient) continue;
    const Tensor ids = gradient.rows.to(Device::cpu);
    for (int64_t i = 0; i < ids.numel(); ++i)
      if (table.done[static_cast<size_t>(ids.data<int32_t>()[i])] != static_cast<int32_t>(table.rates.size()))
        fail("AdamW: row {} of {} was used without being up to date; call catch_up() before the forward pass",
             ids.data<int32_t>()[i], parameters_[table.index].tensor.label());
  }
  ++steps_;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = parameters_[i];
    if (p.tensor.has_row_gradient()) continue;
    const Tensor gradient = p.tensor.grad();
    if (!gradient) continue;
    adamw(p.tensor, gradient, m_[i], v_[i], rule(p, learning_rate, gradient_scale));
    p.tensor.clear_grad();
  }
  for (Table& table : tables_) step_rows(table, learning_rate, gradient_scale);
}

// The step of the rows that have a gradient; for the others it is written down.
void AdamW::step_rows(Table& table, double learning_rate, double gradient_scale) {
  const Parameter& p = parameters_[table.index];
  const RowGradient gradient = p.tensor.row_grad();
  if (!gradient) return;
  const AdamWStep update = rule(p, learning_rate, gradient_scale);
  const auto now = static_cast<int32_t>(table.rates.size());
  table.rates.push_back(adamw_rates(update));
  const Tensor ids = gradient.rows.to(Device::cpu), from = Tensor::empty(ids.shape(), DType::i32);
  for (int64_t i = 0; i < ids.numel(); ++i) {
    from.data<int32_t>()[i] = now;
    table.done[static_cast<size_t>(ids.data<int32_t>()[i])] = now + 1;
  }
  adamw_rows(p.tensor, m_[table.index], v_[table.index], update, table.rates, gradient.rows, from.to(p.tensor.device()),
             gradient.values);
  p.tensor.clear_grad();
  if (!options_.defer_rows || table.rates.size() == most_deferred) catch_up(table);
}

// The first n of `rows` wait since `from`.
void AdamW::replay(Table& table, const Tensor& rows, const Tensor& from, int64_t n) {
  if (n == 0) return;
  const Parameter& p = parameters_[table.index];
  adamw_rows(p.tensor, m_[table.index], v_[table.index], rule(p, 0, 1), table.rates,
             rows.view_rows(0, n).to(p.tensor.device()), from.view_rows(0, n).to(p.tensor.device()), {});
}

void AdamW::catch_up(const Tensor& parameter, const Tensor& ids) {
  const auto found = std::find_if(tables_.begin(), tables_.end(),
                                  [&](const Table& t) { return parameters_[t.index].tensor.same_as(parameter); });
  if (found == tables_.end() || found->rates.empty()) return;
  const auto now = static_cast<int32_t>(found->rates.size());
  const Tensor host = ids.to(Device::cpu);
  const Tensor rows = Tensor::empty({host.numel()}, DType::i32), from = Tensor::empty({host.numel()}, DType::i32);
  const std::span<const int32_t> wanted(host.data<int32_t>(), static_cast<size_t>(host.numel()));
  for (const int32_t id : wanted)
    if (id < 0 || id >= parameter.dim(0)) fail("AdamW: {} has no row {}", parameter.label(), id);
  int64_t n = 0;
  for (const int32_t id : wanted) {
    int32_t& done = found->done[static_cast<size_t>(id)];
    if (done == now) continue;
    rows.data<int32_t>()[n] = id;
    from.data<int32_t>()[n++] = done;
    done = now;  // so a repeated id is listed once
  }
  replay(*found, rows, from, n);
}

void AdamW::catch_up() {
  for (Table& table : tables_) catch_up(table);
}

void AdamW::catch_up(Table& table) {
  if (table.rates.empty()) return;
  const auto now = static_cast<int32_t>(table.rates.size()), all = static_cast<int32_t>(table.done.size());
  const Tensor rows = Tensor::empty({all}, DType::i32), from = Tensor::empty({all}, DType::i32);
  int64_t n = 0;
  for (int32_t r = 0; r < all; ++r) {
    int32_t& done = table.done[static_cast<size_t>(r)];
    if (done < now) {
      rows.data<int32_t>()[n] = r;
      from.data<int32_t>()[n++] = done;
    }
    done = 0;
  }
  replay(table, rows, from, n);
  table.rates.clear();
}

void AdamW::set_steps(int64_t steps) {
  steps_ = steps;
  for (Table& table : tables_) {
    table.rates.clear();
    std::fill(table.done.begin(), table.done.end(), 0);
  }
}

double clip_scale(double norm, double max_norm) { return max_norm > 0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1.0; }

}  // namespace crisp
