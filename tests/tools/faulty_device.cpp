// The main() of a program that has a CUDA device with a mistake in one backward kernel: the CPU's kernels, but for the
// one that the environment variable CRISP_PLANTED names (factor, lost-term, wrong-index).
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "engine/backend.h"

int program_main(int argc, char** argv);

namespace {

using namespace crisp;

const Kernels<double>& right() { return backend(Device::cpu).f64; }

// One element in ten thousand too large: LayerNorm's gradient for its input.
void with_factor(const LayerNormGradient<double>& call) {
  right().layer_norm_backward(call);
  if (call.dx && call.cols > 3) call.dx[3] *= 1 + 1e-4;
}

// Of GELU's derivative Phi(x) + x phi(x), the second term.
void without_term(int64_t rows, int64_t cols, const double* x, const double* dy, double* dx, double* y, double* dbias,
                  double beta) {
  const auto n = static_cast<size_t>(rows * cols);
  const std::vector<double> before(x, x + n), given(dy, dy + n);
  right().gelu_backward(rows, cols, x, dy, dx, y, dbias, beta);
  for (size_t i = 0; i < n; ++i) dx[i] = given[i] * 0.5 * std::erfc(-before[i] / std::sqrt(2.0));
}

// The gradients of two logits change places.
void with_wrong_index(int64_t rows, int64_t cols, const double* probabilities, const int32_t* labels, const double* dy,
                      double* dlogits, double beta) {
  right().cross_entropy_backward(rows, cols, probabilities, labels, dy, dlogits, beta);
  std::swap(dlogits[0], dlogits[1]);
}

}  // namespace

int main(int argc, char** argv) {
  static Kernels<double> f64 = right();
  const char* const planted = std::getenv("CRISP_PLANTED");
  const std::string word = planted ? planted : "";
  if (word == "factor") f64.layer_norm_backward = with_factor;
  if (word == "lost-term") f64.gelu_backward = without_term;
  if (word == "wrong-index") f64.cross_entropy_backward = with_wrong_index;
  const Backend& cpu = backend(Device::cpu);
  static const Backend device{.name = "cuda",
                              .problem = cpu.problem,
                              .allocate = cpu.allocate,
                              .allocate_zeroed = cpu.allocate_zeroed,
                              .free = cpu.free,
                              .used_bytes = cpu.used_bytes,
                              .peak_bytes = cpu.peak_bytes,
                              .held_bytes = cpu.held_bytes,
                              .copy = cpu.copy,
                              .join = cpu.join,
                              .wait = cpu.wait,
                              .moments = cpu.moments,
                              .products_form_squares = cpu.products_form_squares,
                              .products_sum_operands = cpu.products_sum_operands,
                              .launches_kernels = cpu.launches_kernels,
                              .supports = cpu.supports,
                              .kernels_for = cpu.kernels_for,
                              .f32 = cpu.f32,
                              .f64 = f64};
  register_backend(Device::cuda, device);
  return program_main(argc, argv);
}
