// Floating-point operations of a model's forward pass, counted from its shape.
#pragma once

#include <cstdint>
#include <span>

#include "model/config.h"

namespace crisp {

/// Of matrix products only, two for each multiply-add. Those of every query of every layer count, as in the textbook's
/// DistilBERT, although the last layer here forms the [CLS] row alone.
struct ForwardFlops {
  double total = 0;             // projections, feed-forward layers, head, and `attention`
  double attention = 0;         // Q K' and A V over the kept pairs alone, as the papers count
  double attention_dense = 0;   // the same over all pairs
  double attention_scored = 0;  // Q K' over all pairs, A V over the kept: what choosing keys by their scores takes
};

/// The mean per sentence, over sentences of `lengths` tokens. `kept`: per layer, the (query, key) pairs that are kept,
/// summed over sentences and heads. Zeros without sentences.
ForwardFlops forward_flops(const DistilBertConfig& config, std::span<const int64_t> lengths,
                           std::span<const double> kept);

}  // namespace crisp
