#include "tests/engine/cuda/fit_cases.h"

#include <numeric>
#include <regex>

#include "engine/backend.h"
#include "tests/engine/attention_members.h"
#include "tests/engine/cuda/device.h"
#include "tests/engine/helpers.h"

namespace crisp::test {
namespace {

constexpr int64_t wide = 768, narrow = 96;  // columns

// What kernels are called with: arrays on the device that live as long as this.
template <class T>
class Arrays {
 public:
  T* operator()(int64_t n) { return keep(numbers({n}, kept_.size(), dtype_of<T>)).template data<T>(); }
  T* positive(int64_t n) { return keep(numbers({n}, kept_.size(), dtype_of<T>, 10)).template data<T>(); }
  double* f64(int64_t n) { return keep(zeros({n}, DType::f64)).template data<double>(); }
  int32_t* ids(const std::vector<int32_t>& values) { return keep(i32(values)).template data<int32_t>(); }

 private:
  const Tensor& keep(Tensor t) { return kept_.emplace_back(std::move(t)); }
  std::vector<Tensor> kept_;
};

const Dropout some{0.1, {.seed = 3, .stream = Stream::dropout}};

template <class T>
void elementwise(const Kernels<T>& k) {
  Arrays<T> x;
  const int64_t n = 1024;
  for (int op = 0; op <= static_cast<int>(UnaryOp::gelu); ++op) {
    T *in = x.positive(n), *out = x(n);
    k.unary(static_cast<UnaryOp>(op), n, in, out);
    k.unary_backward(static_cast<UnaryOp>(op), n, in, out, x(n), x(n), 1);
  }
  for (const int64_t rows : {40, 70}) {
    k.gelu_backward(rows, narrow, x(rows * narrow), x(rows * narrow), x(rows * narrow), nullptr, x(narrow), 1);
    k.gelu_backward(rows, narrow, x(rows * narrow), x(rows * narrow), x(rows * narrow), x(rows * narrow), nullptr, 0);
  }
  k.scale(n, 2, x(n), x(n), 1);
  for (const int64_t from : {0, 1}) k.dropout(n, some, x(n + 1) + from, x(n + 1) + from, 1);
}

// a[rows, cols] op b, which has rows, columns, both or neither.
BroadcastPlan plan(int64_t rows, int64_t cols, bool a_rows, bool a_cols, bool b_rows, bool b_cols) {
  const auto row = [=](bool has_rows, bool has_cols) { return !has_rows ? 0 : has_cols ? cols : 1; };
  return {.dims = {1, 1, 1, 1, rows, cols},
          .stride_a = {0, 0, 0, 0, row(a_rows, a_cols), a_cols},
          .stride_b = {0, 0, 0, 0, row(b_rows, b_cols), b_cols},
          .numel = rows * cols,
          .same = a_rows && a_cols && b_rows && b_cols};
}

template <class T>
void broadcast(const Kernels<T>& k) {
  struct Size {
    int64_t rows, cols;
  };
  for (const auto& [rows, cols] : {Size{20, narrow}, Size{70, narrow}, Size{2, 4100}}) {
    Arrays<T> x;
    const int64_t n = rows * cols;
    T *a = x(n), *b = x(n), *dy = x(n), *out = x(n);
    for (const BinaryOp op : {BinaryOp::add, BinaryOp::sub, BinaryOp::mul, BinaryOp::div}) {
      for (const auto& [has_rows, has_cols] : {std::pair{true, true}, {true, false}, {false, true}}) {
        if (cols == 4100 && !(has_rows && !has_cols)) continue;
        if (rows == 70 && has_rows) continue;
        const BroadcastPlan right = plan(rows, cols, true, true, has_rows, has_cols);
        const BroadcastPlan left = plan(rows, cols, has_rows, has_cols, true, true);
        if (rows == 20) {
          k.binary(op, right, a, b, out);
          k.binary(op, left, a, b, out);
          k.binary_backward(op, 0, right, a, b, dy, out, 1);
        }
        k.binary_backward(op, 0, left, a, b, dy, out, 1);
        k.binary_backward(op, 1, right, a, b, dy, out, 1);
      }
    }
  }
}

template <class T>
void reductions(const Kernels<T>& k) {
  Arrays<T> x;
  struct Size {
    int64_t outer, n, inner;
  };
  for (const auto& [outer, n, inner] : {Size{9, wide, 1}, Size{1, 9000, 1}, Size{2, 40, narrow}, Size{2, 70, narrow}}) {
    k.reduce(ReduceOp::mean, outer, n, inner, x(outer * n * inner), x(outer * inner));
    k.reduce_backward(ReduceOp::mean, outer, n, inner, x(outer * inner), x(outer * n * inner), 1);
  }
  for (const auto& [outer, n, inner] : {Size{9, wide, 1}, Size{2, 10, narrow}}) {
    auto* const index = x.ids(std::vector<int32_t>(static_cast<size_t>(outer * inner)));
    k.max(outer, n, inner, x(outer * n * inner), x(outer * inner), index);
    for (const double beta : {0, 1})
      k.max_backward(outer, n, inner, x(outer * inner), index, x(outer * n * inner), beta);
  }
  for (const int64_t rows : {40, 70}) k.column_sum(rows, narrow, x(rows * narrow), narrow, x(narrow), 1);
  for (const int64_t n : {3000, 9000}) k.all_finite(n, x(n), x.ids({0}));
  const SquaresOf<T> squares[] = {{3, 2100, x(3 * 2100), x.f64(1)}, {1, wide, x(wide), x.f64(1)}};
  k.sum_squares(2, squares);
}

template <class T>
void moves(const Kernels<T>& k) {
  Arrays<T> x;
  const int64_t rows = 5;
  k.fill(1000, 2, x(1000));
  k.clamp(1000, -1, 1, x(1000), nullptr);
  k.copy_2d(rows, wide, x(rows * 3 * wide) + wide, 3 * wide, x(rows * wide), wide, 1);
  k.copy_2d(rows, wide, x(wide), 0, x(rows * wide), wide, 0);
  k.transpose(2, 64, narrow, x(2 * 64 * narrow), x(2 * 64 * narrow), 1);
  k.gather_rows(rows, wide, x.ids({7, 0, 3, 3, 1}), x(8 * wide), x(rows * wide), 1);
  SumRowsCall<T> sums{.count = 3,
                      .cols = wide,
                      .starts = x.ids({0, 2, 2, 5}),
                      .order = x.ids({4, 0, 1, 2, 3}),
                      .x = x(rows * wide),
                      .out = x(6 * wide),
                      .beta = 1};
  k.sum_rows(sums);
  sums.to = x.ids({5, 0, 2});
  sums.old_of = x.ids({1, -1, 0});
  sums.old = x(2 * wide);
  k.sum_rows(sums);
}

template <class T>
void rows_and_loss(const Kernels<T>& k) {
  for (const int64_t cols : {wide, int64_t{2}}) {
    Arrays<T> x;
    const int64_t rows = 5, n = rows * cols;
    T *in = x(n), *y = x(n), *log_y = x(n), *dy = x(n), *dx = x(n);
    k.softmax(rows, cols, in, y);
    k.softmax_backward(rows, cols, y, dy, dx, 1);
    k.log_softmax(rows, cols, in, log_y);
    k.log_softmax_backward(rows, cols, log_y, dy, dx, 1);
    auto* const labels = x.ids({1, 0, 0, 1, 1});
    k.cross_entropy(rows, cols, in, labels, x(rows), y);
    k.cross_entropy_backward(rows, cols, y, labels, x(1), dx, 1);
  }
}

template <class T>
void layer_norm(const Kernels<T>& k, int64_t cols, int64_t from) {
  Arrays<T> x;
  const int64_t rows = 5;
  const auto matrix = [&] { return x(rows * cols + 4) + from; };
  const auto row = [&] { return x(cols + 4) + from; };
  LayerNormCall<T> plain{.rows = rows,
                         .cols = cols,
                         .x = matrix(),
                         .dropout_r = some,
                         .weight = row(),
                         .bias = row(),
                         .epsilon = 1e-12,
                         .stats = x(2 * rows),
                         .y = matrix(),
                         .dropout_y = some};
  k.layer_norm(plain);
  plain.r = matrix();
  plain.z = matrix();
  k.layer_norm(plain);
  plain.x_rows = x.ids({4, 4, 0, 1, 2});
  plain.r_rows = x.ids({0, 1, 2, 3, 4});
  k.layer_norm(plain);
  LayerNormGradient<T> gradient{.rows = rows,
                                .cols = cols,
                                .z = plain.z,
                                .stats = plain.stats,
                                .weight = plain.weight,
                                .dy = matrix(),
                                .dropout_r = some,
                                .dropout_y = some,
                                .dx = matrix(),
                                .beta_x = 1,
                                .dr = matrix()};
  k.layer_norm_backward(gradient);
  gradient.dweight = row();
  gradient.beta_weight = 1;
  gradient.dbias = row();
  k.layer_norm_backward(gradient);
}

template <class T>
void products(const Kernels<T>& k) {
  Arrays<T> x;
  for (const bool epilogues : {true, false}) {
    emulator::settings().epilogues = epilogues;
    for (const int64_t from : {0, 1}) {
      const int64_t m = 5 + epilogues, n = wide;
      GemmCall<T> g{.m = m, .n = n, .k = 2, .a = x(m * 2), .b = x(2 * n), .c = x(m * n + 1) + from};
      g.bias = x(n + 1) + from;
      k.gemm(g);
      g.gelu_out = x(m * n + 1) + from;
      k.gemm(g);
      g.bias = nullptr, g.gelu_out = nullptr;
      g.sum_squares = x.f64(1);
      k.gemm(g);
    }
  }
  emulator::settings().epilogues = true;
}

template <class T>
void optimizer(const Kernels<T>& k) {
  Arrays<T> x;
  constexpr AdamWStep step{.learning_rate = 0.1,
                           .beta1 = 0.9,
                           .beta2 = 0.99,
                           .epsilon = 1e-8,
                           .weight_decay = 0.1,
                           .gradient_scale = 1,
                           .step = 3};
  const Tensor result = zeros({sizeof(ClipResult) / sizeof(double)}, DType::f64);
  auto* const clip = reinterpret_cast<ClipResult*>(result.data<double>());
  std::vector<const double*> squares;
  std::vector<const T*> losses;
  for (int i = 0; i < 170; ++i) {  // more than in one launch
    squares.push_back(x.f64(1));
    losses.push_back(x(1));
  }
  const std::vector<double> shares(170, 0.5);
  k.clip({.squares = squares.data(),
          .count = 170,
          .other_squares = squares.data(),
          .other_count = 2,
          .losses = losses.data(),
          .shares = shares.data(),
          .loss_count = 170,
          .penalty = x(1),
          .max_norm = 1,
          .result = clip});
  const auto update = [&](int64_t n, int64_t from) {
    return AdamWUpdate<T>{step, true, n, x(n + 1) + from, x(n + 1) + from, x(n + 1) + from, x.positive(n + 1) + from};
  };
  const AdamWUpdate<T> updates[] = {update(3000, 0), update(wide, 0), update(2 * wide, 1)};
  k.adamw(3, updates, clip);
  const std::vector<AdamWRates> rates(4, adamw_rates(step));
  AdamWRowsCall<T> rows{.step = step,
                        .clipped = true,
                        .rates = rates.data(),
                        .steps = 4,
                        .n = 3,
                        .cols = wide,
                        .rows = x.ids({5, 0, 2}),
                        .from = x.ids({1, 2, 3}),
                        .gradient = nullptr,
                        .parameter = x(6 * wide),
                        .m = x(6 * wide),
                        .v = x.positive(6 * wide)};
  k.adamw_rows(rows, nullptr);
  rows.from = nullptr;
  rows.steps = 1;
  rows.gradient = x(3 * wide);
  k.adamw_rows(rows, clip);
}

// Output, counts and all gradients of sequences with so many queries and keys.
void attend(DType type, const std::vector<int32_t>& queries, const std::vector<int32_t>& keys, int64_t dim,
            AttentionRule rule) {
  const Segments segments{offsets_of(queries), offsets_of(keys)};
  const auto rows = [](const std::vector<int32_t>& lengths) {
    return std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  };
  const Tensor q = input({rows(queries), dim}, 1, type), k = input({rows(keys), dim}, 2, type),
               v = input({rows(keys), dim}, 3, type);
  Tape tape;
  AttentionStats stats;
  tape.backward(sum(tape, attention(tape, q, k, v, segments, rule, &stats)));
}

void attention_family(DType type) {
  const std::vector<int32_t> lengths{40, 13};
  bool drops = false;
  for (Member& m : members(2, type, lengths)) {
    // Of members that differ in numbers alone some; f64 differs in width alone.
    static const std::regex more(" (0.3|0.97|0.9|infinity|-0.5|2|6.3|200)( |$)|wide"),
        few("dense|top-k 0.8|percentile 0.8|span 0.4");
    if (std::regex_search(m.name, more) || (type == DType::f64 && !std::regex_match(m.name, few))) continue;
    if ((drops = !drops)) m.rule.dropout = some;
    attend(type, lengths, lengths, 2 * 32, m.rule);
  }
  // Heads of DistilBERT, several tiles, and rows that do not fit into shared memory.
  for (const AttentionRule& rule : {AttentionRule{.heads = 2, .scale = 0.125},
                                    AttentionRule{.heads = 2, .selection = Selection::top_k_row, .sparsity = 0.8}}) {
    attend(type, {70}, {70}, 2 * 64, rule);
    attend(type, {4}, {530}, 2 * 16, rule);
  }
}

}  // namespace

template <class T>
void run_every_kernel() {
  const Kernels<T>& k = kernels<T>(Device::cuda);
  elementwise(k);
  broadcast(k);
  reductions(k);
  moves(k);
  rows_and_loss(k);
  layer_norm(k, wide, 0);
  layer_norm(k, 762, 1);
  products(k);
  optimizer(k);
  attention_family(dtype_of<T>);
}
template void run_every_kernel<float>();
template void run_every_kernel<double>();

}  // namespace crisp::test
