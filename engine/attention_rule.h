// What an attention layer does with its scores: the rule that attention() (engine/ops.h) carries out, and what it tells
// of the outcome. Which rule a model uses is decided in model/.
#pragma once

#include <cstdint>

#include "engine/kernels.h"
#include "engine/plan.h"
#include "engine/tensor.h"

namespace crisp {

/// What one attention layer does: scores = scale q k'; a selection, and then chance, remove some; a normaliser makes
/// weights of those that are left, perhaps times a gate; dropout; the weighted sum of the values. One operation for the
/// family that Crisp Attention (arXiv 2508.06016) belongs to. A row always keeps at least one key. What is kept is a
/// constant to the gradient: survivors get the normaliser's gradient, the others none. A NaN counts as larger than
/// every score (for bottom_k: smaller) and is never removed by chance, so that it shows.
struct AttentionRule {
  int64_t heads = 1;
  double scale = 1;  // usually 1/sqrt(head size)

  /// Which keys are kept. k = top_k_count(sparsity, n) in engine/kernels.h: max(1, floor((1 - sparsity) n + 0.5)) for a
  /// query of n keys, computed so that a sparsity of 0.9 means nine tenths whatever its binary rounding.
  /// - listed: the keys in `lists`, wherever they come from. Other scores need not be computed.
  /// - top_k_row: exactly k, the largest; among equal scores the earlier key wins (Gupta et al., arXiv 2106.06899).
  /// - top_k_ties: all that are at least the k-th largest (Explicit Sparse Transformer, arXiv 1912.11637).
  /// - percentile_head: all scores of one head and sequence that are at or above their `sparsity` quantile (linear
  ///   interpolation, as torch.quantile and numpy.quantile); ties at the threshold are all kept; a query that would
  ///   keep none keeps its largest score (the earliest of equal ones).
  /// - threshold: scores (scaled) >= threshold; a query that would keep none keeps its largest, as above.
  /// - bottom_k: exactly k, the smallest; among equal scores the earlier key wins.
  /// - drop_top: each of the n - k largest scores (the earlier of equal ones) is removed with probability drop_p
  ///   (AttentionDrop, arXiv 2504.12088); element = index into the weights of the batch.
  /// For the selections by sparsity, 0 is the same as `all`, bit for bit.
  Selection selection = Selection::all;
  double sparsity = 0;
  double threshold = 0;
  double drop_p = 0;  // in [0, 1]
  RandomKey drop_key = {};
  ListedKeys lists = {};  // for `listed`

  /// Protected keys: the sequence's first and last, and key i for its query i (if there is one). They rank before all
  /// others (of more than k, the earlier ones), hence are kept first and count within k; by `threshold` and
  /// `percentile_head` they are kept in addition. Chance (drop_top, key dropout) never removes them. For `listed` the
  /// caller puts them into the lists.
  bool keep_first = false, keep_last = false, keep_diagonal = false;

  /// Weights from the kept scores: softmax; sparsemax, max(score - t, 0) (arXiv 1602.02068); entmax15,
  /// max(score/2 - t, 0)^2 (1.5-entmax, arXiv 1905.05702); t is such that they add up to 1.
  Normaliser normaliser = Normaliser::softmax;

  /// DropKey, and DropAttention (arXiv 1907.11065) with its renormalisation: kept keys are removed with probability p
  /// in [0, 1) before the normaliser. To remove an entry of the softmax and divide the others by their sum is to set
  /// its score to -infinity, and where the gradient goes through the division, as it does here, gradients agree as
  /// well: by entries, with softmax, the two are one; else this is DropKey alone. With `columns` a key is removed for
  /// all queries of a (sequence, head) at once, as DropAttention's columns. A row that would lose all keeps its largest
  /// score.
  KeyDropout key_dropout = {};

  /// Learned span, [heads] of q's dtype, may require a gradient: weights are proportional to m exp(score) with the gate
  /// m = clamp((span_ramp + span[head] - |i - j|) / span_ramp, 0, 1) for query i and key j of a sequence (adaptive
  /// attention span, arXiv 1905.07799, looking both ways). Keys with m = 0 are not kept; a query with none keeps the
  /// key nearest to it. span_ramp > 0. Only with Selection::all and softmax.
  Tensor span = {};
  double span_ramp = 0;

  /// On the weights. A query that keeps more than half of its keys draws by key: element = index into the weights of
  /// the batch. Any other draws for the kept keys alone, by their place among them: the j-th kept key takes the element
  /// of key j. (With sparsemax and entmax15, keys with a weight above 0 count as kept.)
  Dropout dropout = {};
};

/// What was kept, summed over the batch: for each head in f64 [heads], on the operands' device, since reading them
/// waits for it; and what is the same for all heads.
struct AttentionStats {
  Tensor kept;        // (query, key) pairs that were selected; with sparsemax and entmax15, those with a weight above 0
  Tensor entropy;     // sum over queries of -sum p log p of the weights before dropout, in nats
  Tensor log_kept;    // sum over queries of the log of how many keys the selection kept: the largest entropy possible
  int64_t pairs = 0;  // valid (query, key) pairs
  int64_t queries = 0;
};

}  // namespace crisp
