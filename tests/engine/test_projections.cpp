// Queries, keys and values from one product: linears(), and attention on columns that lie side by side.
#include "tests/engine/attention_members.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// x, then weight and bias of each layer.
using Inputs = std::vector<Tensor>;
constexpr int64_t rows = 70, in = 40, outs[] = {24, 24, 8};

// Each parameter in memory of its own, or all weights and all biases one under the other.
Inputs inputs(DType type, bool joined) {
  Inputs all{input({rows, in}, 1, type)};
  const Tensor weights = numbers({56, in}, 2, type), biases = numbers({56}, 3, type);
  for (int64_t first = 0; const int64_t out : outs) {
    const Tensor weight = weights.view_rows(first, out), bias = biases.view_rows(first, out);
    all.push_back((joined ? weight : weight.clone()).set_requires_grad());
    all.push_back((joined ? bias : bias.clone()).set_requires_grad());
    first += out;
  }
  return all;
}

std::vector<LinearLayer> layers_of(const Inputs& all) {
  std::vector<LinearLayer> layers;
  for (size_t i = 1; i < all.size(); i += 2) layers.push_back({all[i], all[i + 1]});
  return layers;
}

Tensor one_by_one(Tape& tape, const Inputs& all) {
  std::vector<Tensor> parts;
  for (const LinearLayer& layer : layers_of(all)) parts.push_back(linear(tape, all[0], layer.weight, layer.bias));
  return concat(tape, parts, 1);
}
Tensor at_once(Tape& tape, const Inputs& all) { return linears(tape, all[0], layers_of(all)); }

// Forward and backward; what is returned are the results.
template <class F>
Tensor run(F function, const Inputs& all, uint64_t seed = 77) {
  Tape tape;
  const Tensor y = function(tape, all);
  tape.backward(sum(tape, mul(tape, y, numbers(y.shape(), seed, y.dtype()))));
  return y.detach();
}

void check_gradients(const Inputs& actual, const Inputs& expected, double tolerance) {
  for (size_t i = 0; i < actual.size(); ++i) {
    INFO("gradient of input " << i);
    REQUIRE(static_cast<bool>(actual[i].gradient()) == static_cast<bool>(expected[i].gradient()));
    if (actual[i].gradient())
      CHECK(relative_error(actual[i].grad().to_vector(), expected[i].grad().to_vector()) < tolerance);
  }
}

}  // namespace

TEST_CASE("linears equals linear layers side by side", "[isa]") {
  for (const auto& [type, tolerance] : {std::pair{DType::f64, 1e-14}, {DType::f32, 2e-6}}) {
    for (const bool joined : {false, true}) {
      INFO(name_of(type) << (joined ? ", one under the other" : ", apart"));
      const Inputs a = inputs(type, joined), b = inputs(type, false);
      CHECK(static_cast<bool>(Tensor::joined(std::array{a[1], a[3], a[5]})) == joined);
      CHECK(relative_error(run(at_once, a).to_vector(), run(one_by_one, b).to_vector()) < tolerance);
      check_gradients(a, b, tolerance);
      run(at_once, a, 78);  // adds to what is there
      run(one_by_one, b, 78);
      check_gradients(a, b, tolerance);
    }
  }
}

TEST_CASE("linears leaves constants alone, and goes on where some gradients are there already") {
  for (const bool joined : {false, true}) {
    for (const size_t changed : {size_t{0}, size_t{1}, size_t{2}, size_t{5}}) {
      for (const bool is_constant : {true, false}) {
        INFO((joined ? "one under the other" : "apart") << ", input " << changed << (is_constant ? " constant" : ""));
        const Inputs a = inputs(DType::f64, joined), b = inputs(DType::f64, false);
        if (is_constant) {
          a[changed].set_requires_grad(false);
          b[changed].set_requires_grad(false);
        } else {
          const Tensor before = numbers(a[changed].shape(), 9);
          a[changed].set_grad(before);
          b[changed].set_grad(before);
        }
        run(at_once, a);
        run(one_by_one, b);
        check_gradients(a, b, 1e-14);
      }
    }
  }
}

TEST_CASE("linears: gradients that were put back are added to with the same bits") {
  const Inputs a = inputs(DType::f32, true), b = inputs(DType::f32, true);
  for (const Inputs& all : {a, b}) run(at_once, all);
  for (const Tensor& t : b) t.set_grad(t.grad());  // a checkpoint in the middle of an accumulation
  for (const Inputs& all : {a, b}) run(at_once, all, 78);
  for (size_t i = 0; i < a.size(); ++i) CHECK(same_bits(a[i].grad(), b[i].grad()));
}

TEST_CASE("linears names the layer that does not fit") {
  Tape tape;
  const Tensor x = numbers({2, 3}, 1), good = numbers({4, 3}, 2), bad = numbers({4, 5}, 3).set_name("k_lin.weight");
  const auto error = [&](const std::vector<LinearLayer>& layers) {
    return error_of([&] { linears(tape, x, layers); });
  };
  CHECK(contains(error({{good, {}}, {bad, {}}}), "inner dimensions differ"));
  CHECK(contains(error({{good, {}}, {bad, {}}}), "k_lin.weight"));
  CHECK(contains(error({{good, numbers({3}, 4)}}), "bias must be [out]"));
  CHECK(contains(error({}), "there are no layers"));
}

TEST_CASE("attention on columns side by side has the bits of attention on matrices", "[isa]") {
  const std::vector<int32_t> lengths{1, 40, 0, 17};
  const int64_t total = 58, heads = 3, dim = 24;
  const Tensor offsets = offsets_of(lengths);
  for (const DType type : {DType::f32, DType::f64}) {
    for (const Member& member : members(heads, type, lengths)) {
      INFO(member.name << ", " << name_of(type));
      const auto columns = [](const Tensor& t, int64_t first, int64_t count) {
        Tape constants(Tape::Mode::inference);
        return slice(constants, t.detach(), 1, first, count);
      };
      const Tensor qkv = input({total, 3 * dim}, 5, type), kv = columns(qkv, dim, 2 * dim).set_requires_grad();
      const auto part = [&](int64_t i) { return columns(qkv, i * dim, dim).set_requires_grad(); };
      const Tensor q = part(0), k = part(1), v = part(2), q_of_kv = part(0);
      const auto run_rule = [&](auto attend) {
        return run([&](Tape& tape, const Inputs&) { return attend(tape, member.rule); }, {});
      };
      const Segments segments{offsets, offsets};
      const Tensor y = run_rule([&](Tape& t, const AttentionRule& r) { return attention(t, q, k, v, segments, r); });
      CHECK(same_bits(
          y, run_rule([&](Tape& t, const AttentionRule& r) { return attention(t, q_of_kv, kv, segments, r); })));
      CHECK(same_bits(y, run_rule([&](Tape& t, const AttentionRule& r) { return attention(t, qkv, segments, r); })));
      CHECK(same_bits(q_of_kv.grad(), q.grad()));
      CHECK(same_bits(columns(kv.grad(), 0, dim), k.grad()));
      CHECK(same_bits(columns(kv.grad(), dim, dim), v.grad()));
      CHECK(same_bits(columns(qkv.grad(), 0, dim), q.grad()));
      CHECK(same_bits(columns(qkv.grad(), dim, dim), k.grad()));
      CHECK(same_bits(columns(qkv.grad(), 2 * dim, dim), v.grad()));
    }
  }
}

TEST_CASE("attention on columns side by side refuses widths that do not fit") {
  Tape tape;
  const Tensor offsets = i32({0, 2});
  const AttentionRule rule{.heads = 2};
  const Segments segments{offsets, offsets};
  const auto numbers_of = [](int64_t cols) { return numbers({2, cols}, 1); };
  CHECK(contains(error_of([&] { attention(tape, numbers_of(8), segments, rule); }), "qkv must be [total, 3 dim]"));
  CHECK(contains(error_of([&] { attention(tape, numbers_of(4), numbers_of(4), segments, rule); }), "[total_k, 2 dim]"));
  CHECK(contains(error_of([&] { attention(tape, numbers_of(9), segments, rule); }), "divide into 2 heads"));
}
