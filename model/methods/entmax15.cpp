#include "model/methods/method.h"

namespace crisp {

const Method entmax15_method{
    .word = "entmax15",
    .keeps = "all; the normaliser gives many weights exactly 0 (Peters, Niculae & Martins, arXiv 1905.05702)",
    .by_sparsity = false,
    .selection = Selection::all,
    .normaliser = Normaliser::entmax15,
    .takes_protected = false};

}  // namespace crisp
