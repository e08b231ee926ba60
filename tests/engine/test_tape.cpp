// The tape's rules: what is recorded, what backward does, and what errors say.
#include "engine/fail.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("backward fills the gradients of leaves") {
  const Tensor x = vec({1, 2, 3}).set_requires_grad();
  Tape tape;
  tape.backward(sum(tape, mul(tape, x, x)));
  CHECK(x.grad().to_vector() == std::vector<double>{2, 4, 6});
}

TEST_CASE("gradients accumulate over backward calls until they are cleared") {
  const Tensor x = vec({1, 2, 3}).set_requires_grad();
  Tape tape;
  for (int i = 0; i < 2; ++i) {
    tape.backward(sum(tape, mul(tape, x, x)));
    tape.clear();
  }
  CHECK(x.grad().to_vector() == std::vector<double>{4, 8, 12});
  x.clear_grad();
  CHECK(!x.grad());
  tape.backward(sum(tape, x), 0.5);  // the seed scales
  CHECK(x.grad().to_vector() == std::vector<double>{0.5, 0.5, 0.5});
}

TEST_CASE("a consumed tape says so") {
  const Tensor x = vec({1, 2}).set_requires_grad();
  Tape tape;
  const Tensor loss = sum(tape, x);
  tape.backward(loss);
  CHECK(contains(error_of([&] { tape.backward(loss); }), "has run backward already"));
  CHECK(contains(error_of([&] { sum(tape, x); }), "clear() it before recording again"));
  tape.clear();
  CHECK_NOTHROW(tape.backward(sum(tape, x)));
}

TEST_CASE("backward starts from one recorded number") {
  const Tensor x = vec({1, 2}).set_requires_grad();
  Tape tape;
  const Tensor y = exp(tape, x);
  CHECK(contains(error_of([&] { tape.backward(y); }), "[2]"));
  CHECK(contains(error_of([&] { tape.backward(scalar(1, DType::f64)); }), "was not recorded"));
  CHECK(contains(error_of([&] { y.set_requires_grad(false); }), "would cut its gradient"));
  CHECK(y.requires_grad());
  Tape inference(Tape::Mode::inference);
  CHECK(contains(error_of([&] { inference.backward(sum(inference, x)); }), "inference mode"));
}

TEST_CASE("a tape refuses what another tape recorded, and takes it detached") {
  const Tensor x = vec({2}).set_requires_grad();
  Tape a, b;
  const Tensor y = mul(a, x, x);
  const auto refused = [&](auto&& f) {
    const std::string message = error_of(f);
    INFO(message);
    CHECK(contains(message, "recorded on another tape, or before this one's clear()"));
    CHECK(contains(message, "detach()"));
  };
  refused([&] { mul(b, y, y); });
  refused([&] { add(b, vec({1}), y); });
  refused([&] { reshape(b, y, {1, 1}); });
  CHECK(b.nodes().empty());
  CHECK_NOTHROW(concat(b, std::vector{x, y.detach()}, 0));
  b.clear();

  SECTION("a constant on the other tape gets no gradient, and its own tape is not disturbed") {
    const Tensor constant = y.detach();
    CHECK(constant.raw() == y.raw());
    CHECK(!constant.requires_grad());
    b.backward(sum(b, mul(b, constant, x)));
    CHECK(x.grad().to_vector() == std::vector<double>{4});
    CHECK(!y.grad());
    x.clear_grad();
    a.backward(sum(a, y));
    CHECK(x.grad().to_vector() == std::vector<double>{4});
  }
  SECTION("a detached value may become a leaf of its own") {
    const Tensor leaf = y.detach().set_requires_grad();
    b.backward(sum(b, mul(b, leaf, leaf)));
    CHECK(leaf.grad().to_vector() == std::vector<double>{8});
    CHECK(!x.grad());
  }
  SECTION("what was recorded before clear() is of another tape too") {
    a.keep_grad(y);
    a.backward(sum(a, y));
    a.clear();
    refused([&] { mul(a, y, x); });
  }
  SECTION("inference takes everything, and what it makes may become a leaf") {
    Tape inference(Tape::Mode::inference);
    const Tensor z = scale(inference, y, 3).set_requires_grad();
    CHECK(z.item() == 12);
    b.backward(sum(b, mul(b, z, z)));
    CHECK(z.grad().to_vector() == std::vector<double>{24});
  }
}

TEST_CASE("backward starts from no gradient, whatever an intermediate tensor holds already") {
  const Tensor x = vec({2}).set_requires_grad();
  Tape tape;
  const Tensor y = mul(tape, x, x);
  y.grad_target().tensor.copy_from(vec({8}));
  tape.backward(sum(tape, y));
  CHECK(x.grad().to_vector() == std::vector<double>{4});
}

TEST_CASE("inference and constants record nothing") {
  const Tensor x = vec({1, 2}).set_requires_grad(), constant = vec({3, 4});
  Tape inference(Tape::Mode::inference);
  CHECK(!gelu(inference, x).requires_grad());
  CHECK(inference.nodes().empty());
  Tape tape;
  CHECK(!gelu(tape, constant).requires_grad());
  CHECK(tape.nodes().empty());
  CHECK(gelu(tape, x).requires_grad());
  REQUIRE(tape.nodes().size() == 1);
  CHECK(std::string(tape.nodes()[0].op->name) == "gelu");
}

TEST_CASE("no gradient is computed where nobody needs it") {
  const Tensor x = input({3, 4}, 1, DType::f64), constant = numbers({4, 2}, 2);
  Tape tape;
  const Tensor unused = exp(tape, x);  // recorded, but the loss does not depend on it
  tape.keep_grad(unused);
  tape.backward(sum(tape, matmul(tape, x, constant)));
  CHECK(x.grad());
  CHECK(!constant.grad());
  CHECK(!unused.grad());
}

TEST_CASE("hooks see complete gradients, kept gradients stay, the others go") {
  const Tensor x = vec({1, 2}).set_requires_grad();
  Tape tape;
  const Tensor kept = scale(tape, x, 3), hooked = mul(tape, kept, kept), dropped = scale(tape, hooked, 2);
  tape.keep_grad(kept);
  int calls = 0;
  tape.on_grad(hooked, [&](const Tensor& g) {
    ++calls;
    CHECK(g.to_vector() == std::vector<double>{3, 3});  // 2 from one use and 1 from the other
    g.copy_from(vec({0, 3}));                           // a hook may change the gradient
  });
  tape.on_grad(x, [&](const Tensor& g) {
    ++calls;
    CHECK(g.to_vector() == std::vector<double>{0, 3 * 2 * 6 * 3});
  });
  tape.backward(sum(tape, add(tape, dropped, hooked)));
  CHECK(calls == 2);
  CHECK(kept.grad().to_vector() == std::vector<double>{0, 36});
  CHECK(!dropped.grad());
}

TEST_CASE("a gradient that a hook sets stays") {
  const Tensor x = vec({1, 2}).set_requires_grad();
  Tape tape;
  const Tensor y = scale(tape, x, 3);
  tape.on_grad(y, [&](const Tensor&) { y.set_grad(vec({5, 7})); });
  tape.on_grad(x, [&](const Tensor&) { x.set_grad(vec({1, 1})); });
  tape.on_grad(x, [](const Tensor& seen) { CHECK(seen.to_vector() == std::vector<double>{1, 1}); });
  std::vector<double> before;
  tape.on_grad(y, [&](const Tensor& seen) { before = seen.to_vector(); });
  tape.backward(sum(tape, y));
  CHECK(before == std::vector<double>{5, 7});
  CHECK(x.grad().to_vector() == std::vector<double>{1, 1});
}

TEST_CASE("a hook may add hooks, but not clear the tape that runs") {
  const Tensor x = vec({1, 2}).set_requires_grad();
  Tape tape;
  const Tensor y = scale(tape, x, 3), z = scale(tape, y, 2);
  std::string refused;
  int calls = 0;
  tape.on_grad(z, [&](const Tensor&) {
    for (int i = 0; i < 100; ++i)
      for (const Tensor& t : {x, y, z}) tape.on_grad(t, [&](const Tensor&) { ++calls; });
    refused = error_of([&] { tape.clear(); });
  });
  tape.backward(sum(tape, z));
  CHECK(calls == 300);
  CHECK(refused == "clear: this tape is running backward");
  tape.clear();
}

TEST_CASE("only detach() cuts a gradient, and what else is recorded nowhere is refused") {
  const Tensor x = vec({1, 2}).set_requires_grad().set_name("x");
  Tape tape;
  const Tensor y = scale(tape, x, 2);
  for (const Tensor& t : {x, y}) {
    CHECK(contains(error_of([&] { (void)t.view({2, 1}); }), "view() of " + t.label() + " would cut its gradient"));
    CHECK(contains(error_of([&] { (void)t.view_rows(0, 1); }), "view_rows() of"));
    CHECK(contains(error_of([&] { (void)t.clone(); }), "clone() of"));
    CHECK(contains(error_of([&] { (void)t.to(DType::f32); }), "to() of"));
    CHECK(t.to(DType::f64).same_as(t));
    CHECK(t.to(test_device()).same_as(t));
    CHECK(t.to_vector().size() == 2);  // looking is no use
    CHECK(t.detach().clone().to_vector() == t.to_vector());
  }
  const Tensor loss = add(tape, sum(tape, y), add(tape, sum(tape, reshape(tape, y, {2, 1})), sum(tape, y.detach())));
  tape.backward(loss);
  CHECK(x.grad().to_vector() == std::vector<double>{4, 4});
}

TEST_CASE("a gradient is there once it is written, and gone where the writing failed") {
  const Tensor x = vec({1, 2}).set_requires_grad();
  CHECK_THROWS_AS(x.set_grad(vec({1, 2, 3})), Error);
  CHECK(!x.grad());
  x.set_grad(vec({5, 6}));
  CHECK_THROWS_AS(x.set_grad(vec({1, 2, 3})), Error);
  CHECK(x.grad().to_vector() == std::vector<double>{5, 6});

  // An operation that fails between its two gradients, when x has one from before.
  static const Op failing{"failing", nullptr};
  const Tensor y = vec({3, 4}).set_requires_grad();
  Tape tape;
  const Tensor out = tape.output(failing, {}, DType::f64, {x, y});
  tape.record(failing, out, 0, [&](const Context&, const Tensor&) {
    {
      const GradTarget dy = y.grad_target();
      dy.tensor.copy_from(vec({7, 8}));
    }
    const GradTarget dx = x.grad_target();
    CHECK(dx.beta == 1);
    fail("no memory");
  });
  CHECK(error_of([&] { tape.backward(out); }) == "no memory");
  CHECK(!x.grad());
  CHECK(y.grad().to_vector() == std::vector<double>{7, 8});
  const GradTarget again = x.grad_target();
  CHECK(again.beta == 0);
}

TEST_CASE("names of scopes live as long as what was made in them") {
  const Tensor x = vec({1, 2}).set_requires_grad();
  Tensor y;
  std::weak_ptr<const ScopeName> outer, inner;
  {
    Tape tape;
    const Tape::Scope model(tape, "model");
    outer = tape.scope();
    {
      const Tape::Scope layer(tape, "layer.0");
      inner = tape.scope();
      y = scale(tape, x, 2);
    }
    for (int i = 0; i < 1000; ++i) const Tape::Scope step(tape, std::to_string(i));
    CHECK(tape.scope() == outer.lock());
  }
  CHECK(y.label() == "\"model > layer.0 > scale\"");
  y = {};
  CHECK((outer.expired() && inner.expired()));
}

TEST_CASE("where one tensor is two operands a kernel writes two places, which are added") {
  const Tensor x = vec({1, 2}).set_requires_grad(), y = vec({3, 4}).set_requires_grad(), constant = vec({0, 0});
  x.set_grad(vec({10, 20}));
  {
    const GradTargets targets(x, y, x, constant, Tensor(), x);
    CHECK(targets[0].beta == 1);
    for (const size_t i : {size_t{1}, size_t{2}, size_t{5}}) CHECK(targets[i].beta == 0);
    CHECK((!targets[3] && !targets[4]));
    // In whatever order, here backwards.
    for (const size_t i : {size_t{5}, size_t{2}, size_t{1}})
      targets[i].tensor.copy_from(vec({static_cast<double>(i), 2 * static_cast<double>(i)}));
    targets[0].tensor.copy_from(vec({11, 22}));
    targets.add_up(Context::standard());
  }
  CHECK(x.grad().to_vector() == std::vector<double>{18, 36});
  CHECK(y.grad().to_vector() == std::vector<double>{1, 2});
}

TEST_CASE("a tape tells what operations were given while it keeps values") {
  const Tensor x = vec({1, 2}).set_requires_grad(), constant = vec({3, 4});
  Tape tape;
  scale(tape, x, 2);
  REQUIRE(tape.nodes().size() == 1);
  CHECK(tape.nodes()[0].inputs.empty());
  tape.clear();
  tape.keep_values();
  const Tensor y = mul(tape, x, constant), z = reshape(tape, y, {2, 1});
  mul(tape, constant, constant);  // recorded nowhere; what follows is given none of its inputs
  const Tensor loss = sum(tape, z);
  const std::vector<NodeInfo> nodes = tape.nodes();
  REQUIRE(nodes.size() == 3);
  REQUIRE(nodes[0].inputs.size() == 2);
  CHECK((nodes[0].inputs[0].same_as(x) && nodes[0].inputs[1].same_as(constant)));
  REQUIRE(nodes[1].inputs.size() == 1);
  CHECK((nodes[1].inputs[0].same_as(y) && nodes[1].inputs[0].same_as(nodes[0].output)));
  REQUIRE(nodes[2].inputs.size() == 1);
  CHECK(nodes[2].inputs[0].same_as(z));
  CHECK(nodes[1].inputs[0].to_vector() == std::vector<double>{3, 8});

  bool first = true;
  tape.before_each([&](const Op&) {
    if (!std::exchange(first, false)) CHECK(tape.nodes()[2].inputs.empty());  // its node has run
  });
  tape.backward(loss);
  CHECK(x.grad().to_vector() == std::vector<double>{3, 4});
}

TEST_CASE("a tape tells of each operation before it runs, views included") {
  const Tensor x = vec({1, 2}).set_requires_grad();
  Tape tape;
  std::vector<std::string> seen;
  tape.before_each(
      [&](const Op& op) { seen.push_back((tape.running_backward() ? "backward " : "") + std::string(op.name)); });
  exp(tape, x);  // the loss does not depend on it
  tape.backward(sum(tape, reshape(tape, scale(tape, x, 2), {2, 1})));
  CHECK(seen == std::vector<std::string>{"exp", "scale", "reshape", "sum", "backward sum", "backward reshape",
                                         "backward scale"});
}

TEST_CASE("errors name the operation, the operands and the place") {
  const Tensor x = zeros({37, 768}, DType::f32).set_name("layer.2.sa_norm.out");
  const Tensor weight = zeros({3072, 766}, DType::f32).set_name("layer.2.ffn.lin1.weight");
  Tape tape;
  const Tape::Scope model(tape, "DistilBert"), layer(tape, "layer.2"), module(tape, "ffn.lin1");
  const std::string message = error_of([&] { linear(tape, x, weight, {}); });
  INFO(message);
  CHECK(contains(message, "linear: inner dimensions differ\n"));
  CHECK(contains(message, "[37, 768]"));
  CHECK(contains(message, "[3072, 766]"));
  CHECK(contains(message, "f32"));
  CHECK(contains(message, name_of(test_device())));
  CHECK(contains(message, "\"layer.2.ffn.lin1.weight\""));
  CHECK(contains(message, "\n  in DistilBert > layer.2 > ffn.lin1"));
}

TEST_CASE("every operation refuses operands that do not fit") {
  Tape t;
  const Tensor m = zeros({3, 4}, DType::f64), v = zeros({3}, DType::f64);
  const Tensor single = zeros({3, 4}, DType::f32), ids = i32({0, 1, 2}), none;
  const auto says = [](const std::string& part, auto&& f) {
    const std::string message = error_of(f);
    INFO(message);
    CHECK(contains(message, part));
  };
  says("add: shapes do not broadcast", [&] { add(t, m, v); });
  says("mul: dtypes differ", [&] { mul(t, m, single); });
  says("sub: an operand is missing", [&] { sub(t, m, none); });
  says("exp: an operand is missing", [&] { exp(t, none); });
  says("gelu: x must be f32 or f64", [&] { gelu(t, ids); });
  says("sum: axis 2 is outside", [&] { sum(t, m, 2); });
  says("mean: axis -3 is outside", [&] { mean(t, m, -3); });
  says("max: axis 0 is empty", [&] { max(t, zeros({0, 2}, DType::f64), 0); });
  says("slice: 3 elements from 2 are outside axis 0", [&] { slice(t, m, 0, 2, 3); });
  says("slice", [&] { slice(t, m, 0, -1, 2); });
  says("slice", [&] { slice(t, m, 0, 1, INT64_MAX); });
  says("concat: there are no parts", [&] { concat(t, {}, 0); });
  says("concat: shapes differ outside axis 0", [&] { concat(t, std::vector{m, zeros({3, 5}, DType::f64)}, 0); });
  says("reshape: [5] has another number", [&] { reshape(t, m, {5}); });
  says("transpose: x needs at least two", [&] { transpose(t, v); });
  says("embedding: ids[1] = 4 is outside 0..2", [&] { embedding(t, m, i32({0, 4})); });
  says("ids[0] = -1 is below 0", [&] { embedding(t, m, i32({-1})); });
  says("ids must be an i32", [&] { embedding(t, m, v); });
  says("matmul: inner dimensions differ", [&] { matmul(t, m, m); });
  says("matmul: inner dimensions differ, a transposed", [&] { matmul(t, m, zeros({4, 3}, DType::f64), true); });
  says("matmul: leading dimensions differ", [&] {
    matmul(t, zeros({2, 3, 4}, DType::f64), zeros({3, 4, 5}, DType::f64));
  });
  says("softmax: x needs at least one", [&] { softmax(t, scalar(1, DType::f64)); });
  says("layer_norm: weight and bias", [&] { layer_norm(t, m, v, v, 1e-5); });
  says("dropout: probability 1 is outside", [&] { dropout(t, m, {1.0, {}}); });
  says("dropout: probability nan", [&] { dropout(t, m, {std::nan(""), {}}); });
  says("cross_entropy: labels[0] = 7", [&] { cross_entropy(t, m, i32({7, 0, 0})); });
  says("cross_entropy: logits must be", [&] { cross_entropy(t, m, i32({0})); });
  says("cross_entropy: there are no rows", [&] { cross_entropy(t, zeros({0, 4}, DType::f64), i32({})); });
  says("attention: q_offsets must run from 0 to 3", [&] {
    attention(t, m, m, m, {i32({0, 2}), i32({0, 3})}, {.heads = 2, .dropout = {}});
  });
  says("adamw: steps count from 1", [&] { adamw(m, m, m, m, {}); });
  says("adamw: the gradient", [&] { adamw(m, v, m, m, AdamWStep{}); });
}
