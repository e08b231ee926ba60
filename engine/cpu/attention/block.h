// What attention's forward and backward pass share: the unit of work, its scratch memory, and sums over lists of kept
// keys.
#pragma once

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/dropout.h"
#include "engine/cpu/simd/simd.h"

namespace crisp::CRISP_ISA {

/// One (sequence, head): where its parts lie.
struct AttentionBlock {
  int64_t n_q, n_k;
  int64_t q, k, out;          // offset of its first query's, key's and result's slice
  int64_t weights;            // offset of its weights
  int64_t rows;               // and of its rows' counts
  int64_t q_row, k_row, dim;  // from such a slice to the next: of queries, of keys and values, of results
  int64_t head, first_query;  // its head; the row of q that its first query is
  int64_t padded;             // n_k rounded up to whole vectors: the distance of rows in scratch memory
  int64_t transposed_row;     // that of rows of the transposed keys or values: an odd number of vectors, so that a
                              // column's elements spread over the first-level cache
  int64_t at_once;            // queries that are worked on together, so that their rows of scores stay in the cache
};

template <class T>
CRISP_INLINE AttentionBlock attention_block(const AttentionShape& s, int64_t index) {
  const int64_t sequence = index / s.heads, head = index % s.heads;
  const int64_t dim = s.heads * s.head_dim;
  const int64_t q_row = s.q_row > 0 ? s.q_row : dim, k_row = s.kv_row > 0 ? s.kv_row : dim;
  const int64_t n_q = s.q_offsets[sequence + 1] - s.q_offsets[sequence];
  const int64_t n_k = s.kv_offsets[sequence + 1] - s.kv_offsets[sequence];
  const int64_t padded = max_of(1, divide_up(n_k, lanes<T>)) * lanes<T>;
  return {.n_q = n_q,
          .n_k = n_k,
          .q = s.q_offsets[sequence] * q_row + head * s.head_dim,
          .k = s.kv_offsets[sequence] * k_row + head * s.head_dim,
          .out = s.q_offsets[sequence] * dim + head * s.head_dim,
          .weights = s.heads * s.pair_offsets[sequence] + head * n_q * n_k,
          .rows = s.q_offsets[sequence] * s.heads + head * n_q,
          .q_row = q_row,
          .k_row = k_row,
          .dim = dim,
          .head = head,
          .first_query = s.q_offsets[sequence],
          .padded = padded,
          .transposed_row = (padded / lanes<T> | 1) * lanes<T>,
          .at_once = min_of(n_q, max_of(8, 16384 / padded))};
}

/// The keys that query i keeps with Selection::listed.
struct KeyList {
  const int32_t* keys;
  int64_t count;
};
CRISP_INLINE KeyList key_list(const AttentionShape& s, const AttentionBlock& b, int64_t i) {
  const int32_t* start = s.list_starts + b.head * s.list_stride + b.first_query + i;
  return {s.list_keys + start[0], start[1] - start[0]};
}

/// A thread's scratch memory, cut up for one block. Matrices of rows are at_once x padded.
template <class T>
struct AttentionScratch {
  T* transposed;                         // keys (forward) or values (backward): [head_dim, transposed_row]
  T *scores, *weights;                   // rows, and a vector more
  T* factors;                            // of dropout, as dropout_factors() or list_factors() want them
  T *compact_a, *compact_b, *compact_c;  // copies of slices, as close_rows() makes them
  T *sums_a, *sums_b;                    // gradients of slices that grow by listed rows
  // To select keys, and for lists of selected ones:
  Int<T>* keys;                 // a row and a vector more
  T* compared;                  // of SelectedRows: rows as many as a vector has lanes,
  T* candidates_of_rows;        // and the memory of thresholds_of_rows()
  Int<T>* all_keys;             // those of the whole block, for a percentile
  T* gradients;                 // rows and a vector more: beside the positions, or of spread_rows(), backward
  int32_t *positions, *starts;  // rows of positions one after the other; where each row's begin
  int32_t* candidates;          // a row of positions
  T *chance, *columns;          // what random numbers say: of rows, of one row
  uint64_t* drawn;              // of list_factors(): the blocks of random words,
  int32_t* factor_starts;       // and where each row's factors begin
  int64_t bytes;

  CRISP_INLINE AttentionScratch(const AttentionShape& s, const AttentionBlock& b, void* memory) {
    auto* next = static_cast<char*>(memory);
    const auto take = [&]<class E>(E*& part, int64_t count) {
      part = reinterpret_cast<E*>(next);
      next += divide_up(count * static_cast<int64_t>(sizeof(E)), 64) * 64;
    };
    const int64_t rows = b.at_once * b.padded, row = b.padded + lanes<T>;
    const int64_t drawn_blocks = s.dropout.p > 0 ? b.at_once * (b.n_k / 4 + 2) : 0;  // a row may begin and end in one
    take(transposed, s.head_dim * b.transposed_row);
    take(scores, rows + lanes<T>);
    take(weights, rows + lanes<T>);
    take(factors, s.dropout.p > 0 ? dropout_room(4 * drawn_blocks) + lanes<T> : 0);
    const bool lists = by_lists(s), drop_top = s.selection == Selection::drop_top;
    const int64_t slice = max_of(b.at_once, b.n_k) * s.head_dim;
    take(compact_a, slice);
    take(compact_b, slice);
    take(compact_c, slice);
    take(sums_a, lists ? b.n_k * s.head_dim : 0);
    take(sums_b, lists ? b.n_k * s.head_dim : 0);
    take(keys, lists ? row : 0);
    take(compared, lists ? lanes<T> * b.padded : 0);
    take(candidates_of_rows, lists ? (lanes<T> + 1) * (row + 16) : 0);
    take(all_keys, lists && s.selection == Selection::percentile_head ? b.n_q * b.n_k + lanes<T> : 0);
    take(gradients, lists ? rows + lanes<T> : 0);
    take(positions, lists ? rows + 16 : 0);
    take(starts, lists ? b.at_once + 1 : 0);
    take(candidates, drop_top ? b.padded + 16 : 0);
    take(chance, drop_top || s.key_dropout.p > 0 ? dropout_room(b.at_once * b.n_k) + lanes<T> : 0);
    take(columns, s.key_dropout.columns ? dropout_room(b.n_k) + lanes<T> : 0);
    take(drawn, lists && s.dropout.p > 0 ? drawn_blocks + blocks_at_once : 0);
    take(factor_starts, lists && s.dropout.p > 0 ? b.at_once : 0);
    bytes = next - static_cast<char*>(memory);
  }
};

/// Whether a row of lists holds its `count` weights and, behind them, their keys' positions; else it holds a weight for
/// each of the n_k keys, 0 where a key was not kept.
CRISP_INLINE bool is_short(int64_t count, int64_t n_k) { return 2 * count <= n_k; }

/// to[t] = f(from[t], ..), for vectors or elements, without touching what lies behind `to`: the last vector overlaps
/// the one before.
template <class F, class E, class... From>
CRISP_INLINE void map_close(F f, int64_t count, E* to, const From*... from) {
  constexpr int64_t width = lanes<E>;
  if (count < width) {
    for (int64_t t = 0; t < count; ++t) to[t] = f(from[t]...);
    return;
  }
  for (int64_t t = 0; t + width < count; t += width) store(to + t, f(load(from + t)...));
  store(to + count - width, f(load(from + count - width)...));
}

/// A slice of rows, `row` apart.
template <class T>
struct RowSlice {
  const T* data;
  int64_t row;
};

/// Asks for a row that will be read soon. Rows of a slice lie too far apart for the hardware to foresee them.
template <class T>
CRISP_INLINE void prefetch_row(const T* row, int64_t cols) {
  for (int64_t c = 0; c < cols; c += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(row + c);
}

/// The slice [rows, cols] itself or a compact copy: rows of a model's width lie multiples of a power of two apart,
/// share a few sets of the first-level cache and push each other out when there are many.
template <class T>
RowSlice<T> close_rows(int64_t rows, int64_t cols, RowSlice<T> x, T* copy) {
  if (rows <= 32) return x;
  for (int64_t i = 0; i < rows; ++i) {
    prefetch_row(x.data + min_of(i + 8, rows - 1) * x.row, cols);
#pragma omp simd
    for (int64_t c = 0; c < cols; ++c) copy[i * cols + c] = x.data[i * x.row + c];
  }
  return {copy, cols};
}

/// Whether a slice [rows, cols] has finite elements only.
template <class T>
bool all_finite(int64_t rows, int64_t cols, RowSlice<T> x) {
  Vec<T> sums{};
  for (int64_t i = 0; i < rows; ++i) {
    const T* row = x.data + i * x.row;
    prefetch_row(x.data + min_of(i + 8, rows - 1) * x.row, cols);
    int64_t c = 0;
    for (; c + lanes<T> <= cols; c += lanes<T>) sums += load(row + c) * T(0);
    if (c < cols) sums += load_first(row + c, cols - c) * T(0);
  }
  return sum_of_lanes<T>(sums)[0] == T(0);
}

/// The width of groups of columns. On AVX2, halves of heads of 64: a group of 128 keys then stays in the first-level
/// cache while all lists go through it. (Narrower groups for longer sequences were slower.)
template <class T>
constexpr int64_t group_width = 4 * lanes<T>;

/// A matrix whose groups of columns lie one after the other.
template <class T>
struct ColumnGroups {
  const T* data;
  int64_t row;    // distance of a group's rows, 0: they are as wide as the group
  int64_t width;  // of all groups but the last
  int64_t next;   // from a column of one group to that of the next, for each column between them
};

/// f(first column, columns) for each group of `width` out of `cols` columns.
template <class F>
CRISP_INLINE void for_groups(int64_t width, int64_t cols, F f) {
  for (int64_t c = 0; c < cols; c += width) f(c, min_of(width, cols - c));
}

/// The slice [rows, cols] itself, as one group, or a copy in groups.
template <class T>
ColumnGroups<T> column_groups(int64_t rows, int64_t cols, RowSlice<T> x, T* copy) {
  if (rows <= 32) return {x.data, x.row, cols, 0};
  for (int64_t i = 0; i < rows; ++i) {
    prefetch_row(x.data + min_of(i + 8, rows - 1) * x.row, cols);
    for_groups(group_width<T>, cols, [&](int64_t c, int64_t here) CRISP_INLINED {
      T* to = copy + c * rows + i * here;
      const T* from = x.data + i * x.row + c;
#pragma omp simd
      for (int64_t e = 0; e < here; ++e) to[e] = from[e];
    });
  }
  return {copy, 0, group_width<T>, rows};
}

/// f(index, block, its call, scratch memory) for each (sequence, head); `call` is for all of them.
template <class T, class Call, class F>
void for_blocks(const AttentionShape& s, const Call& call, F f) {
  // Enough for the largest block, since chance decides which thread meets that one.
  int64_t largest = 0;
  for (int64_t sequence = 0; sequence < s.batch; ++sequence) {
    const AttentionBlock b = attention_block<T>(s, sequence * s.heads);
    largest = max_of(largest, AttentionScratch<T>(s, b, nullptr).bytes);
  }
  const Workspaces memory = reserve_workspaces(static_cast<size_t>(largest));
  parallel_tasks(s.batch * s.heads, 1, memory.members(), [=](int64_t index) {
    const AttentionBlock b = attention_block<T>(s, index);
    Call x = call;
    x.q += b.q;
    x.k += b.k;
    x.v += b.k;
    x.weights += b.weights;
    if (x.counts) x.counts += b.rows;
    f(index, b, x, AttentionScratch<T>(s, b, memory.mine()));
  });
}

/// A marked_weight() without its mark, and the factor of dropout that the mark stands for; `up` is dropout_factor().
template <class T>
CRISP_INLINE Vec<T> unmarked(Vec<T> weight) {
  constexpr Int<T> mark = sizeof(T) == 4 ? Int<T>(INT32_MIN) : Int<T>(INT64_MIN);
  return reinterpret_cast<Vec<T>>(reinterpret_cast<Vec<Int<T>>>(weight) & ~mark);
}
template <class T>
CRISP_INLINE Vec<T> marked_factor(Vec<T> weight, Vec<T> up) {
  return reinterpret_cast<Vec<Int<T>>>(weight) < 0 ? Vec<T>{} : up;
}

namespace detail {

// Columns in groups: f(vectors as a constant, first column, columns of a partial vector or 0).
template <class T, class F>
CRISP_INLINE void for_column_groups(int64_t cols, F f) {
  constexpr int64_t width = lanes<T>;
  int64_t c = 0;
  for (; c + 8 * width <= cols; c += 8 * width) f.template operator()<8, false>(c, 0);
  for (; c + 4 * width <= cols; c += 4 * width) f.template operator()<4, false>(c, 0);
  for (; c + 2 * width <= cols; c += 2 * width) f.template operator()<2, false>(c, 0);
  for (; c + width <= cols; c += width) f.template operator()<1, false>(c, 0);
  if (c < cols) f.template operator()<1, true>(c, cols - c);
}

}  // namespace detail

/// out = sum over t of factors[t] times row positions[t] of x, + out with `add`.
template <class T>
CRISP_INLINE void sum_listed_rows(int64_t count, const int32_t* positions, const T* factors, const T* x, int64_t x_row,
                                  int64_t cols, T* out, bool add) {
  detail::for_column_groups<T>(cols, [=]<int Vectors, bool Partial>(int64_t c, int64_t width) CRISP_INLINED {
    Vec<T> sum[Vectors] = {};
    for (int64_t t = 0; t < count; ++t) {
      const Vec<T> factor = broadcast(factors[t]);
      const T* row = x + positions[t] * x_row + c;
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[v] += factor * load_part<Partial>(row + v * lanes<T>, width);
    }
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      T* to = out + c + v * lanes<T>;
      if (add) sum[v] += load_part<Partial>(to, width);
      store_part<Partial>(to, sum[v], width);
    }
  });
}

/// Row positions[t] of out += factors[t] x, for every t.
template <class T>
CRISP_INLINE void add_to_listed_rows(int64_t count, const int32_t* positions, const T* factors, const T* x,
                                     int64_t cols, T* out, int64_t out_row) {
  detail::for_column_groups<T>(cols, [=]<int Vectors, bool Partial>(int64_t c, int64_t width) CRISP_INLINED {
    Vec<T> from[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) from[v] = load_part<Partial>(x + c + v * lanes<T>, width);
    for (int64_t t = 0; t < count; ++t) {
      const Vec<T> factor = broadcast(factors[t]);
      T* row = out + positions[t] * out_row + c;
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) {
        T* to = row + v * lanes<T>;
        store_part<Partial>(to, load_part<Partial>(to, width) + factor * from[v], width);
      }
    }
  });
}

namespace detail {

// Of two vectors whose lanes are to be added up, one: where the lane's number has the bit Distance, b, else a. Adds
// what sum_of_lanes() adds at this distance.
template <class T, int Distance, int... I>
CRISP_INLINE Vec<T> fold_two(Vec<T> a, Vec<T> b, Indices<I...>) {
  constexpr int n = lanes<T>;
  return __builtin_shufflevector(a, b, ((I & Distance) ? n + I : I)...) +
         __builtin_shufflevector(a, b, ((I & Distance) ? n + (I ^ Distance) : (I ^ Distance))...);
}
template <class T, int... I>
CRISP_INLINE Vec<T> every_quarter(Vec<T> v, Indices<I...>) {
  return __builtin_shufflevector(v, v, (I * (lanes<T> / 4) % lanes<T>)...);
}

// The sums of the lanes of four vectors, with the bits of sum_of_lanes(), in the first four lanes.
template <class T>
CRISP_INLINE Vec<T> sums_of_four(Vec<T> a, Vec<T> b, Vec<T> c, Vec<T> d) {
  using All = typename MakeIndices<lanes<T>>::Type;
  const auto plus = [](Vec<T> x, Vec<T> y) CRISP_INLINED { return x + y; };
  const Vec<T> first = fold_two<T, lanes<T> / 2>(a, c, All{}), second = fold_two<T, lanes<T> / 2>(b, d, All{});
  return every_quarter<T>(fold_lanes<T, lanes<T> / 8>(fold_two<T, lanes<T> / 4>(first, second, All{}), plus), All{});
}

// Vectors: whole vectors of a row, where they are all of it; 0: as many as `cols` says.
template <class T, int Vectors>
CRISP_INLINE void dot_rows(int64_t count, const int32_t* positions, const T* x, const T* y, int64_t y_row, int64_t cols,
                           T* out) {
  const int64_t whole = Vectors > 0 ? Vectors * lanes<T> : cols / lanes<T> * lanes<T>;
  const int64_t rest = Vectors > 0 ? 0 : cols - whole;
  const auto products = [=](int64_t t) CRISP_INLINED {
    const T* row = y + positions[t] * y_row;
    Vec<T> sum = rest > 0 ? load_first(x + whole, rest) * load_first(row + whole, rest) : Vec<T>{};
#pragma GCC unroll 8
    for (int64_t c = 0; c < whole; c += lanes<T>) sum += load(x + c) * load(row + c);
    return sum;
  };
  int64_t t = 0;
  if constexpr (lanes<T> >= 4)
    for (; t + 4 <= count; t += 4)
      store(out + t, sums_of_four<T>(products(t), products(t + 1), products(t + 2), products(t + 3)));
  for (; t < count; ++t) out[t] = sum_of_lanes<T>(products(t))[0];
}

}  // namespace detail

/// out[t] = x times row positions[t] of y. `out` has room for a vector more than `count`.
template <class T>
CRISP_INLINE void dot_listed_rows(int64_t count, const int32_t* positions, const T* x, const T* y, int64_t y_row,
                                  int64_t cols, T* out) {
  if (cols == 8 * lanes<T>) return detail::dot_rows<T, 8>(count, positions, x, y, y_row, cols, out);
  if (cols == 4 * lanes<T>) return detail::dot_rows<T, 4>(count, positions, x, y, y_row, cols, out);
  if (cols == 2 * lanes<T>) return detail::dot_rows<T, 2>(count, positions, x, y, y_row, cols, out);
  detail::dot_rows<T, 0>(count, positions, x, y, y_row, cols, out);
}

/// sum_listed_rows() for `rows` lists, whose row r is at starts[r] .. starts[r + 1].
template <class T>
CRISP_INLINE void sum_lists(int64_t rows, const int32_t* starts, const int32_t* positions, const T* factors,
                            const ColumnGroups<T>& x, int64_t cols, T* out, int64_t out_row, bool add) {
  for_groups(x.width, cols, [&](int64_t c, int64_t here) CRISP_INLINED {
    for (int64_t r = 0; r < rows; ++r) {
      if (c == 0) prefetch_row(out + min_of(r + 8, rows - 1) * out_row, cols);  // a row that will be written
      sum_listed_rows(starts[r + 1] - starts[r], positions + starts[r], factors + starts[r], x.data + c * x.next,
                      x.row > 0 ? x.row : here, here, out + r * out_row + c, add);
    }
  });
}
/// add_to_listed_rows() for them, with rows of x; `sums` [sum_rows, cols] lie in groups of group_width<T>.
template <class T>
CRISP_INLINE void add_lists(int64_t rows, const int32_t* starts, const int32_t* positions, const T* factors, const T* x,
                            int64_t x_row, int64_t cols, T* sums, int64_t sum_rows) {
  for_groups(group_width<T>, cols, [&](int64_t c, int64_t here) CRISP_INLINED {
    for (int64_t r = 0; r < rows; ++r) {
      if (c == 0 && r + 1 < rows) prefetch_row(x + (r + 1) * x_row, cols);
      add_to_listed_rows(starts[r + 1] - starts[r], positions + starts[r], factors + starts[r], x + r * x_row + c, here,
                         sums + c * sum_rows, here);
    }
  });
}

}  // namespace crisp::CRISP_ISA
