// AdamW in one pass over the parameter, and the same for rows of a table that have missed steps. Compiled without
// contraction (CMakeLists.txt), as formulas.h wants it.
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/simd/math.h"

namespace crisp::CRISP_ISA {
namespace {

template <class T>
using Constants = formulas::AdamW<T, Math>;
template <class T>
using Rates = typename Constants<T>::Rates;

// Whether asking for memory ahead of the hardware's prefetcher pays: it does on Intel's Xeons (78 ms to 69 ms for 66
// million parameters), and does not on AMD's Zen 4.
bool prefetches() {
#ifdef __x86_64__
  return __builtin_cpu_is("intel") != 0;
#else
  return false;
#endif
}

template <class T>
void clip(const ClipCall<T>& call) {
  double sum = 0, other = 0;
  for (int64_t i = 0; i < call.count; ++i) sum += *call.squares[i];
  for (int64_t i = 0; i < call.other_count; ++i) other += *call.other_squares[i];
  ClipResult& r = *call.result;
  r.norm = std::sqrt(sum);
  r.other = std::sqrt(other);
  r.loss = call.loss_before;
  for (int64_t i = 0; i < call.loss_count; ++i) r.loss += call.shares[i] * static_cast<double>(*call.losses[i]);
  r.penalty = call.penalty ? static_cast<double>(*call.penalty) : 0;
  r.factor = formulas::clip_factor(r.norm, call.max_norm);
  const bool stopped = call.before && call.before->is_finite == 0;
  r.is_finite = !stopped && (r.norm + r.other + r.loss) - (r.norm + r.other + r.loss) == 0 ? 1 : 0;
}

// What a gradient is multiplied with.
template <class T>
CRISP_INLINE T scale_of(const AdamWStep& s, bool clipped, const ClipResult* clip) {
  return static_cast<T>(clip && clipped ? s.gradient_scale * clip->factor : s.gradient_scale);
}

template <class T>
void update(const AdamWUpdate<T>& u, T scale) {
  constexpr int64_t line = 64 / sizeof(T), distance = 32 * line;
  const Constants<T> c(u.step);
  const Rates<T> r(adamw_rates(u.step));
  const T* gradient = u.gradient;
  T *parameter = u.parameter, *m = u.m, *v = u.v;
  const int64_t n = u.n;
  const bool ahead = prefetches();
  for_chunks(n, [=](int64_t begin, int64_t end) {
    int64_t i = begin;
    for (; ahead && i + line <= end; i += line) {
      const int64_t later = min_of(i + distance, n - 1);
      __builtin_prefetch(gradient + later);
      __builtin_prefetch(parameter + later);
      __builtin_prefetch(m + later);
      __builtin_prefetch(v + later);
#pragma omp simd
      for (int64_t k = 0; k < line; ++k) c.advance(r, gradient[i + k] * scale, parameter[i + k], m[i + k], v[i + k]);
    }
#pragma omp simd
    for (int64_t k = i; k < end; ++k) c.advance(r, gradient[k] * scale, parameter[k], m[k], v[k]);
  });
}

template <class T>
void adamw(int64_t count, const AdamWUpdate<T>* updates, const ClipResult* clip) {
  if (clip && clip->is_finite == 0) return;
  for (int64_t i = 0; i < count; ++i) update(updates[i], scale_of<T>(updates[i].step, updates[i].clipped, clip));
}

// A piece of a row: short enough for registers, so that memory is read and written once however many steps are due.
template <class T>
constexpr int64_t piece = 256 / sizeof(T);

template <class T>
CRISP_INLINE bool all_zero(const T* x) {
  int any = 0;
#pragma omp simd reduction(| : any)
  for (int64_t i = 0; i < piece<T>; ++i) any |= x[i] != 0;
  return any == 0;
}

// Steps begin..end without a gradient. False where m and v are as they were.
template <class T>
CRISP_INLINE bool replay(const Constants<T>& c, const AdamWRates* rates, int64_t begin, int64_t end, T* parameter, T* m,
                         T* v) {
  constexpr int64_t between_looks = 32;
  for (int64_t from = begin; from < end;) {
    const int64_t to = min_of(end, from + between_looks);
    // Once m is 0 it stays 0, and what it adds is size * (0 / denominator), which is 0 for a denominator above 0.
    const bool still = all_zero(m);
    if (still && all_zero(v)) {
      for (int64_t s = from; s < end; ++s) {
        const Rates<T> r(rates[s]);
        const T direction = T(0) / c.epsilon;
#pragma omp simd
        for (int64_t i = 0; i < piece<T>; ++i) parameter[i] = c.moved(r, parameter[i], direction);
      }
      return from > begin;
    }
    if (still && c.epsilon > 0) {
      for (int64_t s = from; s < to; ++s) {
        const Rates<T> r(rates[s]);
#pragma omp simd
        for (int64_t i = 0; i < piece<T>; ++i) {
          v[i] = c.flushed(c.faded(v[i]), true);
          parameter[i] = c.moved(r, parameter[i], T(0));
        }
      }
    } else {
      for (int64_t s = from; s < to; ++s) {
        const Rates<T> r(rates[s]);
#pragma omp simd
        for (int64_t i = 0; i < piece<T>; ++i) c.advance(r, T(0), parameter[i], m[i], v[i]);
      }
    }
    from = to;
  }
  return end > begin;
}

template <class T>
void adamw_rows(const AdamWRowsCall<T>& call, const ClipResult* clip) {
  if (clip && clip->is_finite == 0) return;
  const Constants<T> c(call.step);
  const T scale = scale_of<T>(call.step, call.clipped, clip);
  const AdamWRates* const rates = call.rates;
  const int64_t steps = call.steps, n = call.n, cols = call.cols;
  const int32_t *const rows = call.rows, *const from = call.from;
  const T* const gradient = call.gradient;
  T *const parameter = call.parameter, *const m = call.m, *const v = call.v;
  const int64_t across = divide_up(cols, piece<T>);
  // Rows differ in what they have missed, hence the dynamic schedule.
  parallel_tasks(n * across, 16, threads_if(n * cols >= parallel_threshold), [=](int64_t task) {
    const int64_t i = task / across, col = task % across * piece<T>, width = min_of(piece<T>, cols - col);
    const int64_t at = rows[i] * cols + col;
    T p1[piece<T>], m1[piece<T>], v1[piece<T>];
    for (int64_t k = 0; k < piece<T>; ++k) {
      const bool inside = k < width;
      p1[k] = inside ? parameter[at + k] : T(0);
      m1[k] = inside ? m[at + k] : T(0);
      v1[k] = inside ? v[at + k] : T(0);
    }
    const bool moved = replay(c, rates, from ? from[i] : steps - 1, gradient ? steps - 1 : steps, p1, m1, v1);
    if (gradient) {
      const Rates<T> r(rates[steps - 1]);
      const T* g = gradient + i * cols + col;
#pragma omp simd
      for (int64_t k = 0; k < width; ++k) c.advance(r, g[k] * scale, p1[k], m1[k], v1[k]);
    }
    for (int64_t k = 0; k < width; ++k) parameter[at + k] = p1[k];
    if (!gradient && !moved) return;  // memory that holds no moments but 0 may not be there yet
    for (int64_t k = 0; k < width; ++k) {
      m[at + k] = m1[k];
      v[at + k] = v1[k];
    }
  });
}

}  // namespace

void fill_adamw(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) {
    table.adamw = adamw<T>;
    table.adamw_rows = adamw_rows<T>;
    table.clip = clip<T>;
  });
}

}  // namespace crisp::CRISP_ISA
