#include "engine/adamw.h"

#include <algorithm>
#include <vector>

#include "engine/fail.h"
#include "engine/host_memory.h"
#include "engine/op.h"

namespace crisp {
namespace {

template <class T>
using List = std::vector<T, CachedAlloc<T>>;  // a training step asks the system for nothing

const Shape clip_shape{sizeof(ClipResult) / sizeof(double)};

ClipResult* result_in(const Tensor& clip) {
  return clip ? reinterpret_cast<ClipResult*>(clip.data<double>()) : nullptr;
}

// `t`, if it is there, is computed with beside `first`.
void check_together(const Tensor& first, const Tensor& t, DType dtype, const char* role) {
  if (t && (t.device() != first.device() || t.dtype() != dtype))
    fail("adamw: {} {} ({} on the {}) must be {} on the {}, as {} is", role, t.label(), name_of(t.dtype()),
         name_of(t.device()), name_of(dtype), name_of(first.device()), first.label());
}

// `clip` is what clip_gradients() made, if it is there.
void check_clip(const Tensor& parameter, const Tensor& clip) {
  check_together(parameter, clip, DType::f64, "clip");
  if (clip && clip.shape() != clip_shape)
    fail("adamw: clip is {}, not what clip_gradients() gives", clip.shape().str());
}

void check_part(const AdamWPart& part, const Shape& gradient_shape) {
  const Tensor& p = part.parameter;
  const auto check = [&](const char* role, const Tensor& t, const Shape& shape) {
    if (t.shape() != shape || t.dtype() != p.dtype() || t.device() != p.device())
      fail("adamw: {} of {} must be {} {} on its device; it is {} {}{}", role, p.label(), shape.str(),
           name_of(p.dtype()), t.shape().str(), name_of(t.dtype()), t.device() == p.device() ? "" : " on another");
  };
  check("the first moments", part.m, p.shape());
  check("the second moments", part.v, p.shape());
  if (part.gradient) check("the gradient", part.gradient, gradient_shape);
  if (part.step.step < 1) fail("adamw: steps count from 1, not {}", part.step.step);
}

template <class T>
AdamWRowsCall<T> call_of(const AdamWPart& part, std::span<const AdamWRates> rates, const KernelCall<T>& k) {
  return {.step = part.step,
          .clipped = part.clipped,
          .rates = rates.data(),
          .steps = static_cast<int64_t>(rates.size()),
          .cols = part.parameter.dim(1),
          .gradient = k(part.gradient),
          .parameter = k(part.parameter),
          .m = k(part.m),
          .v = k(part.v)};
}

void check_table(const AdamWPart& part) {
  if (part.parameter.rank() != 2)
    fail("adamw: rows of {}, which is {}; a table [rows, dim] is needed", part.parameter.label(),
         part.parameter.shape().str());
}

// What the kernel trusts: it neither reads nor writes outside of the table and of the rates.
void check_due(const Tensor& table, int64_t steps, std::span<const int32_t> rows, std::span<const int32_t> from) {
  if (rows.size() != from.size())
    fail("adamw: {} rows of {}, but {} steps to begin at", rows.size(), table.label(), from.size());
  List<bool> seen(static_cast<size_t>(table.dim(0)));
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= table.dim(0))
      fail("adamw: rows[{}] = {} is outside {} of shape {}", i, rows[i], table.label(), table.shape().str());
    if (seen[static_cast<size_t>(rows[i])])
      fail("adamw: row {} of {} is there twice, the second time as rows[{}]", rows[i], table.label(), i);
    seen[static_cast<size_t>(rows[i])] = true;
    if (from[i] < 0 || from[i] > steps)
      fail("adamw: from[{}] = {} for row {} of {}; with {} steps it must be from 0 to {}", i, from[i], rows[i],
           table.label(), steps, steps);
  }
}

}  // namespace

Tensor clip_gradients(const Context& context, std::span<const Tensor> clipped, std::span<const Tensor> others,
                      const StepLoss& loss, double max_norm, const Tensor& before) {
  if (clipped.empty() && others.empty()) fail("adamw: there are no parameters");
  if (!(max_norm >= 0)) fail("adamw: the largest norm must be a number from 0, not {}", max_norm);
  if (loss.losses.size() != loss.shares.size())
    fail("adamw: {} losses, but {} shares", loss.losses.size(), loss.shares.size());
  const Tensor& any = clipped.empty() ? others[0] : clipped[0];
  for (const auto& [role, tensors] :
       {std::pair("the parameter", clipped), std::pair("the parameter", others), std::pair("the loss", loss.losses)})
    for (const Tensor& t : tensors) check_together(any, t, any.dtype(), role);
  check_together(any, loss.penalty, any.dtype(), "the penalty");
  check_clip(any, before);
  for (const Tensor& t : loss.losses)
    if (!t || t.numel() != 1) fail("adamw: a loss must have one element; {} has {}", t.label(), t ? t.numel() : 0);
  if (loss.penalty && loss.penalty.numel() != 1) fail("adamw: the penalty must have one element");
  const Tensor result = Tensor::empty(clip_shape, DType::f64, any.device());
  List<Tensor> made;  // sums of squares that nobody has formed yet
  made.reserve(clipped.size() + others.size());
  run(context, any, [&]<class T>(KernelCall<T> k) {
    List<SquaresOf<T>> to_form;
    to_form.reserve(made.capacity());
    const auto squares_of = [&](std::span<const Tensor> tensors) {
      List<const double*> squares;
      squares.reserve(tensors.size());
      for (const Tensor& t : tensors) {
        const Gradient& g = t.gradient();
        if (!g) continue;
        Tensor sum = g.sum_squares();
        if (!sum) {
          sum = made.emplace_back(Tensor::empty({}, DType::f64, t.device()));
          const int64_t rows = g.by_rows() ? g.values().dim(0) : 1;
          to_form.push_back({rows, rows == 0 ? 0 : g.values().numel() / rows, k(g.values()), k.f64(sum)});
        }
        squares.push_back(k.f64(sum));
      }
      return squares;
    };
    const auto squares = squares_of(clipped), other_squares = squares_of(others);
    k->sum_squares(std::ssize(to_form), to_form.data());
    List<const T*> losses;
    losses.reserve(loss.losses.size());
    for (const Tensor& t : loss.losses) losses.push_back(k(t));
    k->clip({.squares = squares.data(),
             .count = std::ssize(squares),
             .other_squares = other_squares.data(),
             .other_count = std::ssize(other_squares),
             .loss_before = loss.before,
             .losses = losses.data(),
             .shares = loss.shares.data(),
             .loss_count = std::ssize(losses),
             .penalty = k(loss.penalty),
             .max_norm = max_norm,
             .before = result_in(before),
             .result = result_in(result)});
  });
  return result;
}

ClipResult read_clip(const Tensor& clip) {
  if (clip.shape() != clip_shape) fail("read_clip: {} is not what clip_gradients() gives", clip.label());
  return *result_in(clip.to(Device::cpu));
}

ClipResult read_clip(const Answer& clip) {
  ClipResult result{};
  clip.read(&result, sizeof result);
  return result;
}

void adamw(const Context& context, std::span<const AdamWPart> parts, const Tensor& clip) {
  if (parts.empty()) return;
  for (const AdamWPart& part : parts) {
    check_part(part, part.parameter.shape());
    check_together(parts[0].parameter, part.parameter, parts[0].parameter.dtype(), "the parameter");
    if (!part.gradient) fail("adamw: {} has no gradient", part.parameter.label());
  }
  check_clip(parts[0].parameter, clip);
  run(context, parts[0].parameter, [&]<class T>(KernelCall<T> k) {
    List<AdamWUpdate<T>> updates;
    updates.reserve(parts.size());
    for (const AdamWPart& p : parts)
      updates.push_back({p.step, p.clipped, p.parameter.numel(), k(p.gradient), k(p.parameter), k(p.m), k(p.v)});
    k->adamw(std::ssize(updates), updates.data(), result_in(clip));
  });
}

void adamw_rows(const Context& context, const AdamWPart& part, const Integers& rows, const Tensor& clip) {
  check_table(part);
  if (!part.gradient) fail("adamw: rows of {} have no gradient", part.parameter.label());
  check_part(part, {rows.size(), part.parameter.dim(1)});
  if (!rows.device || rows.device.device() != part.parameter.device())
    fail("adamw: the rows of {} must be on its device: see upload_integers()", part.parameter.label());
  if (!rows.increase_below(part.parameter.dim(0)))
    fail("adamw: the rows of {} must increase, within its {} rows", part.parameter.label(), part.parameter.dim(0));
  check_clip(part.parameter, clip);
  const AdamWRates rates = adamw_rates(part.step);
  run(context, part.parameter, [&](auto k) {
    auto call = call_of(part, std::span(&rates, 1), k);
    call.n = rows.size();
    call.rows = k(rows);
    k->adamw_rows(call, result_in(clip));
  });
}

void catch_up_rows(const Context& context, const AdamWPart& part, std::span<const AdamWRates> rates,
                   std::span<const int32_t> rows, std::span<const int32_t> from, const Tensor& clip) {
  check_table(part);
  if (part.gradient) fail("adamw: rows of {} that wait have no gradient", part.parameter.label());
  check_part(part, {});
  check_due(part.parameter, std::ssize(rates), rows, from);
  check_clip(part.parameter, clip);
  const auto n = std::ssize(rows);
  if (n == 0) return;
  const Tensor both = Tensor::empty({2, n}, DType::i32);
  std::copy(rows.begin(), rows.end(), both.data<int32_t>());
  std::copy(from.begin(), from.end(), both.data<int32_t>() + n);
  const Tensor there = both.to(part.parameter.device());
  run(context, part.parameter, [&](auto k) {
    auto call = call_of(part, rates, k);
    call.n = n;
    call.rows = k.ids(there);
    call.from = k.ids(there) + n;
    k->adamw_rows(call, result_in(clip));
  });
}

double sum_squares(const Tensor& x, const Context& context) {
  const Tensor sum = Tensor::empty({}, DType::f64, x.device());
  run(context, x, [&]<class T>(KernelCall<T> k) {
    const SquaresOf<T> all{1, x.numel(), k(x), k.f64(sum)};
    k->sum_squares(1, &all);
  });
  return sum.item();
}

void clamp(const Tensor& x, double low, double high, const Context& context, const Tensor& clip) {
  check_clip(x, clip);
  run(context, x, [&](auto k) { k->clamp(x.numel(), low, high, k(x), result_in(clip)); });
}

bool all_finite(const Tensor& x, const Context& context) {
  const Tensor finite = Tensor::empty({}, DType::i32, x.device());
  run(context, x, [&](auto k) { k->all_finite(x.numel(), k(x), k.ids(finite)); });
  return finite.item() != 0;
}

}  // namespace crisp
