// The k-th largest score of each of several rows of f32 scores. Of a row, a window of scores that contains it is stored
// close together, once or twice, until at most 16 are left; these are sorted for as many rows as a vector has lanes at
// once, by a network without branches. Where a row does not fit (NaN at its threshold, infinities, a window that is
// never met), it is left to select.h.
#pragma once

#include <cmath>

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/simd/simd.h"

namespace crisp::CRISP_ISA {

/// Where the thresholds of the rows before lay: from centre - reach to below centre + reach. That of the next row is
/// there, mostly.
struct ThresholdWindow {
  float centre = 0, reach = 0;  // reach 0: nothing is known
};

/// Scores that remain of a row to be sorted.
constexpr int64_t sorted_scores = 16;

/// For rows of scores, the least score that is kept, and how many scores are not less than it: k, more where others
/// equal the k-th largest (k + 1, if not all were counted), 0 if it was not found.
struct RowThresholds {
  float limit[lanes<float>];
  int64_t count[lanes<float>];
};

namespace detail {

// What a window keeps of a row: `inside` scores from `low` to below `high`; `above` scores are not less than that.
struct Window {
  float low, high;
  int64_t above, inside;

  CRISP_INLINE bool has(int64_t k) const { return above < k && above + inside >= k; }
};

// The window of n scores times `scale`, whose scores go to `inside`, where a vector more can be written.
[[gnu::noinline]] inline Window window_of(const float* scores, int64_t n, Vec<float> scale, float low, float high,
                                          float* inside) {
  const Vec<float> from = broadcast(low), to = broadcast(high);
  int64_t above = 0, count = 0;
  const auto part = [&](int64_t j, LaneBits in_row) CRISP_INLINED {
    const Vec<float> v = scale * load(scores + j);
    const LaneBits over = not_less(v, to) & in_row, within = (not_less(v, from) & in_row) ^ over;
    store_compressed(inside + count, v, within);
    above += count_lanes(over);
    count += count_lanes(within);
  };
  constexpr int64_t width = lanes<float>;
  int64_t j = 0;
  for (; j + width <= n; j += width) part(j, first_lanes<float>(width));
  if (j < n) part(j, first_lanes<float>(n - j));
  return {low, high, above, count};
}

// How many of n scores times `scale` are not less than a limit.
CRISP_INLINE int64_t count_not_less(const float* scores, int64_t n, Vec<float> scale, Vec<float> limit) {
  int64_t count = 0;
  for (int64_t j = 0; j < n; j += lanes<float>)
    count += count_lanes(not_less(scale * load(scores + j), limit) & first_lanes<float>(n - j));
  return count;
}

// Moves a window that does not have the k-th largest score, by ever larger steps; whether it has then.
inline bool move_window(const float* scores, int64_t n, Vec<float> scale, int64_t k, Window& window, float* inside) {
  float step = window.high - window.low;
  for (int tries = 0; tries < 4; ++tries) {
    step *= 2;
    const float low = window.above >= k ? window.high : window.low - step;
    window = window_of(scores, n, scale, low, window.above >= k ? window.high + step : window.low, inside);
    if (window.has(k)) return true;
  }
  return false;
}

// Narrows a window around the k-th largest score until few enough scores are inside, which it takes from `inside` and
// leaves there; whether they are. `memory` has room for them and a vector more.
inline bool narrow_window(int64_t k, Window& window, float* inside, float* memory) {
  const Vec<float> one = broadcast(1.0f);
  for (int tries = 0; window.inside > sorted_scores; ++tries) {
    // Where the k-th would be if the scores lay evenly, and some of them to either side.
    const auto [low, high, above, count] = window;
    const float n = static_cast<float>(count), distance = (high - low) / n;
    const float guess = high - distance * (static_cast<float>(k - above) - 0.5f), reach = distance * (5 + n / 32);
    const float from = guess - reach > low ? guess - reach : low, to = guess + reach < high ? guess + reach : high;
    Window next = window_of(inside, count, one, from, to, memory);
    if (above + next.above >= k) {
      next = window_of(inside, count, one, to, high, memory);
    } else if (above + next.above + next.inside < k) {
      next = window_of(inside, count, one, low, from, memory);
    }
    if (next.inside == count || tries > 16) return false;
    next.above += above;
    window = next;
    for (int64_t i = 0; i < window.inside; i += lanes<float>) store(inside + i, load(memory + i));
  }
  return true;
}

// Batcher's odd-even merge sort of 16 elements: which are compared (Knuth, The Art of Computer Programming 3, 5.2.2M).
struct SortingNetwork {
  int first[63], second[63];
  constexpr SortingNetwork() : first{}, second{} {
    constexpr int n = 16;
    int count = 0;
    for (int p = 1; p < n; p *= 2)
      for (int k = p; k >= 1; k /= 2)
        for (int j = k % p; j + k < n; j += 2 * k)
          for (int i = j; i < j + k && i + k < n; ++i)
            if (i / (2 * p) == (i + k) / (2 * p)) {
              first[count] = i;
              second[count++] = i + k;
            }
  }
};
constexpr SortingNetwork sorting_network;

// Sorts 16 vectors lane by lane, the largest first.
template <int... I>
CRISP_INLINE void sort_lanes(Vec<float> (&x)[sorted_scores], Indices<I...>) {
  const auto exchange = [](Vec<float>& a, Vec<float>& b) CRISP_INLINED {
    const Vec<float> larger = larger_of(a, b);
    b = smaller_of(a, b);
    a = larger;
  };
  (exchange(x[sorting_network.first[I]], x[sorting_network.second[I]]), ...);
}

}  // namespace detail

/// The thresholds of the k largest of n scores times `scale`, 1 <= k <= n, of `rows` rows, at most as many as a vector
/// has lanes: row_at(r) points to a row, which can be read up to whole vectors. `memory` has room for as many rows of n
/// as a vector has lanes and one, each 16 and a vector longer.
template <class RowAt>
RowThresholds thresholds_of_rows(RowAt row_at, int64_t rows, int64_t n, float scale, int64_t k, ThresholdWindow& around,
                                 float* memory) {
  constexpr int64_t width = lanes<float>;
  const int64_t stride = n + sorted_scores + width;
  const Vec<float> scales = broadcast(scale);
  const auto inside = [=](int64_t r) CRISP_INLINED { return memory + r * stride; };
  if (n <= sorted_scores) around = {0, INFINITY};
  const float low = around.centre - around.reach, high = around.centre + around.reach;
  // In passes over the rows, so that none waits for another or for what it has just stored.
  detail::Window windows[width];
  bool found[width];
  for (int64_t r = 0; r < rows; ++r) windows[r] = detail::window_of(row_at(r), n, scales, low, high, inside(r));
  for (int64_t r = 0; r < rows; ++r)
    found[r] = windows[r].has(k) || detail::move_window(row_at(r), n, scales, k, windows[r], inside(r));
  for (int64_t r = 0; r < rows; ++r)
    if (found[r] && windows[r].inside > sorted_scores)
      found[r] = detail::narrow_window(k, windows[r], inside(r), inside(width));
  const Vec<float> nothing = broadcast(-INFINITY);
  for (int64_t r = 0; r < rows; ++r) {
    float* end = inside(r) + (found[r] ? windows[r].inside : 0);
    for (int64_t i = 0; i < sorted_scores; i += width) store(end + i, nothing);
  }
  Vec<float> columns[sorted_scores];
#pragma GCC unroll 16
  for (int64_t i = 0; i < sorted_scores; i += width) {
    Vec<float> square[width];
    for (int64_t r = 0; r < width; ++r) square[r] = load(inside(min_of(r, rows - 1)) + i);
    transpose_square<float>(square);
    for (int64_t c = 0; c < width; ++c) columns[i + c] = square[c];
  }
  detail::sort_lanes(columns, typename detail::MakeIndices<63>::Type{});
  alignas(vector_bytes) float sorted[(sorted_scores + 1) * width];
  for (int64_t i = 0; i < sorted_scores; ++i) store(sorted + i * width, columns[i]);
  store(sorted + sorted_scores * width, nothing);
  RowThresholds result;
  float sum = 0, apart = 0;
  int64_t of = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const float* kth = sorted + (found[r] ? k - windows[r].above - 1 : 0) * width + r;
    result.limit[r] = kth[0];
    result.count[r] = found[r] ? k + (kth[width] == kth[0]) : 0;
    sum += found[r] ? kth[0] : 0;
    of += found[r];
  }
  const float centre = sum / static_cast<float>(of);  // NaN if there is none
  for (int64_t r = 0; r < rows; ++r) apart += found[r] ? std::abs(result.limit[r] - centre) : 0;
  if (of >= 4) {
    // Two standard deviations, if they are normally distributed; and not nothing.
    around = {centre, 2.5f * apart / static_cast<float>(of) + 1e-6f * std::abs(centre) + 1e-30f};
  } else if (of < rows) {
    around.reach = 0;  // it leads nowhere
  }
  return result;
}

}  // namespace crisp::CRISP_ISA
