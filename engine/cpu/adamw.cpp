// AdamW in one pass over the parameter, and the same for rows of a table that have missed steps. Both run the same
// operations on an element, and this file is compiled without contraction (CMakeLists.txt), as formulas.h wants it: so
// rows that catch up have the bits of rows that never waited.
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/loops.h"
#include "engine/cpu/math.h"

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
  static const bool intel = __builtin_cpu_is("intel") != 0;
  return intel;
#else
  return false;
#endif
}

template <class T>
void adamw(int64_t n, const AdamWStep& s, const T* gradient, T* parameter, T* m, T* v) {
  constexpr int64_t line = 64 / sizeof(T), distance = 32 * line;
  const Constants<T> c(s);
  const Rates<T> r(adamw_rates(s));
  const T scale = static_cast<T>(s.gradient_scale);
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
        const T direction = T(0) / c.epsilon;
#pragma omp simd
        for (int64_t i = 0; i < piece<T>; ++i) parameter[i] = c.moved(r, parameter[i], direction);
      }
      return;
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
}

template <class T>
void adamw_rows(int64_t n, int64_t cols, const AdamWStep& s, const AdamWRates* rates, int64_t steps,
                const int32_t* rows, const int32_t* from, const T* gradient, T* parameter, T* m, T* v) {
  const Constants<T> c(s);
  const T scale = static_cast<T>(s.gradient_scale);
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
    replay(c, rates, from[i], gradient ? steps - 1 : steps, p1, m1, v1);
    if (gradient) {
      const Rates<T> r(rates[steps - 1]);
      const T* g = gradient + i * cols + col;
#pragma omp simd
      for (int64_t k = 0; k < width; ++k) c.advance(r, g[k] * scale, p1[k], m1[k], v1[k]);
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
}
template void fill_adamw(Kernels<float>&);
template void fill_adamw(Kernels<double>&);

}  // namespace crisp::CRISP_ISA
