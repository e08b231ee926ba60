// Lists of the keys that each query keeps, for the methods that decide it without the scores (and for
// learned spans at evaluation): pure functions of lengths, word embeddings, parses, and random keys.
//
// A query's keys are ranked, ours where no paper says how: protected ones first, then by the numbers that the method
// gives them (Method::rank); of equal ones the nearer in position comes first, then the left one. With a sparsity the
// first top_k_count() are kept, so that all methods have the same effective sparsity; with a measure (window,
// threshold, distance) those within it, and the protected ones besides.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/tensor.h"
#include "model/sparsity.h"

namespace crisp {

/// Which queries of each sequence lists are wanted for, in this order: all of them; or its first, `copies` times.
struct ListedQueries {
  bool first_only = false;
  int64_t copies = 1;
};

/// Query row r of head h keeps keys[starts[i] .. starts[i + 1]], positions in its sequence in increasing order, with
/// i = r where one list serves all heads and i = h * rows + r else: the form of AttentionRule::list_starts, list_keys.
struct KeyLists {
  int64_t heads = 1;  // 1: for all
  std::vector<int32_t> starts, keys;
};

/// What the methods look at, beside the configuration. Matrices are n x n for a sequence of n, back to back.
struct ListInputs {
  std::span<const int32_t> offsets;              // [batch + 1] of packed sequences
  std::span<const double> similarities = {};     // lexical: word_similarities()
  std::span<const int32_t> tree_distances = {};  // syntax
  std::span<const int64_t> windows = {};         // learned_span: |i - j| <= windows[head]
};

/// The lists of one layer, made by at most `threads` threads; `sparsity` is the current one, and `heads` those of the
/// model. Throws Error where an input that the method needs is missing.
KeyLists key_lists(const SparsityConfig& config, int64_t layer, double sparsity, int64_t heads,
                   const ListInputs& inputs, int threads, const ListedQueries& queries = {});

/// Whether the lists of a layer's heads are different ones.
bool lists_differ_by_head(const SparsityConfig& config);

/// Where each sequence's matrix of pairs begins, and where the last one ends.
std::vector<size_t> matrix_starts(std::span<const int32_t> offsets);

/// Cosines between the word embeddings of each sequence's tokens: words [total, dim] f32 or f64 in host memory, a row
/// for each token. In f64; 0 where an embedding is 0, -2 where one is not finite.
std::vector<double> word_similarities(const Tensor& words, std::span<const int32_t> offsets, int threads);

/// The window into which a learned degree z is rounded for evaluation: the keys whose gate clamp((ramp + z -
/// |i - j|) / ramp, 0, 1) is at least one half, |i - j| <= floor(z + ramp / 2). Ours.
int64_t hard_window(double z, double ramp);

}  // namespace crisp
