#include "model/methods/method.h"

namespace crisp {

const Method sparsemax_method{
    .word = "sparsemax",
    .keeps = "all; the normaliser gives many weights exactly 0 (Martins & Astudillo, arXiv 1602.02068)",
    .by_sparsity = false,
    .selection = Selection::all,
    .normaliser = Normaliser::sparsemax,
    .takes_protected = false};

}  // namespace crisp
