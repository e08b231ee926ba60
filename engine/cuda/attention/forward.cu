// Attention over packed sequences, forward. A block of threads forms the scores of a few queries of one (sequence,
// head), decides which keys they keep, makes weights of the scores and sums the values. No sum crosses blocks. A
// percentile is found before, from scores of their own.
#include "engine/cuda/attention/normalisers.cuh"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

// What is found before the rows, and what is left of each beside weights and output.
template <class T>
struct RowsExtra {
  bool scores_only = false;         // then `weights` become the scaled scores, and that is all
  const UInt<T>* limits = nullptr;  // the key of each (sequence, head)'s percentile
  double* entropies = nullptr;      // of each row (AttentionBlock::rows), if wanted, as the next
  double* logs = nullptr;           // of how many keys were kept before the normaliser
};

template <class T>
__device__ __forceinline__ UInt<T> limit_of(const AttentionShape& s, const RowsExtra<T>& extra, int64_t index) {
  if (s.selection == Selection::percentile_head) return extra.limits[index];
  return key_of(static_cast<T>(s.threshold));
}

template <class T, bool Lists>
__global__ void __launch_bounds__(attention_threads, 2)
    attention_rows(AttentionShape s, AttentionCall<T> call, int groups, RowsExtra<T> extra) {
  const auto [index, group] = cell_of(blockIdx.x, groups);
  const AttentionBlock b = attention_block(s, index);
  const RowsMemory<T> memory;
  const int lane = threadIdx.x % warp, cols = static_cast<int>(s.head_dim);
  const bool is_short = b.n_k <= short_row<T> && !extra.scores_only;
  T* weights = call.weights + b.weights;
  const T scale = static_cast<T>(s.scale);
  for (int tile = static_cast<int>(group); tile * tile_rows < b.n_q; tile += groups) {
    const WarpRows rows(tile, b.n_q);
    const auto row_of = [&](int r) { return is_short ? memory.row(r) : weights + rows.offset(r, b.n_k); };
    row_products(call.q + b.q, b.q_row, tile, b.n_q, call.k + b.k, b.k_row, b.n_k, cols, memory.tiles,
                 [&](int r, int j, T product) { row_of(r)[j] = present(scale * product); });
    if (extra.scores_only) continue;
    T factor[warp_rows] = {};
#pragma unroll
    for (int r = 0; r < warp_rows; ++r) {
      if (r >= rows.count) continue;
      const int i = rows.query(r);
      const ScoreRow<T> row{i, b.n_k, row_of(r), b.weights + rows.offset(r, b.n_k)};
      const bool want_entropy = extra.entropies != nullptr;
      int kept = b.n_k;
      RowWeights<T> made;
      if constexpr (Lists) {
        if (s.span_ramp > 0) keep_span(s, row, static_cast<double>(call.span[b.head]));
        if (s.selection != Selection::all) select_keys(s, b, row, limit_of(s, extra, index));
        if (s.key_dropout.p > 0) drop_keys(s, row, b.weights);
        if (want_entropy) kept = count_kept(row);
        made = normalise_row(s.normaliser, row, want_entropy);
        if (lane == 0) call.counts[b.rows + i] = made.count;
      } else {
        made = softmax_row(row, want_entropy);
      }
      if (s.dropout.p > 0) mark_dropped<Lists>(s.dropout, row, made.count);
      factor[r] = made.factor;
      if (want_entropy && lane == 0) {
        extra.entropies[b.rows + i] = made.entropy;
        extra.logs[b.rows + i] = Math::log(static_cast<double>(kept));
      }
    }
    const T up = formulas::dropout_factor<T>(s.dropout.p);
    weighted_sums(
        rows.count, call.v + b.k, b.k_row, b.n_k, cols, memory.room,
        [&](int r, int j, bool last) {
          const T x = row_of(r)[j], w = x * factor[r];
          if (last) weights[rows.offset(r, b.n_k) + j] = Lists && is_absent(x) ? T(0) : w;
          if (Lists && is_absent(x)) return x;
          return s.dropout.p > 0 ? formulas::weight_dropout(unmarked(w), marked_factor(w, up)) : w;
        },
        [&](int r, int c, T sum) { call.out[b.out + rows.query(r) * b.dim + c] = sum; });
  }
}

// The sum over a block of a number from each of its warps, which has their smallest with `smallest`; `room` holds two
// an a warp and is used by turns.
template <class V>
__device__ __forceinline__ V over_warps(V mine, bool smallest, V* room, int& turn) {
  constexpr unsigned warps = attention_warps;
  turn ^= 1;
  V* now = room + turn * warps;
  if (threadIdx.x % warp == 0) now[threadIdx.x / warp] = mine;
  __syncthreads();
  V all = now[0];
  for (unsigned w = 1; w < warps; ++w) all = smallest ? min(all, now[w]) : all + now[w];
  return all;
}

// The keys of each (sequence, head)'s percentile, with linear interpolation between order statistics, as
// numpy.quantile and torch.quantile, from its scores.
template <class T>
__global__ void __launch_bounds__(attention_threads, 2)
    attention_percentile(AttentionShape s, const T* scores, UInt<T>* limits) {
  using K = UInt<T>;
  const AttentionBlock b = attention_block(s, blockIdx.x);
  const int64_t n = static_cast<int64_t>(b.n_q) * b.n_k;
  if (n == 0) return;
  const T* x = scores + b.weights;
  auto* room = shared_memory<uint64_t>();
  int turn = 0;
  const auto count = [&](auto counts) {
    unsigned mine = 0;
    for (int64_t e = threadIdx.x; e < n; e += attention_threads) mine += counts(key_of(x[e])) ? 1 : 0;
    return static_cast<int64_t>(over_warps<uint64_t>(__reduce_add_sync(all_lanes, mine), false, room, turn));
  };
  const auto smallest = [&](auto counts) {
    K mine = largest_key<T>;
    for (int64_t e = threadIdx.x; e < n; e += attention_threads) {
      const K key = key_of(x[e]);
      mine = counts(key) ? min(mine, key) : mine;
    }
    for (int distance = 16; distance > 0; distance >>= 1) mine = min(mine, __shfl_xor_sync(all_lanes, mine, distance));
    return static_cast<K>(over_warps<uint64_t>(mine, true, room, turn));
  };
  const double position = s.sparsity * static_cast<double>(n - 1);
  const auto below = static_cast<int64_t>(position);
  const T fraction = static_cast<T>(position - static_cast<double>(below));
  int64_t kept;
  const K least = keep_largest<K>(n, n - below, kept, [&](K limit) { return count([=](K k) { return k >= limit; }); });
  const K low = smallest([=](K key) { return key >= least; });
  K limit = low;
  if (below + 1 < n && fraction != T(0)) {
    // The next one up: equal to `low` if that occurs again among the n - below largest.
    K high = smallest([=](K key) { return key > low; });
    if (count([=](K key) { return key > low; }) < n - below - 1) high = low;
    const T from = score_of<T>(low);
    limit = key_of(from + fraction * (score_of<T>(high) - from));
  }
  if (threadIdx.x == 0) limits[blockIdx.x] = limit;
}

// Sums over the rows of each (sequence, head), a warp each, in an order that does not depend on its neighbours.
__global__ void __launch_bounds__(attention_threads, 2)
    attention_stats(AttentionShape s, const int32_t* counts, const double* entropies, const double* logs,
                    double* stats) {
  const int64_t all = s.batch * s.heads, index = thread_index() / warp;
  if (index >= all) return;
  const AttentionBlock b = attention_block(s, index);
  double kept = 0, entropy = 0, log_kept = 0;
  for (int i = threadIdx.x % warp; i < b.n_q; i += warp) {
    kept += counts ? counts[b.rows + i] : b.n_k;
    entropy += entropies[b.rows + i];
    log_kept += logs[b.rows + i];
  }
  kept = warp_sum(kept);
  entropy = warp_sum(entropy);
  log_kept = warp_sum(log_kept);
  if (threadIdx.x % warp != 0) return;
  stats[index] = kept;
  stats[all + index] = entropy;
  stats[2 * all + index] = log_kept;
}

template <class T, bool Lists>
void attention_of(const AttentionShape& s, const AttentionCall<T>& call) {
  const int64_t blocks = s.batch * s.heads, rows = call.stats ? s.queries * s.heads : 0;
  const int groups = static_cast<int>(tile_groups(s.queries, s.batch, tile_rows));
  const Grid grid{blocks * groups, attention_threads, RowsMemory<T>::bytes};
  const bool percentile = s.selection == Selection::percentile_head;
  RowsExtra<T> extra;
  auto* memory = percentile || call.stats ? scratch_of<double>(2 * rows + (percentile ? blocks : 0)) : nullptr;
  if (call.stats) {
    extra.entropies = memory;
    extra.logs = memory + rows;
  }
  if constexpr (Lists) {
    if (percentile) {
      auto* limits = reinterpret_cast<UInt<T>*>(memory + 2 * rows);
      RowsExtra<T> only;
      only.scores_only = true;
      launch("attention_scores", grid, attention_rows<T, Lists>, s, call, groups, only);
      launch("attention_percentile", {blocks, attention_threads, 2 * attention_warps * sizeof(uint64_t)},
             attention_percentile<T>, s, static_cast<const T*>(call.weights), limits);
      extra.limits = limits;
    }
  }
  launch("attention", grid, attention_rows<T, Lists>, s, call, groups, extra);
  if (call.stats)
    launch("attention_stats", {divide_up(blocks, attention_warps), attention_threads}, attention_stats, s,
           static_cast<const int32_t*>(call.counts), static_cast<const double*>(extra.entropies),
           static_cast<const double*>(extra.logs), call.stats);
}

template <class T>
void attention(const AttentionShape& s, const AttentionCall<T>& call) {
  by_lists(s) ? attention_of<T, true>(s, call) : attention_of<T, false>(s, call);
}

}  // namespace

void fill_attention(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) { table.attention = attention<T>; });
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
