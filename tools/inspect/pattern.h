// On which side of its kinks a computation is: what its sparse attention keeps, and which units of a ReLU are on. Where
// that changes, a function that is smooth elsewhere has a corner or a jump, and differences across it prove nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/tape.h"
#include "tools/inspect/subject.h"

namespace crisp::inspect {

/// One decision that differs between two points.
struct Flip {
  int64_t layer = -1;  // of attention; -1: a unit of the head's ReLU
  int64_t head = 0, query = 0;
  int64_t key = 0;  // or the unit
  bool on = false;  // kept, or on, at the second point
};

struct Pattern {
  struct Layer {
    int64_t heads = 0, longest = 0;
    std::vector<bool> kept;  // [queries, heads, longest]; empty where all keys are kept, whatever happens
  };
  std::vector<Layer> layers;
  std::vector<bool> relu;
  bool operator==(const Pattern& other) const;
};

/// Those of `from` that are otherwise in `to`.
std::vector<Flip> flips(const Pattern& from, const Pattern& to);
/// "layer 2, head 4: query 3 (film) keeps key 7 (##ly)"
std::string describe(const Flip& flip, const std::vector<std::string>& pieces);

/// The objective's value at the weights as they are now, and where its kinks are.
struct Point {
  double value = 0;
  Pattern pattern;
};
Point evaluate(const Subject& subject);

}  // namespace crisp::inspect
