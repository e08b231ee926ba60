// The optimizer's step in backend memory: gradient norm, clipping and AdamW over lists of tensors. Nothing waits for
// the host, which reads the norm afterwards, maybe some steps later: a step that is not finite changes nothing, and nor
// does any later one that is given its result.
#pragma once

#include <cstdint>
#include <span>

#include "engine/answer.h"
#include "engine/context.h"
#include "engine/kernels.h"
#include "engine/tensor.h"

namespace crisp {

/// What a step's loss is made of: `before`, which the host has read already, and losses of one element each by their
/// shares. The penalty, one element or an empty handle, is told beside it.
struct StepLoss {
  double before = 0;
  std::span<const Tensor> losses = {};
  std::span<const double> shares = {};
  Tensor penalty = {};
};

/// f64, a ClipResult on the device: the norm over the gradients of `clipped`, that over those of `others`, which are
/// not clipped, the loss, the factor that brings the first norm down to max_norm (0: no clipping), and whether all of
/// that is finite. A tensor without a gradient counts as 0. Sums of squares that were formed while a gradient was
/// written are used, the others are computed. All on one device, of one dtype. `before`, unless it is empty, is the
/// result of the step before: where that one is not finite, this one is not either, whatever its numbers.
Tensor clip_gradients(const Context& context, std::span<const Tensor> clipped, std::span<const Tensor> others,
                      const StepLoss& loss, double max_norm, const Tensor& before = {});
/// Reads it: the one answer of the device that a step needs.
ClipResult read_clip(const Tensor& clip);
/// The same where it has been asked for.
ClipResult read_clip(const Answer& clip);

/// One parameter's part in a step, with moments of its shape and dtype.
struct AdamWPart {
  Tensor parameter, gradient, m, v;
  AdamWStep step;
  bool clipped = true;  // the gradient is also multiplied with the factor of clip_gradients()
};

/// One AdamW update of each, in place. `clip` may be empty; where it says that the step is not finite, nothing changes.
/// All on one device, of one dtype.
void adamw(const Context& context, std::span<const AdamWPart> parts, const Tensor& clip);

/// One update of some rows of a table whose other rows wait: those with a gradient, part.gradient [n, dim] for the rows
/// `rows` (n of them, increasing, on the table's device), which have had all steps before.
void adamw_rows(const Context& context, const AdamWPart& part, const Integers& rows, const Tensor& clip);

/// Brings rows that waited up to date: row rows[i] (each once) runs the steps from[i] to rates.size() - 1, given by
/// their rates, without a gradient. Of part.step the betas and epsilon count besides. Together the two have the bits of
/// adamw(), step by step, on gradients that are 0 elsewhere. `clip`, unless it is empty, is the result of the last of
/// the steps: where it is not finite, no row changes. Throws Error for a row or a step outside of what there is.
void catch_up_rows(const Context& context, const AdamWPart& part, std::span<const AdamWRates> rates,
                   std::span<const int32_t> rows, std::span<const int32_t> from, const Tensor& clip = {});

/// Sum of squares of all elements, in f64.
double sum_squares(const Tensor& x, const Context& context = Context::standard());
/// x = min(max(x, low), high) in place; a NaN stays. What an optimizer step does to parameters with bounds: `clip`,
/// unless it is empty, is its result, and where that is not finite nothing changes.
void clamp(const Tensor& x, double low, double high, const Context& context = Context::standard(),
           const Tensor& clip = {});
bool all_finite(const Tensor& x, const Context& context = Context::standard());

}  // namespace crisp
