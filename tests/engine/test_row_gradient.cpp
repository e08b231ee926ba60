// Gradients of tables as rows, and sums of squares that are formed while a gradient is written.
#include <cmath>
#include <functional>

#include "engine/backend.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// Ids that repeat, many of them.
Tensor some_ids(int64_t n, int64_t limit, uint64_t seed) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i)
    ids.push_back(static_cast<int32_t>(random_word({.seed = seed}, static_cast<uint64_t>(i)) %
                                       static_cast<uint32_t>(i % 3 ? limit : limit / 5 + 1)));
  return i32(ids);
}

Tensor table_of(int64_t rows, int64_t dim, DType type, bool by_rows) {
  const Tensor table = numbers({rows, dim}, 1, type).set_requires_grad();
  if (by_rows) table.take_grad_by_rows();
  return table;
}

// Two backward passes over a tape that looks the table up three times.
void accumulate(const Tensor& table, int64_t n, const Context& context = Context::standard()) {
  const int64_t dim = table.dim(1);
  const Tensor positions = numbers({8, dim}, 2, table.dtype()).set_requires_grad();
  const Tensor weight = numbers({dim}, 3, table.dtype()), bias = numbers({dim}, 4, table.dtype());
  for (uint64_t pass = 0; pass < 2; ++pass) {
    Tape tape(context);
    const Tensor ids = some_ids(n, table.dim(0), 10 + pass);
    const Tensor a = embedding(tape, table, ids), b = embedding(tape, table, some_ids(n, table.dim(0), 20 + pass));
    const Tensor c = embeddings_layer_norm(tape, table, positions, ids, some_ids(n, 8, 30 + pass), weight, bias, 1e-12,
                                           {0.2, {.seed = 1}});
    tape.backward(sum(tape, mul(tape, mul(tape, a, b), c)));
  }
}

// Bit for bit. Where some gradient of a row is -0, a row that was not used before has it in the list of rows, while the
// dense sum 0 + -0 is 0: products on a GPU give such ones here.
bool equal(const Tensor& a, const Tensor& b) {
  return test_device() == Device::cpu ? same_bits(a, b) : a.to_vector() == b.to_vector();
}

double norm_of(const Tensor& t) { return read_clip(clip_gradients(Context::standard(), {&t, 1}, {}, {}, 0)).norm; }

}  // namespace

TEST_CASE("a gradient of rows has the bits of the dense one, at any thread count", "[isa]") {
  for (const DType type : {DType::f32, DType::f64}) {
    for (const int64_t n : {0, 1, 40, 700}) {
      const Tensor dense = table_of(300, 96, type, false);
      accumulate(dense, n);
      for (const int threads : {1, 2, 4}) {
        if (threads > 1 && test_device() != Device::cpu) continue;  // which has none
        INFO(name_of(type) << ", " << n << " ids, " << threads << " threads");
        const Context context({.threads = threads});
        const Tensor table = table_of(300, 96, type, true);
        CHECK(!table.grad());
        CHECK(!table.gradient());
        accumulate(table, n, context);
        REQUIRE(table.gradient());
        const auto& ids = table.gradient().rows().host;
        CHECK(table.gradient().values().shape() == Shape{std::ssize(ids), 96});
        CHECK(std::ssize(ids) <= std::min<int64_t>(300, 4 * n));
        if (n == 700) CHECK(std::ssize(ids) * 96 >= 16384);  // so many elements that the threads do share them
        for (size_t i = 1; i < ids.size(); ++i) CHECK(ids[i - 1] < ids[i]);
        CHECK(equal(table.grad(), dense.grad()));
        CHECK(norm_of(table) == Approx(norm_of(dense)).epsilon(1e-14));

        // As a checkpoint does it.
        const Tensor restored = table_of(300, 96, type, true);
        restored.set_grad(table.grad());
        CHECK(equal(restored.grad(), dense.grad()));
        CHECK(norm_of(restored) == norm_of(table));
        table.clear_grad();
        CHECK(!table.grad());
        CHECK(!table.gradient());
      }
    }
  }
}

TEST_CASE("a gradient of rows agrees with central differences") {
  const Tensor ids = i32({4, 0, 4, 2, 4, 0}), table = input({6, 3}, 1, DType::f64).take_grad_by_rows();
  const auto report =
      check_directional([&](Tape& tape) { return sum(tape, tanh(tape, embedding(tape, table, ids))); }, {table}, 5);
  INFO(report.str());
  CHECK(report.passes(1e-8));
}

TEST_CASE("a gradient of rows takes no memory of the table's size") {
  const Tensor table = table_of(100000, 64, DType::f32, true);
  accumulate(table_of(10, 64, DType::f32, true), 1);  // kernels may take scratch memory once
  const auto peak = [] { return backend(test_device()).peak_bytes(); };
  const int64_t before = peak();
  accumulate(table, 100);
  CHECK(peak() - before < table.numel() * 4 / 10);
}

TEST_CASE("a hook may change a gradient of rows") {
  const Tensor table = table_of(6, 3, DType::f64, true), ids = i32({4, 0, 4});
  const auto backward = [&](const std::function<void(const Tensor&)>& hook) {
    table.clear_grad();
    Tape tape;
    tape.on_grad(table, hook);
    tape.backward(sum(tape, embedding(tape, table, ids)));
    return std::pair(table.gradient().rows().device.to_vector(), table.gradient().values().to_vector());
  };
  using Values = std::vector<double>;
  int calls = 0;
  CHECK(backward([&](const Tensor& g) {
          calls += g.shape() == Shape{6, 3};
        }) == std::pair(Values{0, 4}, Values{1, 1, 1, 2, 2, 2}));
  CHECK(calls == 1);
  // Scaled, one row taken away and another one added.
  const auto change = [](const Tensor& g) {
    g.copy_from(vec({0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0}).view({6, 3}));
  };
  CHECK(backward(change) == std::pair(Values{2, 4}, Values{0, 7, 0, 1, 1, 1}));
}

TEST_CASE("only lookups may use a table whose gradient is rows") {
  const Tensor table = table_of(5, 3, DType::f64, true).set_name("words");
  Tape tape;
  const Tensor loss = sum(tape, mul(tape, table, table));
  const std::string message = error_of([&] { tape.backward(loss); });
  CHECK(contains(message, "\"words\" takes its gradient as rows"));
  CHECK(contains(error_of([&] { vec({1, 2}).set_requires_grad().take_grad_by_rows(); }), "two dimensions"));
  Tape other;
  const Tensor result = exp(other, input({2, 2}, 1, DType::f64));
  CHECK(contains(error_of([&] { result.take_grad_by_rows(); }), "leaves"));
  CHECK(contains(error_of([&] { table.set_grad(numbers({5, 2}, 1)); }), "[5, 3]"));
}

TEST_CASE("the sum of squares that a product forms is the gradient's, whoever looks, until it changes", "[isa]") {
  const DType type = GENERATE(DType::f32, DType::f64);
  INFO(name_of(type));
  if (!backend(test_device()).products_form_squares) CRISP_SKIP("no product of the device forms a sum of squares");
  const Tensor weight = input({300, 200}, 1, type), bias = input({300}, 2, type), x = input({70, 200}, 3, type);
  const auto backward = [&](double seed, const std::function<void(const Tensor&)>& hook = {}) {
    Tape tape;
    if (hook) tape.on_grad(weight, hook);
    const Tensor y = linear(tape, x, weight, bias, Activation::gelu);
    tape.backward(mean(tape, mul(tape, y, y)), seed);
  };
  const auto exact = [&] {
    double sum = 0;
    for (const double g : weight.grad().to_vector()) sum += g * g;
    return Approx(sum).epsilon(1e-13).margin(0);
  };
  const auto formed = [&] { return weight.gradient().sum_squares(); };
  CHECK(!formed());
  backward(1);
  CHECK(!bias.gradient().sum_squares());
  REQUIRE(formed());
  CHECK(formed().item() == exact());
  const double unseen = formed().item();
  backward(-0.3);  // adds to the first
  CHECK(formed().item() == exact());
  CHECK(formed().item() != unseen);

  // Looking changes no bit: neither at the gradient, whose copy is the looker's own, nor in a hook.
  weight.clear_grad();
  CHECK(!formed());
  int seen = 0;
  backward(1, [&](const Tensor& g) { seen += g.shape() == weight.shape(); });
  CHECK(seen == 1);
  weight.grad().copy_from(zeros(weight.shape(), type));
  REQUIRE(formed());
  CHECK(formed().item() == unseen);
  CHECK(formed().item() == exact());

  SECTION("a later contribution that forms none") {
    // linear's backward runs first, then the one of the sum over the weight.
    Tape tape;
    const Tensor squares = sum(tape, mul(tape, weight, weight));
    const Tensor y = mean(tape, linear(tape, x, weight, bias));
    tape.backward(add(tape, squares, y));
    CHECK(!formed());
  }
  SECTION("a hook that changes the gradient") {
    backward(1, [](const Tensor& g) { g.copy_from(zeros(g.shape(), g.dtype())); });
    CHECK(!formed());
    CHECK(norm_of(weight) == 0);
  }
  SECTION("a restored gradient") {
    weight.set_grad(zeros(weight.shape(), type));
    CHECK(!formed());
  }
  SECTION("a gradient that is not finite") {
    x.detach().view_rows(69, 1).copy_from(full({1, 200}, type, HUGE_VAL));
    backward(1);
    CHECK(!std::isfinite(formed().item()));
    CHECK(!std::isfinite(sum_squares(weight.grad())));
  }
}
