// The optimizer's step: clipping's numbers, AdamW of many parameters in one launch, and of rows of a table that have
// missed steps. Compiled without contraction, as formulas.h wants it.
#include "engine/cuda/packs.cuh"
#include "engine/cuda/staging.h"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

template <class T>
using Constants = formulas::AdamW<T, Math>;
template <class T>
using Rates = typename Constants<T>::Rates;

// --- clipping --------------------------------------------------------------------------------------------------------

constexpr int most_numbers = 160;  // in one launch: more than DistilBERT has parameters

// Numbers in the device's memory, by pointers that travel with the launch, and where their sum begins.
template <class T>
struct Numbers {
  const T* at[most_numbers];
  double shares[most_numbers];  // what each is multiplied with
  int count = 0;
  double first = 0;
  const double* sum_before = nullptr;  // then that instead of `first`
};

// For a block, and all threads of it: one number after the other, as the CPU adds them.
template <class T>
__device__ double sum_of(const Numbers<T>& numbers, double* space) {
  double sum = numbers.sum_before ? *numbers.sum_before : numbers.first;
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < numbers.count; i += static_cast<int>(blockDim.x))
    space[i] = numbers.shares[i] * static_cast<double>(*numbers.at[i]);
  __syncthreads();
  for (int i = 0; i < numbers.count; ++i) sum += space[i];
  return sum;
}

template <class T>
__global__ void sum_numbers(const __grid_constant__ Numbers<T> numbers, double* out) {
  const double sum = sum_of(numbers, shared_memory<double>());
  if (threadIdx.x == 0) *out = sum;
}

template <class T>
__global__ void find_clip(const __grid_constant__ Numbers<double> squares,
                          const __grid_constant__ Numbers<double> others, const __grid_constant__ Numbers<T> losses,
                          const T* penalty, double max_norm, const ClipResult* before, ClipResult* result) {
  double* const space = shared_memory<double>();
  ClipResult r{};
  r.norm = sqrt(sum_of(squares, space));
  r.other = sqrt(sum_of(others, space));
  r.loss = sum_of(losses, space);
  r.penalty = penalty ? static_cast<double>(*penalty) : 0;
  r.factor = formulas::clip_factor(r.norm, max_norm);
  const bool stopped = before && before->is_finite == 0;
  r.is_finite = !stopped && (r.norm + r.other + r.loss) - (r.norm + r.other + r.loss) == 0 ? 1 : 0;
  if (threadIdx.x == 0) *result = r;
}

constexpr Grid one_block{1, 128, most_numbers * sizeof(double)};

// The last of the numbers, with the sum of those before in *room where they are more than a launch takes.
template <class T>
Numbers<T> gather(const T* const* at, const double* shares, int64_t count, double first, double* room) {
  Numbers<T> numbers;
  numbers.first = first;
  for (int64_t i = 0; i < count; ++i) {
    if (numbers.count == most_numbers) {
      launch("clip", one_block, sum_numbers<T>, numbers, room);
      numbers.count = 0;
      numbers.sum_before = room;
    }
    numbers.at[numbers.count] = at[i];
    numbers.shares[numbers.count++] = shares ? shares[i] : 1;
  }
  return numbers;
}

template <class T>
void clip(const ClipCall<T>& call) {
  auto* const room = scratch_of<double>(3);
  const auto squares = gather(call.squares, nullptr, call.count, 0, room);
  const auto others = gather(call.other_squares, nullptr, call.other_count, 0, room + 1);
  const auto losses = gather(call.losses, call.shares, call.loss_count, call.loss_before, room + 2);
  launch("clip", one_block, find_clip<T>, squares, others, losses, call.penalty, call.max_norm, call.before,
         call.result);
}

// What a gradient is multiplied with.
template <class T>
__device__ T scale_of(double gradient_scale, bool clipped, const ClipResult* clip) {
  return static_cast<T>(clip && clipped ? gradient_scale * clip->factor : gradient_scale);
}

// --- whole parameters ------------------------------------------------------------------------------------------------

template <class T>
struct Update {
  int64_t n;
  const T* gradient;
  T *parameter, *m, *v;
  Constants<T> constants;
  Rates<T> rates;
  double gradient_scale;
  bool clipped, wide;
  unsigned first_block;
};
constexpr int most_updates = 128;  // in one launch
template <class T>
struct Updates {
  int count = 0;
  unsigned blocks = 0;
  // Room for most_updates, which are not made before they are there.
  alignas(Update<T>) unsigned char bytes[most_updates * sizeof(Update<T>)];
  CRISP_INLINE const Update<T>& operator[](int i) const { return reinterpret_cast<const Update<T>*>(bytes)[i]; }
};

constexpr int64_t per_thread = 8, per_block = 256 * per_thread;

template <class T>
__global__ void __launch_bounds__(256) update_all(const __grid_constant__ Updates<T> updates, const ClipResult* clip) {
  if (clip && clip->is_finite == 0) return;
  const Update<T>& u = updates[part_of(blockIdx.x, updates.count, [&](int i) { return updates[i].first_block; })];
  const T scale = scale_of<T>(u.gradient_scale, u.clipped, clip);
  const int64_t begin = static_cast<int64_t>(blockIdx.x - u.first_block) * per_block;
  const int64_t end = min(begin + per_block, u.n), packs_end = u.wide ? end & ~int64_t{3} : begin;
  for (int64_t i = begin + 4 * threadIdx.x; i < packs_end; i += 4 * 256) {
    const Pack<T, 4> g = load<4>(u.gradient + i);
    Pack<T, 4> p = load<4>(u.parameter + i), m = load<4>(u.m + i), v = load<4>(u.v + i);
#pragma unroll
    for (int k = 0; k < 4; ++k) u.constants.advance(u.rates, g.v[k] * scale, p.v[k], m.v[k], v.v[k]);
    store(u.parameter + i, p);
    store(u.m + i, m);
    store(u.v + i, v);
  }
  for (int64_t i = packs_end + threadIdx.x; i < end; i += 256)
    u.constants.advance(u.rates, u.gradient[i] * scale, u.parameter[i], u.m[i], u.v[i]);
}

template <class T>
void adamw(int64_t count, const AdamWUpdate<T>* updates, const ClipResult* clip) {
  Updates<T> table;
  const auto run = [&] {
    launch("adamw", {table.blocks, 256}, update_all<T>, table, clip);
    table.count = 0;
    table.blocks = 0;
  };
  for (int64_t i = 0; i < count; ++i) {
    const AdamWUpdate<T>& u = updates[i];
    if (u.n == 0) continue;
    if (table.count == most_updates) run();
    new (reinterpret_cast<Update<T>*>(table.bytes) + table.count++)
        Update<T>{u.n,
                  u.gradient,
                  u.parameter,
                  u.m,
                  u.v,
                  Constants<T>(u.step),
                  Rates<T>(adamw_rates(u.step)),
                  u.step.gradient_scale,
                  u.clipped,
                  are_aligned({u.gradient, u.parameter, u.m, u.v}),
                  table.blocks};
    table.blocks += static_cast<unsigned>(divide_up(u.n, per_block));
  }
  run();
}

// --- rows that missed steps ------------------------------------------------------------------------------------------

// One element through the steps begin..end without a gradient.
template <class T>
__device__ void replay(const Constants<T>& c, const AdamWRates* rates, int64_t begin, int64_t end, T& parameter, T& m,
                       T& v) {
  for (int64_t s = begin; s < end; ++s) {
    const Rates<T> r(rates[s]);
    if (m == T(0) && c.epsilon > T(0)) {  // it stays 0, and what it adds is 0: the root and the quotient are spared
      v = c.flushed(c.faded(v), true);
      parameter = c.moved(r, parameter, T(0));
    } else {
      c.advance(r, T(0), parameter, m, v);
    }
  }
}

// `rates` are in the device's memory, or the one of `only` serves.
template <class T>
__global__ void __launch_bounds__(256)
    update_rows(const __grid_constant__ AdamWRowsCall<T> call, const __grid_constant__ AdamWRates only,
                const AdamWRates* rates, const ClipResult* clip) {
  if (clip && clip->is_finite == 0) return;
  const int64_t element = thread_index();
  if (element >= call.n * call.cols) return;
  const Cell cell = cell_of(element, call.cols);
  const int64_t at = call.rows[cell.row] * call.cols + cell.col;
  const Constants<T> c(call.step);
  T p = call.parameter[at], m = call.m[at], v = call.v[at];
  const AdamWRates* const all = rates ? rates : &only;
  replay(c, all, call.from ? call.from[cell.row] : call.steps - 1, call.gradient ? call.steps - 1 : call.steps, p, m,
         v);
  if (call.gradient) {
    const T scale = scale_of<T>(call.step.gradient_scale, call.clipped, clip);
    c.advance(Rates<T>(all[call.steps - 1]), call.gradient[element] * scale, p, m, v);
  }
  call.parameter[at] = p;
  call.m[at] = m;
  call.v[at] = v;
}

template <class T>
void adamw_rows(const AdamWRowsCall<T>& call, const ClipResult* clip) {
  if (call.steps == 0) return;
  AdamWRates* rates = nullptr;
  if (call.steps > 1) {
    rates = scratch_of<AdamWRates>(call.steps);
    copy_to_device(rates, call.rates, static_cast<size_t>(call.steps) * sizeof(AdamWRates));
  }
  launch("adamw_rows", {divide_up(call.n * call.cols, 256)}, update_rows<T>, call, call.rates[0], rates, clip);
}

}  // namespace

void fill_adamw(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) {
    table.adamw = adamw<T>;
    table.adamw_rows = adamw_rows<T>;
    table.clip = clip<T>;
  });
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
