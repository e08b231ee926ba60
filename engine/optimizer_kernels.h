// What the kernels of an optimizer's step take: a part of the kernel contract (engine/kernels.h).
#pragma once

#include <cstdint>

#include "engine/formulas.h"

namespace crisp {

/// A matrix [rows, cols]: *out = the sum over rows of their sums of squares, in f64, so that a row of zeros changes no
/// bit of it.
template <class T>
struct SquaresOf {
  int64_t rows = 1, cols = 0;
  const T* x = nullptr;
  double* out = nullptr;
};

/// What clipping finds, in the backend's memory, so that an optimizer step needs no answer from the device.
struct ClipResult {
  double norm;       // the 2-norm of the gradients that are clipped
  double other;      // that of the others
  double loss;       // of the step, or 0
  double penalty;    // told beside the loss, or 0
  double factor;     // formulas::clip_factor
  double is_finite;  // 1 if norms and loss are finite, of all steps before, too; else 0: the optimizer changes nothing
};

/// From sums of squares, one per gradient, and from losses, each of one element: loss = loss_before + the sum of
/// shares[i] losses[i], in that order. The arrays are in host memory, what their pointers point to is not.
template <class T>
struct ClipCall {
  const double* const* squares = nullptr;
  int64_t count = 0;
  const double* const* other_squares = nullptr;
  int64_t other_count = 0;
  double loss_before = 0;
  const T* const* losses = nullptr;
  const double* shares = nullptr;
  int64_t loss_count = 0;
  const T* penalty = nullptr;          // one element, or null
  double max_norm = 0;                 // 0: factor is 1
  const ClipResult* before = nullptr;  // of the step before, which the host may not have read yet, or null
  ClipResult* result = nullptr;
};

/// The AdamW update of one parameter of n elements.
template <class T>
struct AdamWUpdate {
  AdamWStep step;
  bool clipped = true;  // whether the gradient is also scaled by ClipResult::factor
  int64_t n = 0;
  const T* gradient = nullptr;
  T* parameter = nullptr;
  T* m = nullptr;
  T* v = nullptr;
};

/// AdamW on rows of a table whose other rows wait. Row rows[i] (each occurs once) is due the steps from[i] ..
/// steps - 1, whose numbers are in `rates` (host memory), or the last alone where `from` is null; its gradient is 0 in
/// all of them, except that gradient[i], unless `gradient` is null, is the one of the last (which must be due). Of
/// `step` the betas, epsilon and gradient_scale count. The bits are those of `adamw` step by step.
template <class T>
struct AdamWRowsCall {
  AdamWStep step;
  bool clipped = true;
  const AdamWRates* rates = nullptr;
  int64_t steps = 0;
  int64_t n = 0, cols = 0;
  const int32_t* rows = nullptr;
  const int32_t* from = nullptr;
  const T* gradient = nullptr;
  T* parameter = nullptr;
  T* m = nullptr;
  T* v = nullptr;
};

}  // namespace crisp
