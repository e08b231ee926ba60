#include "model/methods/method.h"

namespace crisp {

const Method bottom_k_method{
    .word = "bottom-k", .keeps = "the k smallest scores: a control", .selection = Selection::bottom_k};

}  // namespace crisp
