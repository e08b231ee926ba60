// From sentences to packed batches, the only batch form: tokens of all examples in one row, without padding.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/wordpiece.h"
#include "engine/context.h"

namespace crisp {

/// Examples back to back: example i has the tokens [offsets[i], offsets[i + 1]). Filling it again reuses its memory.
struct PackedBatch {
  std::vector<int32_t> ids;            // [total]
  std::vector<int32_t> positions;      // [total], from 0 in each example
  std::vector<int32_t> offsets;        // [batch + 1], offsets[0] = 0
  std::vector<int32_t> labels;         // [batch], -1 = unlabelled
  std::vector<int32_t> example_index;  // [batch], the place in the dataset
  /// For an example of n tokens n x n numbers of edges between them in its parse, back to back; empty without parses.
  std::vector<int32_t> tree_distances;

  int64_t total() const { return static_cast<int64_t>(ids.size()); }
  int batch_size() const { return static_cast<int>(labels.size()); }
};

/// A dataset as token ids, all in memory, made once.
class TokenizedDataset {
 public:
  /// Tokenises every example, each cut to `max_length` ids (at least 2, else UsageError). `parses`: those of the
  /// sentences, a CoNLL-U file with one sentence per example in the same order; empty: none. Throws BadInput when the
  /// file is wrong (ConlluReader::next), has more or fewer sentences than there are examples (with the first pair that
  /// differs), or parses other text than theirs (align_words). The result does not depend on the number of threads.
  TokenizedDataset(const Dataset& dataset, const WordPiece& tokenizer, int max_length, const std::string& parses = "",
                   int threads = default_num_threads());

  /// The given examples, in this order, as a dataset of their own. It does not know which of them were cut.
  TokenizedDataset subset(std::span<const int32_t> examples) const;

  int32_t size() const { return static_cast<int32_t>(labels_.size()); }
  /// The ids of example i, [CLS] to [SEP].
  std::span<const int32_t> ids(int32_t i) const;
  int32_t label(int32_t i) const { return labels_[static_cast<size_t>(i)]; }
  int num_labels() const { return num_labels_; }
  bool labelled() const { return num_labels_ > 0; }

  bool parsed() const { return !tree_nodes_.empty(); }
  /// Parsed only: example i's tree and its tokens' nodes there (TokenTree in parse_alignment.h).
  std::span<const int32_t> tree_heads(int32_t i) const;
  std::span<const int32_t> tree_nodes(int32_t i) const;

  /// Tokens of all examples.
  int64_t total_tokens() const { return offsets_.back(); }
  /// The longest example in tokens.
  int max_tokens() const { return max_tokens_; }
  /// How many examples lost tokens to `max_length`; for the one line that reports it.
  int32_t truncated() const { return truncated_; }

 private:
  TokenizedDataset() = default;
  void add_parses(const Dataset& dataset, const WordPiece& tokenizer, int max_length, const std::string& path);

  std::vector<int32_t> ids_;
  std::vector<int64_t> offsets_;  // [size + 1]
  std::vector<int32_t> tree_nodes_, tree_heads_;
  std::vector<int64_t> tree_offsets_;  // [size + 1], into tree_heads_
  std::vector<int32_t> labels_;
  int num_labels_ = 0;
  int max_tokens_ = 0;
  int32_t truncated_ = 0;
};

/// Replaces `batch` by the given examples, in this order. Allocates only when the batch outgrows its capacity. Throws
/// Error for more than 2^31 - 1 tokens.
void fill_batch(const TokenizedDataset& dataset, std::span<const int32_t> indices, PackedBatch& batch);

/// Makes room for any `batch_size` different examples, so that fill_batch never allocates. Throws Error where one could
/// have more than 2^31 - 1 tokens.
void reserve_batch(const TokenizedDataset& dataset, int batch_size, PackedBatch& batch);

/// The order in which an epoch visits its n examples: a permutation that depends on (seed, epoch) alone.
std::vector<int32_t> epoch_order(uint64_t seed, uint32_t epoch, int32_t n);

/// 0 .. n-1 in two parts, both increasing: `carved` is a fraction of them by chance (rounded, but at least one and not
/// all), which depends on (seed, n) alone. Throws UsageError for n < 2.
struct CarvedExamples {
  std::vector<int32_t> rest, carved;
};
CarvedExamples carve(uint64_t seed, int32_t n, double fraction);

/// 0, 1, .., n-1: the order of evaluation.
std::vector<int32_t> sequential_order(int32_t n);

/// Number of batches in an epoch; the last one may be smaller.
int64_t batch_count(int64_t examples, int batch_size);

/// The examples of batch b in 0 .. batch_count-1.
std::span<const int32_t> batch_slice(std::span<const int32_t> order, int batch_size, int64_t b);

}  // namespace crisp
