#include "tools/bench/ceilings.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <string_view>
#include <utility>

#include "engine/backend.h"
#include "engine/cpu/backend.h"
#include "engine/cpu/memory/allocator.h"
#include "engine/cpu/threads/team.h"
#include "engine/tensor.h"

#if defined(__x86_64__)
#define CRISP_X86 1
#include <immintrin.h>
#endif

namespace crisp::bench {
namespace {

// The loops are inlined into functions of the instruction set that they are for; V is a vector of its width.
#define CRISP_LOOP   \
  template <class V> \
  [[gnu::always_inline]] inline

using Vector16 [[gnu::vector_size(16), gnu::may_alias]] = float;
using Vector32 [[gnu::vector_size(32), gnu::may_alias]] = float;
using Vector64 [[gnu::vector_size(64), gnu::may_alias]] = float;

// Numbers that the compiler cannot know.
volatile float factor = 0.999f, summand = 0.001f;

constexpr int chains = 12;  // independent sums: enough for a latency of 4 to 6 cycles on two units

CRISP_LOOP float fma_loop(int64_t rounds) {
  const V x = V{} + factor, y = V{} + summand;
  V sum[chains];
  for (int c = 0; c < chains; ++c) sum[c] = y * static_cast<float>(c);
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 12
    for (int c = 0; c < chains; ++c) sum[c] = sum[c] * x + y;
  V total{};
  for (int c = 0; c < chains; ++c) total += sum[c];
  return total[0];
}

CRISP_LOOP float read_loop(const float* data, int64_t n) {
  constexpr int lanes = sizeof(V) / sizeof(float), block = 8 * lanes;
  V sum[8] = {};
  for (int64_t i = 0; i + block <= n; i += block)
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) sum[j] += *reinterpret_cast<const V*>(data + i + j * lanes);
  V total{};
  for (const V& s : sum) total += s;
  return total[0];
}

struct Arrays {
  float *parameter, *gradient, *m, *v;
};

CRISP_LOOP void update_loop(const Arrays& a, int64_t begin, int64_t end) {
  constexpr int lanes = sizeof(V) / sizeof(float);
  const auto at = [](float* data, int64_t i) -> V& { return *reinterpret_cast<V*>(data + i); };
  const V x = V{} + factor, y = V{} + summand;
  for (int64_t i = begin; i + lanes <= end; i += lanes) {
    const V g = at(a.gradient, i), m = at(a.m, i) * x + g * y, v = at(a.v, i) * x + g * g * y;
    at(a.m, i) = m;
    at(a.v, i) = v;
    at(a.parameter, i) = at(a.parameter, i) * x + m * v * y;
  }
}

// One set of loops for each instruction set.
struct Loops {
  const char* name;
  int lanes;
  float (*fma)(int64_t rounds);
  float (*read)(const float*, int64_t);
  void (*update)(const Arrays&, int64_t, int64_t);
};

float fma_generic(int64_t rounds) { return fma_loop<Vector16>(rounds); }
float read_generic(const float* data, int64_t n) { return read_loop<Vector16>(data, n); }
void update_generic(const Arrays& a, int64_t begin, int64_t end) { update_loop<Vector16>(a, begin, end); }

#if CRISP_X86
#define CRISP_AVX2 [[gnu::target("avx2,fma")]]
#define CRISP_AVX512 [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,fma")]]
CRISP_AVX2 float fma_avx2(int64_t rounds) { return fma_loop<Vector32>(rounds); }
CRISP_AVX2 float read_avx2(const float* data, int64_t n) { return read_loop<Vector32>(data, n); }
CRISP_AVX2 void update_avx2(const Arrays& a, int64_t begin, int64_t end) { update_loop<Vector32>(a, begin, end); }
CRISP_AVX512 float fma_avx512(int64_t rounds) { return fma_loop<Vector64>(rounds); }
CRISP_AVX512 float read_avx512(const float* data, int64_t n) { return read_loop<Vector64>(data, n); }
CRISP_AVX512 void update_avx512(const Arrays& a, int64_t begin, int64_t end) { update_loop<Vector64>(a, begin, end); }

[[gnu::target("avx512f,avx512bf16")]] float dpbf16(int64_t rounds) {
  const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(0x3f7f3f7f + (factor > 2))));
  __m512 sum[chains];
  for (int c = 0; c < chains; ++c) sum[c] = _mm512_set1_ps(static_cast<float>(c));
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 12
    for (int c = 0; c < chains; ++c) sum[c] = _mm512_dpbf16_ps(sum[c], x, x);
  __m512 total = sum[0];
  for (int c = 1; c < chains; ++c) total = _mm512_add_ps(total, sum[c]);
  return _mm512_cvtss_f32(total);
}

// Four tiles of sums from two of each factor, as a matrix product would use them; all numbers are 0.
[[gnu::target("amx-tile,amx-bf16")]] float amx(int64_t rounds) {
  struct alignas(64) Config {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } const config;
  // Not _tile_loadconfig: GCC 12 tells the compiler of its first 8 bytes only.
  asm volatile("ldtilecfg %0" : : "m"(config) : "memory");
  asm volatile(
      "tilezero %%tmm0\n tilezero %%tmm1\n tilezero %%tmm2\n tilezero %%tmm3\n"
      "tilezero %%tmm4\n tilezero %%tmm5\n tilezero %%tmm6\n tilezero %%tmm7"
      :
      :
      : "memory");
  for (int64_t r = 0; r < rounds; ++r)
    asm volatile(
        "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n"
        "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n tdpbf16ps %%tmm7, %%tmm5, %%tmm3"
        :
        :
        : "memory");
  asm volatile("tilerelease");
  return 0;
}
#endif

Loops loops() {
#if CRISP_X86
  const std::string_view isa = cpu_instruction_set();
  if (isa == "avx512") return {"avx512", 16, fma_avx512, read_avx512, update_avx512};
  if (isa == "avx2") return {"avx2", 8, fma_avx2, read_avx2, update_avx2};
#endif
  return {"generic", 4, fma_generic, read_generic, update_generic};
}

// f(thread) on every thread at once.
template <class F>
void on_all_threads(int threads, F f) {
  parallel_for(threads, threads, [&](int64_t t) { f(t); });
}

// Rates of `work` from the time of f.
template <class F>
Spread rate_of(double work, const Effort& effort, F f) {
  const Spread time = measure(f, effort);
  return {work / time.median, work / time.q3, work / time.q1, time.samples};
}

std::atomic<float> sink;  // what is computed must go somewhere, from any thread

// Of a loop that does `per_round` operations on each thread.
Spread arithmetic(int threads, double per_round, float (*loop)(int64_t), const Effort& effort) {
  constexpr int64_t rounds = 400'000;
  const double work = per_round * static_cast<double>(rounds) * threads;
  return rate_of(work, effort, [&] {
    on_all_threads(threads, [&](int64_t) { sink.store(loop(rounds), std::memory_order_relaxed); });
  });
}

// Thread t's share of n floats, in whole blocks of 128.
std::pair<int64_t, int64_t> part(int64_t n, int64_t t, int threads) {
  const int64_t blocks = n / 128;
  return {blocks * t / threads * 128, blocks * (t + 1) / threads * 128};
}

// Memory as tensors have it (the same allocator), filled by the threads that will use it.
class Buffer {
 public:
  Buffer(int threads, int64_t floats)
      : data_(static_cast<float*>(cached_allocate(static_cast<size_t>(floats) * sizeof(float)))) {
    on_all_threads(threads, [&](int64_t t) {
      const auto [begin, end] = part(floats, t, threads);
      std::fill(data_ + begin, data_ + end, 0.5f);
    });
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    cached_free(data_);
    release_cached_memory();
  }
  float* data() const { return data_; }

 private:
  float* data_;
};

}  // namespace

Ceiling fma_ceiling(int threads, const Effort& effort) {
  const Loops l = loops();
  return {arithmetic(threads, 2.0 * chains * l.lanes, l.fma, effort), fmt::format("{} multiply-add", l.name)};
}

Ceiling dpbf16_ceiling(int threads, const Effort& effort) {
#if CRISP_X86
  if (loops().lanes == 16 && __builtin_cpu_supports("avx512bf16"))
    return {arithmetic(threads, 4.0 * chains * 16, dpbf16, effort), "vdpbf16ps"};
#endif
  (void)threads, (void)effort;
  return {};
}

Ceiling amx_ceiling(int threads, const Effort& effort) {
#if CRISP_X86
  if (loops().lanes == 16 && amx_usable())
    return {arithmetic(threads, 4 * 2.0 * 16 * 16 * 32, amx, effort), "tdpbf16ps"};
#endif
  (void)threads, (void)effort;
  return {};
}

void read_in_order(int threads, const float* data, int64_t n) {
  const auto read = loops().read;
  on_all_threads(threads, [&](int64_t t) {
    const auto [begin, end] = part(n, t, threads);
    sink.store(read(data + begin, end - begin), std::memory_order_relaxed);
  });
}

void update_in_place(int threads, float* parameter, float* gradient, float* m, float* v, int64_t n) {
  const auto update = loops().update;
  const Arrays arrays{parameter, gradient, m, v};
  on_all_threads(threads, [&](int64_t t) {
    const auto [begin, end] = part(n, t, threads);
    update(arrays, begin, end);
  });
}

Ceiling read_ceiling(int threads, int64_t bytes, const Effort& effort) {
  const int64_t n = bytes / static_cast<int64_t>(sizeof(float)) / 128 * 128;
  const Buffer buffer(threads, n);
  const Spread rate = rate_of(4.0 * static_cast<double>(n), effort, [&] { read_in_order(threads, buffer.data(), n); });
  return {rate, fmt::format("{:.3g} MB in order", static_cast<double>(n) * 4e-6)};
}

Ceiling update_ceiling(int threads, int64_t bytes, const Effort& effort) {
  const int64_t n = bytes / static_cast<int64_t>(4 * sizeof(float)) / 128 * 128;
  const Buffer parameter(threads, n), gradient(threads, n), m(threads, n), v(threads, n);
  const Spread rate = rate_of(28.0 * static_cast<double>(n), effort, [&] {
    update_in_place(threads, parameter.data(), gradient.data(), m.data(), v.data(), n);
  });
  return {rate, fmt::format("4 arrays of {:.3g} MB in place", static_cast<double>(n) * 4e-6)};
}

Ceiling copy_ceiling(Device device, int64_t bytes, const Effort& effort) {
  const int64_t n = std::max<int64_t>(bytes / static_cast<int64_t>(2 * sizeof(float)), 1);
  const Tensor from = Tensor::full({n}, DType::f32, 1, device), to = Tensor::full({n}, DType::f32, 0, device);
  const double work = 8.0 * static_cast<double>(n);
  const Spread time = measure([&] { to.copy_from(from); }, effort, backend(device).wait);
  return {{work / time.median, work / time.q3, work / time.q1, time.samples},
          fmt::format("{:.3g} MB copied", static_cast<double>(n) * 4e-6)};
}

Ceiling product_ceiling(DType dtype, const Context& context, Device device, const Effort& effort) {
  if (device != Device::cpu) return {};
  const int threads = context.threads();
  const MatmulPrecision precision = context.products();
  const auto scaled = [](Ceiling c, double by) {
    c.rate.median /= by;
    c.rate.q1 /= by;
    c.rate.q3 /= by;
    return c;
  };
  if (dtype == DType::f64) return scaled(fma_ceiling(threads, effort), 2);
  if (precision == MatmulPrecision::f32) return fma_ceiling(threads, effort);
  const Ceiling tiles = amx_ceiling(threads, effort);
  const Ceiling bf16 = tiles ? tiles : dpbf16_ceiling(threads, effort);
  const double products = precision == MatmulPrecision::bf16x3 ? 3 : (precision == MatmulPrecision::bf16x6 ? 6 : 1);
  return scaled(bf16, products);
}

}  // namespace crisp::bench
