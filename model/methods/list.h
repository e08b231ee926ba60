// Every method of sparse attention, in the order in which they are shown. Add a new one here: `name` is the constant
// name_method of model/methods/name.cpp, and SparseMethod::name in code.
#pragma once

#define CRISP_SPARSE_METHODS(method)                                                                               \
  method(top_k) method(top_k_ties) method(percentile) method(threshold) method(bottom_k) method(random_k)          \
      method(attention_drop) method(neighbour) method(bigbird) method(lexical) method(syntax) method(learned_span) \
          method(sparsemax) method(entmax15)
