// More is taken for a slip of the hand: upper bounds of what a user asks for.
#pragma once

#include <cstdint>

#include "model/sparsity.h"  // longest_sentence

namespace crisp {

constexpr int64_t largest_batch = 1'000'000;
constexpr int64_t most_labels = 10'000;
constexpr int64_t most_threads = 1024;

}  // namespace crisp
