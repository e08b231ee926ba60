// A window for each head, learned: after Adaptive Span (Sukhbaatar et al., arXiv 1905.07799), looking both ways. A soft
// gate in training, a list of the keys within the window at evaluation.
#include <algorithm>
#include <cmath>

#include "model/key_lists.h"
#include "model/methods/method.h"

namespace crisp {

int64_t hard_window(double z, double ramp) {
  return static_cast<int64_t>(std::min(std::max(0.0, std::floor(z + ramp / 2)), positions_limit));  // of NaN 0
}

const Method learned_span_method{
    .word = "learned-span",
    .keeps = "a window for each head, learned (after Adaptive Span, arXiv 1905.07799)",
    .instead = "`--span-init`, `--span-ramp`, `--span-penalty`",
    .by_sparsity = false,
    .declare = []() -> std::vector<MethodOption> {
      using N = MethodNumbers;
      constexpr double most = longest_sentence, least_ramp = 1e-3;  // below it f32 cannot tell the gate from a step
      return {
          {setting::number("span-ramp", &N::span_ramp, Interval{.low = least_ramp, .high = most},
                           "positions in which a window's edge falls to 0"),
           4.0},
          {setting::number("span-init", &N::span_init, Interval{.low = 0, .high = most},
                           "windows at the start, in positions"),
           8.0},
          {setting::number("span-penalty", &N::span_penalty, Interval{}, "times the mean span is added to the loss"),
           0.0},
          // Spans are in positions, so weights' rates are too small.
          {setting::number("span-learning-rate", &N::span_learning_rate, Interval{.low = 0, .open_low = true},
                           "peak learning rate of the windows, in positions"),
           0.01}};
    },
    .complete =
        [](AttentionRule& rule, const RuleInputs& in) {
          if (!in.training) return;
          rule.selection = Selection::all;
          rule.span = in.span;
          rule.span_ramp = in.config.span_ramp.value();
        },
    .rank = [](const ListedQuery& query, double* numbers) -> Kept {
      rank_by_distance(query, numbers);
      return {.within = static_cast<double>(query.window)};
    },
    .takes_protected = false,  // the gate knows none in training
    .differs_by_head = [](const SparseSettings&) { return true; },
    .learns_spans = true};

}  // namespace crisp
