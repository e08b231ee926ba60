#include <fmt/format.h>

#include "model/methods/method.h"

namespace crisp {

const Method threshold_method{
    .word = "threshold",
    .keeps = "scaled scores at or above a number",
    .instead = "`--attention-threshold T`",
    .by_sparsity = false,
    .declare =
        [] {
          return one_measure(setting::number("attention-threshold", &MethodNumbers::threshold,
                                             Interval{.low = -1e30, .high = 1e30}, "keep scores (scaled) from X on"));
        },
    .measure = [](const SparseSettings& s) { return fmt::format("scores from {:g} on", s.threshold.value()); },
    .selection = Selection::threshold,
    .complete = [](AttentionRule& rule, const RuleInputs& in) { rule.threshold = in.config.threshold.value(); }};

}  // namespace crisp
