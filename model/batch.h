// A packed batch as a model takes it: what the host knows of it, checked once, as plans on the model's device.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/plan.h"

namespace crisp {

/// All sequences one after the other, no padding.
class Batch {
 public:
  struct Options {
    Device device = Device::cpu;
    /// [batch], to be trained on, or empty.
    std::span<const int32_t> labels = {};
    /// For a sequence of n tokens n x n distances in its parse, back to back. Empty without parses.
    std::span<const int32_t> tree_distances = {};
    /// Attention heads of the model: the plans of its layers reach the device in one copy (lists of keys are later
    /// ones).
    int64_t heads = 1;
  };
  /// ids and positions [total], positions from 0 in each sequence; offsets [batch + 1]. Throws Error where they do not
  /// fit together.
  Batch(std::span<const int32_t> ids, std::span<const int32_t> positions, std::span<const int32_t> offsets,
        const Options& options);
  Batch(std::span<const int32_t> ids, std::span<const int32_t> positions, std::span<const int32_t> offsets)
      : Batch(ids, positions, offsets, {}) {}

  int64_t size() const { return sequences_.batch(); }
  const Rows& words() const { return words_; }
  const Rows& positions() const { return positions_; }
  const Segments& sequences() const { return sequences_; }
  /// The first row of each sequence.
  const Rows& first() const { return first_; }
  /// `copies` queries for each sequence, which see all of its keys: made before for 1 and for Options::heads.
  Segments first_queries(int64_t copies) const;
  /// [batch]; false where there are none.
  const Rows& labels() const { return labels_; }
  std::span<const int32_t> tree_distances() const { return tree_distances_; }

 private:
  Rows words_, positions_, first_, labels_;
  Segments sequences_, one_query_, queries_of_heads_;
  std::vector<int32_t, CachedAlloc<int32_t>> tree_distances_;
};

}  // namespace crisp
