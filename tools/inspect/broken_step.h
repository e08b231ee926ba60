// What a training step that is not finite tells of itself: which elements of the first broken tensor, and which
// sentences.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/core/divergence.h"
#include "train/run/replay.h"

namespace crisp::inspect {

/// The elements of a tensor that are not finite.
struct BrokenElements {
  int64_t count = 0, rows = 0;        // elements, and rows that hold some
  std::vector<int64_t> first = {};    // the index of the first
  double value = 0;                   // and what it is; without the sign of a NaN, which is chance
  std::vector<int64_t> in_rows = {};  // all of those rows, in order
};
BrokenElements broken_elements(const Tensor& values);

/// Of the magnitudes; NaN where there is one.
double largest_of(const Tensor& values);

/// A sentence of the batch that broke.
struct SentenceInBatch {
  int32_t example;            // of Replay::data()
  int64_t broken_rows = 0;    // of the tensor, that belong to it
  std::string word = {};      // the token of the first of them; "" where rows are no tokens
  bool breaks_alone = false;  // so does a batch of it alone
};

struct BrokenStep {
  BrokenElements elements;
  std::vector<SentenceInBatch> sentences;  // in the order of the batch
  int64_t alone = 0;                       // how many break alone
  /// What that says, in a sentence.
  std::string verdict() const;
};

/// Runs each sentence of the batch by itself, as the step ran it (dropout draws other elements for it). The trainer
/// must have thrown the divergence; it is of no use afterwards.
BrokenStep examine(Replay& replay, const StepDiverged& divergence);

}  // namespace crisp::inspect
