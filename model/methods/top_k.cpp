#include "model/methods/method.h"

namespace crisp {

const Method top_k_method{.word = "top-k",
                          .keeps = "the k largest scores of each query (Gupta et al., arXiv 2106.06899)",
                          .selection = Selection::top_k_row};

}  // namespace crisp
