// Elementwise kernels, reductions, softmax and LayerNorm on the CUDA backend against the CPU's, at odd sizes.
#include <limits>
#include <type_traits>

#include "engine/backend.h"
#include "tests/engine/cuda/device.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;
using emulator::Order;

namespace {

// What a kernel is called with on a device: inputs, and outputs that are full of NaN where beta is 0.
template <class T>
struct Place {
  Device device;
  double beta;
  const Kernels<T>& k = kernels<T>(device);

  static constexpr DType type = sizeof(T) == 8 ? DType::f64 : DType::f32;
  Tensor put(const Tensor& x) const { return x.to(DType::f32).to(type).clone().to(device); }
  Tensor in(const Shape& shape, uint64_t seed) const { return put(numbers(shape, seed, DType::f32)); }
  Tensor out(const Shape& shape) const {
    return put(beta == 0 ? Tensor::full(shape, DType::f32, std::nan("")) : numbers(shape, 77, DType::f32));
  }
  Tensor ids(const std::vector<int32_t>& values) const {
    const Tensor t = Tensor::empty({static_cast<int64_t>(values.size())}, DType::i32);
    std::copy(values.begin(), values.end(), t.data<int32_t>());
    return t.to(device);
  }
  T* operator()(const Tensor& t) const { return t.data<T>(); }
};

using Sizes = std::vector<std::pair<int64_t, int64_t>>;
const Sizes sizes{{0, 33}, {3, 0}, {1, 1}, {3, 31}, {70, 33}, {70, 32}, {9, 257}, {500, 33}, {1, 1000}, {500, 1}};

// Where both are not finite they must be alike; the others' relative error.
double error_between(const Tensor& got, const Tensor& want) {
  std::vector<double> a = got.to_vector(), b = want.to_vector();
  if (a.size() != b.size()) return std::nan("");
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isfinite(b[i])) continue;
    if (std::isnan(a[i]) ? !std::isnan(b[i]) : a[i] != b[i]) return std::nan("");
    a[i] = b[i] = 0;
  }
  return relative_error(a, b);
}

// f(place) gives the outputs of a kernel.
template <class F>
void check(F f, const std::vector<double>& betas = {0, 1}) {
  const Context::Use use(Context::standard());
  const auto on_host = [](std::vector<Tensor> all) {
    for (Tensor& t : all) t = t.to(Device::cpu);
    return all;
  };
  for (const double beta : betas) {
    INFO("beta " << beta);
    emulator::settings() = {};
    const auto want = f(Place<double>{Device::cpu, beta});
    const auto f64 = on_host(f(Place<double>{Device::cuda, beta}));
    const auto f32 = on_host(f(Place<float>{Device::cuda, beta}));
    emulator::settings().threads = emulator::settings().blocks = Order::random;
    emulator::settings().seed = 5;
    const auto again = beta == betas.back() ? on_host(f(Place<float>{Device::cuda, beta})) : f32;
    for (size_t i = 0; i < want.size(); ++i) {
      INFO("output " << i);
      CHECK(error_between(f64[i], want[i]) < 1e-13);
      CHECK(error_between(f32[i], want[i]) < 4e-6);
      CHECK(same_bits(f32[i], again[i]));
    }
  }
}

// check(), at each size: f(place, rows, cols).
template <class F>
void check_sizes(F f, const Sizes& all = sizes, const std::vector<double>& betas = {0, 1}) {
  for (const auto& [rows, cols] : all) {
    INFO(rows << " x " << cols);
    check([&, r = rows, c = cols](const auto& p) { return f(p, r, c); }, betas);
  }
}

using Tensors = std::vector<Tensor>;
const double infinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("CUDA sums, means and column sums") {
  const EmulatedGpu gpu;
  for (const ReduceOp op : {ReduceOp::sum, ReduceOp::mean}) {
    check_sizes([&](const auto& p, int64_t rows, int64_t cols) {
      const Tensor x = p.in({2, rows, cols}, 1), columns = p.out({2, cols}), each = p.out({2 * rows}),
                   dx = p.out({2, rows, cols});
      const Tensor dcolumns = p.in({2, cols}, 2), deach = p.in({2 * rows}, 3), dx2 = p.out({2, rows, cols});
      p.k.reduce(op, 2, rows, cols, p(x), p(columns));
      p.k.reduce(op, 2 * rows, cols, 1, p(x), p(each));
      p.k.reduce_backward(op, 2, rows, cols, p(dcolumns), p(dx), p.beta);
      p.k.reduce_backward(op, 2 * rows, cols, 1, p(deach), p(dx2), p.beta);
      return Tensors{columns, each, dx, dx2};
    });
  }
  check_sizes([](const auto& p, int64_t rows, int64_t cols) {
    const Tensor x = p.in({rows, cols}, 1), out = p.out({cols});
    p.k.column_sum(rows, cols, p(x), cols, p(out), p.beta);
    return Tensors{out};
  });
  check([](const auto& p) {  // in several parts
    const Tensor x = p.in({40000}, 1), all = p.out({1}), two = p.out({2}), few = p.out({2});
    p.k.reduce(ReduceOp::sum, 1, 40000, 1, p(x), p(all));
    p.k.reduce(ReduceOp::mean, 2, 20000, 1, p(x), p(two));
    p.k.reduce(ReduceOp::sum, 1, 20000, 2, p(x), p(few));
    return Tensors{all, two, few};
  });
}

TEST_CASE("CUDA maxima are the first of equal ones, and a NaN is the largest") {
  const EmulatedGpu gpu;
  check_sizes(
      [](const auto& p, int64_t rows, int64_t cols) {
        std::vector<double> values = numbers({rows, cols}, 1).to_vector();
        for (size_t i = 0; i < values.size(); ++i) {
          values[i] = i % 37 == 5 ? std::nan("") : i % 23 == 7 ? infinity : std::round(values[i]);
          if (i >= values.size() / 2) values[i] = i % 3 ? -infinity : std::round(values[i]);
        }
        const Tensor x = p.put(vec(values)), out = p.out({rows, 1}), columns = p.out({1, cols});
        const Tensor dx = p.out({rows, cols}), dx2 = p.out({rows, cols}), dy = p.in({rows}, 2), dy2 = p.in({cols}, 3);
        const Tensor index = Tensor::empty({rows}, DType::i32, p.device),
                     index2 = Tensor::empty({cols}, DType::i32, p.device);
        p.k.max(rows, cols, 1, p(x), p(out), index.template data<int32_t>());
        p.k.max(1, rows, cols, p(x), p(columns), index2.template data<int32_t>());
        p.k.max_backward(rows, cols, 1, p(dy), index.template data<int32_t>(), p(dx), p.beta);
        p.k.max_backward(1, rows, cols, p(dy2), index2.template data<int32_t>(), p(dx2), p.beta);
        return Tensors{out, columns, dx, dx2, index, index2};
      },
      {{1, 1}, {3, 31}, {70, 33}, {3, 257}, {2, 1000}});
}

TEST_CASE("CUDA finds what is not finite") {
  const EmulatedGpu gpu;
  const Context::Use use(Context::standard());
  const Place<float> p{Device::cuda, 0};
  for (const int64_t n : {0, 1, 33, 9000}) {
    for (const double bad : {0.0, std::nan(""), infinity, -infinity}) {
      for (const int64_t at : {int64_t{0}, n / 2, n - 1}) {
        if (n == 0 && bad != 0) continue;
        const Tensor x = numbers({n}, 1, DType::f32), out = Tensor::empty({1}, DType::i32, Device::cuda);
        if (n > 0) x.view_rows(at, 1).copy_from(vec({bad}, DType::f32));
        const Tensor there = x.to(Device::cuda);
        p.k.all_finite(n, p(there), out.data<int32_t>());
        CHECK(out.to(Device::cpu).data<int32_t>()[0] == (bad == 0 ? 1 : 0));
      }
    }
  }
}

TEST_CASE("CUDA operations on two numbers, broadcast in every way") {
  const EmulatedGpu gpu;
  struct Shapes {
    Shape a, b;
  };
  for (const auto& [a, b] : std::vector<Shapes>{{{70, 33}, {70, 33}},
                                                {{70, 257}, {257}},
                                                {{31}, {70, 31}},
                                                {{70, 1}, {70, 33}},
                                                {{70, 33}, {1}},
                                                {{3, 1, 5, 1}, {4, 1, 33}},
                                                {{2, 1, 3, 1, 2}, {1, 7, 1, 5, 1}},
                                                {{0, 3}, {1, 3}},
                                                {{3, 1}, {3, 0}},
                                                {{1, 257}, {33, 1}}}) {
    for (const Op* op : all_ops()) {
      const std::string name = op->name;
      if (name != "add" && name != "sub" && name != "mul" && name != "div") continue;
      INFO(name << " " << a.str() << " " << b.str());
      check(
          [&, sa = a, sb = b](const auto& p) {
            const Tensor x = p.in(sa, 1).set_requires_grad(), y = p.in(sb, 2).set_requires_grad();
            Tape tape;
            const Tensor z = name == "add"   ? add(tape, x, y)
                             : name == "sub" ? sub(tape, x, y)
                             : name == "mul" ? mul(tape, x, y)
                                             : div(tape, x, y);
            tape.backward(sum(tape, mul(tape, z, p.in(z.shape(), 3))));
            return Tensors{z.detach(), x.grad(), y.grad()};
          },
          {0});
    }
  }
}

TEST_CASE("CUDA gelu_backward") {
  const EmulatedGpu gpu;
  check_sizes([](const auto& p, int64_t rows, int64_t cols) {
    const Tensor x = p.in({rows, cols}, 1), dy = p.in({rows, cols}, 2), dx = p.out({rows, cols}), dbias = p.out({cols});
    const Tensor alone = p.out({rows, cols}), y = p.out({rows, cols});
    p.k.gelu_backward(rows, cols, p(x), p(dy), p(dx), nullptr, p(dbias), p.beta);
    p.k.gelu_backward(rows, cols, p(x), p(dy), p(alone), nullptr, nullptr, 0);
    p.k.gelu_backward(rows, cols, p(x), p(dy), p(alone), p(y), p(dbias), p.beta);
    p.k.gelu_backward(rows, cols, p(x), p(dy), p(dy), p(x), nullptr, 0);  // in place
    return Tensors{dx, dbias, alone, y, dy, x};
  });
}

TEST_CASE("CUDA dropout has the CPU's masks") {
  const EmulatedGpu gpu;
  for (const double probability : {0.0, 0.1, 0.5}) {
    const Dropout dropout{probability, {.seed = 3, .stream = Stream::dropout, .step = 4, .site = 5}};
    for (const int64_t from : {0, 1}) {  // the second is not aligned
      for (const int64_t n : {0, 1, 3, 31, 1000, 1002}) {
        INFO("p " << probability << ", from " << from << ", n " << n);
        check([&](const auto& p) {
          std::vector<double> values = numbers({n + from}, 1).to_vector();
          for (size_t i = 0; i < values.size(); i += 5) values[i] = i % 2 ? infinity : std::nan("");
          const Tensor x = p.put(vec(values)), y = p.out({n + from});
          p.k.dropout(n, dropout, p(x) + from, p(y) + from, p.beta);
          return Tensors{y};
        });
        const Context::Use use(Context::standard());
        const auto mask = [&](Device device) {
          const Place<double> p{device, 0};
          const Tensor x = p.put(Tensor::full({n + from}, DType::f32, 1)), y = p.out({n + from});
          p.k.dropout(n, dropout, p(x) + from, p(y) + from, 0);
          return y.to(Device::cpu);
        };
        CHECK(same_bits(mask(Device::cuda), mask(Device::cpu)));
      }
    }
  }
}

TEST_CASE("CUDA softmax, its logarithm and cross-entropy") {
  const EmulatedGpu gpu;
  Sizes all = sizes;
  all.insert(all.end(), {{1, 30000}, {9, 2}});
  check_sizes(
      [](const auto& p, int64_t rows, int64_t cols) {
        const Tensor x = p.in({rows, cols}, 1), dy = p.in({rows, cols}, 2), y = p.out({rows, cols});
        const Tensor dx = p.out({rows, cols}), log_y = p.out({rows, cols}), log_dx = p.out({rows, cols});
        p.k.softmax(rows, cols, p(x), p(y));
        p.k.softmax_backward(rows, cols, p(y), p(dy), p(dx), p.beta);
        p.k.log_softmax(rows, cols, p(x), p(log_y));
        p.k.log_softmax_backward(rows, cols, p(log_y), p(dy), p(log_dx), p.beta);
        if (cols == 0) return Tensors{y, dx, log_y, log_dx};
        std::vector<int32_t> labels(static_cast<size_t>(rows));
        for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int32_t>(i * 7 % static_cast<size_t>(cols));
        const Tensor ids = p.ids(labels), losses = p.out({rows}), probabilities = p.out({rows, cols});
        const Tensor loss = p.in({1}, 3), dlogits = p.out({rows, cols});
        const auto* const at = ids.template data<int32_t>();
        p.k.cross_entropy(rows, cols, p(x), at, p(losses), p(probabilities));
        p.k.cross_entropy_backward(rows, cols, p(probabilities), at, p(loss), p(dlogits), p.beta);
        return Tensors{y, dx, log_y, log_dx, losses, probabilities, dlogits};
      },
      all);
  for (const std::vector<double>& row : {std::vector<double>{1, std::nan(""), 2},
                                         {std::nan(""), 1, 2},
                                         {1, infinity, 2},
                                         {-infinity, 1, -infinity},
                                         {-infinity, -infinity, -infinity},
                                         {1e30, 0, -1e30}}) {
    check([&](const auto& p) {
      const Tensor x = p.put(vec(row)), y = p.out({3}), log_y = p.out({3}), loss = p.out({1}), q = p.out({3});
      const Tensor ids = p.ids({1});
      p.k.softmax(1, 3, p(x), p(y));
      p.k.log_softmax(1, 3, p(x), p(log_y));
      p.k.cross_entropy(1, 3, p(x), ids.template data<int32_t>(), p(loss), p(q));
      return Tensors{y, log_y, loss, q};
    });
  }
}

TEST_CASE("CUDA LayerNorm") {
  const EmulatedGpu gpu;
  Sizes all{{0, 33}, {0, 32}, {1, 31}, {3, 33}, {70, 33}, {300, 32}, {9, 257}, {3, 1000}, {1, 5000}};
  for (const auto& [with_r, p_r, p_y] : {std::tuple{false, 0.0, 0.0}, {true, 0.0, 0.1}, {true, 0.2, 0.0}}) {
    INFO("residual " << with_r << ", dropout " << p_r << " " << p_y);
    const Dropout drop_r{p_r, {.seed = 3, .stream = Stream::dropout, .step = 4, .site = 5}};
    const Dropout drop_y{p_y, {.seed = 3, .stream = Stream::dropout, .step = 4, .site = 6}};
    check_sizes(
        [&, has_r = with_r](const auto& p, int64_t rows, int64_t cols) {
          const Tensor x = p.in({rows, cols}, 1), r = p.in({rows, cols}, 2), z = p.out({rows, cols});
          const Tensor weight = p.in({cols}, 3), bias = p.in({cols}, 4), stats = p.out({rows, 2});
          const Tensor y = p.out({rows, cols}), dy = p.in({rows, cols}, 5);
          const Tensor dx = p.out({rows, cols}), dr = p.out({rows, cols}), dw = p.out({cols}), db = p.out({cols});
          const Tensor only_dx = p.out({rows, cols}), only_dw = p.out({cols});
          p.k.layer_norm({.rows = rows,
                          .cols = cols,
                          .x = p(x),
                          .r = has_r ? p(r) : nullptr,
                          .dropout_r = drop_r,
                          .weight = p(weight),
                          .bias = p(bias),
                          .epsilon = 1e-12,
                          .z = has_r ? p(z) : nullptr,
                          .stats = p(stats),
                          .y = p(y),
                          .dropout_y = drop_y});
          using T = std::remove_pointer_t<decltype(p(x))>;
          LayerNormGradient<T> gradient;
          gradient.rows = rows, gradient.cols = cols;
          gradient.z = has_r ? p(z) : p(x), gradient.stats = p(stats), gradient.weight = p(weight), gradient.dy = p(dy);
          gradient.dropout_r = drop_r, gradient.dropout_y = drop_y;
          gradient.beta_x = gradient.beta_r = gradient.beta_weight = gradient.beta_bias = p.beta;
          auto alone = gradient, parameter = gradient;
          gradient.dx = p(dx), gradient.dr = p(dr), gradient.dweight = p(dw), gradient.dbias = p(db);
          alone.dx = p(only_dx);
          parameter.dweight = p(only_dw);
          p.k.layer_norm_backward(gradient);
          p.k.layer_norm_backward(alone);
          p.k.layer_norm_backward(parameter);
          Tensors outputs{stats, y, dx, dr, dw, db, only_dx, only_dw};
          if (has_r) outputs.push_back(z);
          return outputs;
        },
        all);
  }
  check(
      [](const auto& p) {  // rows of tables, in packs and not
        Tensors outputs;
        for (const int64_t cols : {33, 64}) {
          const Tensor x = p.in({9, cols}, 1), r = p.in({4, cols}, 2), weight = p.in({cols}, 3), bias = p.in({cols}, 4);
          const Tensor z = p.out({5, cols}), stats = p.out({5, 2}), y = p.out({5, cols});
          const Tensor x_rows = p.ids({8, 0, 3, 3, 7}), r_rows = p.ids({0, 1, 2, 3, 0});
          p.k.layer_norm({.rows = 5,
                          .cols = cols,
                          .x = p(x),
                          .x_rows = x_rows.template data<int32_t>(),
                          .r = p(r),
                          .r_rows = r_rows.template data<int32_t>(),
                          .dropout_r = {},
                          .weight = p(weight),
                          .bias = p(bias),
                          .epsilon = 1e-12,
                          .z = p(z),
                          .stats = p(stats),
                          .y = p(y),
                          .dropout_y = {}});
          outputs.insert(outputs.end(), {z, stats, y});
        }
        return outputs;
      },
      {0});
}
