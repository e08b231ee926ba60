// time_packing [ROUNDS [ROWS [BLOCKS]]]: what the matrix products for AMX take without the tile instructions, on any
// CPU with AVX-512 BF16: packing, loops, and what becomes of c. The products of a training step of DistilBERT, each
// with its own matrices, so that weights and gradients come from memory as they do in a step; medians.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <vector>

#include "engine/context.h"
#include "engine/cpu/backend.h"
#include "engine/host_memory.h"
#include "tests/engine/idle_tiles.h"

namespace {

using namespace crisp;
using Matrix = std::vector<float, CachedAlloc<float>>;

Matrix matrix(int64_t rows, int64_t cols) { return Matrix(static_cast<size_t>(rows * cols), 0.25f); }

// A linear layer: y = x w' + bias.
struct Layer {
  int64_t rows, in, out;
  Matrix x, w, y, gradient, bias, gelu;
  double squares = 0;

  Layer(int64_t row_count, int64_t inputs, int64_t outputs)
      : rows(row_count),
        in(inputs),
        out(outputs),
        x(matrix(rows, in)),
        w(matrix(out, in)),
        y(matrix(rows, out)),
        gradient(matrix(out, in)),
        bias(matrix(1, out)),
        gelu(out > in ? matrix(rows, out) : Matrix()) {}

  GemmCall<float> forward() {
    GemmCall<float> call{.trans_b = true, .m = rows, .n = out, .k = in, .a = x.data(), .b = w.data(), .c = y.data()};
    call.bias = bias.data();
    if (!gelu.empty()) call.gelu_out = gelu.data();
    return call;
  }
  GemmCall<float> input_gradient() {
    return {.m = rows, .n = in, .k = out, .a = y.data(), .b = w.data(), .c = x.data()};
  }
  GemmCall<float> weight_gradient() {
    GemmCall<float> call{.trans_a = true, .m = out, .n = in, .k = rows, .a = y.data(), .b = x.data()};
    call.c = gradient.data();
    call.sum_squares = &squares;
    return call;
  }
};

struct Pass {
  const char* name;
  GemmCall<float> (Layer::*call)();
};
constexpr Pass passes[] = {
    {"forward", &Layer::forward}, {"dX", &Layer::input_gradient}, {"dW", &Layer::weight_gradient}};

double milliseconds(std::vector<Layer>& layers, const Pass& pass, MatmulPrecision precision) {
  const auto start = std::chrono::steady_clock::now();
  for (Layer& layer : layers) {
    GemmCall<float> call = (layer.*pass.call)();
    call.precision = precision;
    cpu_idle::gemm_tiles(call);
  }
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

int number(int argc, char** argv, int i, int otherwise) { return argc > i ? std::atoi(argv[i]) : otherwise; }

}  // namespace

int main(int argc, char** argv) {
  const int rounds = number(argc, argv, 1, 15), rows = number(argc, argv, 2, 430), blocks = number(argc, argv, 3, 6);
  if (argc > 4 || rounds < 1 || rows < 1 || blocks < 1) {
    std::fprintf(stderr, "usage: time_packing [ROUNDS [ROWS [BLOCKS]]]\n");
    return 2;
  }
  if (!*cpu_bf16_unit()) {
    std::printf("[skipped] this machine has no AVX-512 BF16\n");
    return 4;
  }
  std::vector<Layer> layers;
  for (int block = 0; block < blocks; ++block) {
    for (int i = 0; i < 4; ++i) layers.emplace_back(rows, 768, 768);
    layers.emplace_back(rows, 768, 3072);
    layers.emplace_back(rows, 3072, 768);
  }
  constexpr MatmulPrecision precisions[] = {MatmulPrecision::bf16, MatmulPrecision::bf16x3, MatmulPrecision::bf16x6};
  std::printf("ms for the products of %d blocks, %d rows, without tile instructions: median (quartiles) of %d\n",
              blocks, rows, rounds);
  for (const int threads : {1, 2}) {
    const Context context({.threads = threads});
    const Context::Use use(context);
    std::vector<double> times[std::size(precisions)][std::size(passes)];
    for (int round = -1; round < rounds; ++round) {  // the first does not count
      for (size_t i = 0; i < std::size(precisions); ++i) {
        for (size_t j = 0; j < std::size(passes); ++j) {
          const double time = milliseconds(layers, passes[j], precisions[i]);
          if (round >= 0) times[i][j].push_back(time);
        }
      }
    }
    for (size_t i = 0; i < std::size(precisions); ++i) {
      std::printf("%d thread%s  %-7s", threads, threads > 1 ? "s" : " ", name_of(precisions[i]));
      for (size_t j = 0; j < std::size(passes); ++j) {
        std::vector<double>& t = times[i][j];
        std::sort(t.begin(), t.end());
        std::printf("  %s %.1f (%.1f..%.1f)", passes[j].name, t[t.size() / 2], t[t.size() / 4], t[t.size() * 3 / 4]);
      }
      std::printf("\n");
    }
  }
  return 0;
}
