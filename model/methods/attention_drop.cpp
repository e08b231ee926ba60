#include <fmt/format.h>

#include "model/methods/method.h"

namespace crisp {

const Method attention_drop_method{
    .word = "attention-drop",
    .keeps =
        "in training, all but each of the n - k largest scores with probability `--attention-drop` (arXiv "
        "2504.12088)",
    .declare = []() -> std::vector<MethodOption> {
      return {{setting::number("attention-drop", &MethodNumbers::attention_drop, Interval{.low = 0, .high = 1},
                               "probability of removing one of the strongest scores"),
               0.5}};
    },
    .selection = Selection::drop_top,
    .complete =
        [](AttentionRule& rule, const RuleInputs& in) {
          rule.drop_p = in.config.attention_drop.value();
          rule.drop_key = in.random;
        },
    .at_evaluation = false,
    .removes =
        [](const SparseSettings& s, const std::string& part) {
          return fmt::format("each of the strongest {} of the scores removed with probability {:g}", part,
                             s.attention_drop.value());
        }};

}  // namespace crisp
