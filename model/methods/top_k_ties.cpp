#include "model/methods/method.h"

namespace crisp {

const Method top_k_ties_method{
    .word = "top-k-ties",
    .keeps = "all scores at or above the k-th largest (Explicit Sparse Transformer, arXiv 1912.11637)",
    .selection = Selection::top_k_ties};

}  // namespace crisp
