// AdamW (Loshchilov & Hutter, arXiv 1711.05101) in one pass over the parameter, with epsilon added to the
// bias-corrected root, as torch.optim.AdamW does.
#include <cmath>

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/loops.h"

namespace crisp::CRISP_ISA {
namespace {

template <class T>
void adamw(StreamHandle, int64_t n, const AdamWStep& s, const T* gradient, T* parameter, T* m, T* v) {
  const auto step = static_cast<double>(s.step);
  // Not as a factor 1 - decay: in f32 that would round away a good part of a decay of 1e-7.
  const T decay = static_cast<T>(s.learning_rate * s.weight_decay);
  const T size = static_cast<T>(s.learning_rate / (1 - std::pow(s.beta1, step)));
  const T correction2 = static_cast<T>(std::sqrt(1 - std::pow(s.beta2, step)));
  const T scale = static_cast<T>(s.gradient_scale), epsilon = static_cast<T>(s.epsilon);
  const T blend1 = static_cast<T>(1 - s.beta1), keep2 = static_cast<T>(s.beta2), blend2 = static_cast<T>(1 - s.beta2);
  for_chunks(n, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const T g = gradient[i] * scale;
      m[i] += blend1 * (g - m[i]);
      v[i] = keep2 * v[i] + blend2 * (g * g);
      const T denominator = std::sqrt(v[i]) / correction2 + epsilon;
      parameter[i] -= decay * parameter[i] + size * (m[i] / denominator);
    }
  });
}

}  // namespace

template <class T>
void fill_adamw(Kernels<T>& table) {
  table.adamw = adamw<T>;
}
template void fill_adamw(Kernels<float>&);
template void fill_adamw(Kernels<double>&);

}  // namespace crisp::CRISP_ISA
