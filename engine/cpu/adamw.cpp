// AdamW (Loshchilov & Hutter, arXiv 1711.05101) in one pass over the parameter, with epsilon added to the
// bias-corrected root, as torch.optim.AdamW does; and the same for rows of a table that have missed steps.
//
// Both run the same operations on an element, and this file is compiled without contraction (CMakeLists.txt): rounding
// then depends on the source alone, not on which product of which loop the compiler fuses with a sum. So rows that
// catch up have the bits of rows that never waited.
#include <cmath>

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/loops.h"
#include "engine/cpu/math.h"

namespace crisp::CRISP_ISA {
namespace {

// First moments below this become 0. Without new gradients they decay as beta1^k, and the smallest denormal numbers
// round to themselves for ever: on some CPUs each operation on them takes a hundred times as long. With |m| < 2^-100
// (f64: 2^-900) a step of learning rate r moves a weight by less than r * 1e-30 / epsilon. A second moment so small
// goes with its first moment, never alone: it is the denominator of what is left.
template <class T>
constexpr T negligible = sizeof(T) == 8 ? static_cast<T>(0x1p-900) : static_cast<T>(0x1p-100);

// What is the same for all steps, and what for all elements of a step, in the type of the computation.
template <class T>
struct Constants {
  T blend1, keep2, blend2, epsilon;
  CRISP_INLINE explicit Constants(const AdamWStep& s)
      : blend1(static_cast<T>(1 - s.beta1)),
        keep2(static_cast<T>(s.beta2)),
        blend2(static_cast<T>(1 - s.beta2)),
        epsilon(static_cast<T>(s.epsilon)) {}
};
template <class T>
struct Rates {
  T decay, size, root;
  CRISP_INLINE explicit Rates(const AdamWRates& r)
      : decay(static_cast<T>(r.decay)), size(static_cast<T>(r.size)), root(static_cast<T>(r.root)) {}
};

// One step of one element with the scaled gradient g.
template <class T>
CRISP_INLINE void advance(const Constants<T>& c, const Rates<T>& r, T g, T& parameter, T& m, T& v) {
  const T m1 = m + c.blend1 * (g - m);
  const T v1 = c.keep2 * v + c.blend2 * (g * g);
  const bool gone = (m1 < 0 ? -m1 : m1) < negligible<T>;
  m = gone ? T(0) : m1;
  v = gone && v1 < negligible<T> ? T(0) : v1;
  // The decay is not a factor 1 - decay: in f32 that would round away a good part of a decay of 1e-7.
  parameter -= r.decay * parameter + r.size * (m / (std::sqrt(v) * r.root + c.epsilon));
}

// Whether asking for memory ahead of the hardware's prefetcher pays: it does on Intel's Xeons (78 ms to 69 ms for 66
// million parameters), and does not on AMD's Zen 4.
bool prefetches() {
#ifdef __x86_64__
  static const bool intel = __builtin_cpu_is("intel") != 0;
  return intel;
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
  r.loss = call.loss ? static_cast<double>(*call.loss) : 0;
  const double share = call.max_norm > 0 ? call.max_norm / (r.norm + 1e-6) : 1;
  r.factor = share < 1 ? share : 1;
  r.is_finite = (r.norm + r.other + r.loss) - (r.norm + r.other + r.loss) == 0 ? 1 : 0;
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
      for (int64_t k = 0; k < line; ++k) advance(c, r, gradient[i + k] * scale, parameter[i + k], m[i + k], v[i + k]);
    }
#pragma omp simd
    for (int64_t k = i; k < end; ++k) advance(c, r, gradient[k] * scale, parameter[k], m[k], v[k]);
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

// Steps begin..end without a gradient.
template <class T>
CRISP_INLINE void replay(const Constants<T>& c, const AdamWRates* rates, int64_t begin, int64_t end, T* parameter, T* m,
                         T* v) {
  constexpr int64_t between_looks = 32;
  for (int64_t from = begin; from < end;) {
    const int64_t to = min_of(end, from + between_looks);
    // Once m is 0 it stays 0, and what it adds is size * (0 / denominator), which is 0 for a denominator above 0.
    const bool still = all_zero(m);
    if (still && all_zero(v)) {
      for (int64_t s = from; s < end; ++s) {
        const Rates<T> r(rates[s]);
        const T rest = r.size * (T(0) / c.epsilon);
#pragma omp simd
        for (int64_t i = 0; i < piece<T>; ++i) parameter[i] -= r.decay * parameter[i] + rest;
      }
      return;
    }
    if (still && c.epsilon > 0) {
      for (int64_t s = from; s < to; ++s) {
        const Rates<T> r(rates[s]);
        const T rest = r.size * T(0);
#pragma omp simd
        for (int64_t i = 0; i < piece<T>; ++i) {
          const T v1 = c.keep2 * v[i];
          v[i] = v1 < negligible<T> ? T(0) : v1;
          parameter[i] -= r.decay * parameter[i] + rest;
        }
      }
    } else {
      for (int64_t s = from; s < to; ++s) {
        const Rates<T> r(rates[s]);
#pragma omp simd
        for (int64_t i = 0; i < piece<T>; ++i) advance(c, r, T(0), parameter[i], m[i], v[i]);
      }
    }
    from = to;
  }
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
    replay(c, rates, from ? from[i] : steps - 1, gradient ? steps - 1 : steps, p1, m1, v1);
    if (gradient) {
      const Rates<T> r(rates[steps - 1]);
      const T* g = gradient + i * cols + col;
#pragma omp simd
      for (int64_t k = 0; k < width; ++k) advance(c, r, g[k] * scale, p1[k], m1[k], v1[k]);
    }
    for (int64_t k = 0; k < width; ++k) {
      parameter[at + k] = p1[k];
      m[at + k] = m1[k];
      v[at + k] = v1[k];
    }
  });
}

}  // namespace

template <class T>
void fill_adamw(Kernels<T>& table) {
  table.adamw = adamw<T>;
  table.adamw_rows = adamw_rows<T>;
  table.clip = clip<T>;
}
template void fill_adamw(Kernels<float>&);
template void fill_adamw(Kernels<double>&);

}  // namespace crisp::CRISP_ISA
