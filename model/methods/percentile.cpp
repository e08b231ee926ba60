#include "model/methods/method.h"

namespace crisp {

const Method percentile_method{
    .word = "percentile",
    .keeps = "scores at or above the s-quantile of the head's n x n scores (linear interpolation)",
    .selection = Selection::percentile_head,
    .whole_matrix = true};

}  // namespace crisp
