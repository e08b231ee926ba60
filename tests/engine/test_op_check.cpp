// Which operation's backward function is wrong.
#include "engine/op_check.h"

#include "engine/op.h"
#include "engine/ops.h"
#include "tests/support/catch.h"

using namespace crisp;

namespace {

// y = x scaled by 3, whose backward function has a mistake.
enum class Mistake { none, factor, lost_row, wrong_index };
const Op faulty_op{"faulty", nullptr};

Tensor faulty(Tape& tape, const Tensor& x, Mistake mistake) {
  const Tensor y = tape.output(faulty_op, x.shape(), x.dtype(), {x});
  run(tape, y, [&](auto k) { k->scale(x.numel(), 3, k(x), k(y), 0); });
  tape.record(faulty_op, y, 0, [x, mistake](const Context& context, const Tensor& dy) {
    Tensor given = dy.clone();
    auto* d = given.data<double>();
    if (mistake == Mistake::factor) d[1] *= 1 + 1e-4;
    if (mistake == Mistake::lost_row) d[2] = 0;
    if (mistake == Mistake::wrong_index) std::swap(d[0], d[3]);
    const GradTarget dx = x.grad_target();
    run(context, given, [&](auto k) { k->scale(x.numel(), 3, k(given), k(dx), dx.beta); });
  });
  return y;
}

struct Net {
  Tensor x = sample_input({4, 3}, 1).set_name("x"), w = sample_input({5, 3}, 2).set_name("w"),
         b = sample_input({5}, 3).set_name("b"), gain = sample_input({5}, 4).set_name("gain"),
         shift = sample_input({5}, 5).set_name("shift");

  // x is used twice, a view is on the way, and so is a residual.
  Tensor operator()(Tape& tape, Mistake mistake) const {
    Tensor h;
    {
      const Tape::Scope scope(tape, "first");
      h = linear(tape, x, w, b);
    }
    const Tape::Scope scope(tape, "second");
    const Tensor flat = faulty(tape, reshape(tape, gelu(tape, h), {20}), mistake);
    const Tensor normed = layer_norm(tape, add(tape, h, reshape(tape, flat, {4, 5})), gain, shift, 1e-5);
    return add(tape, sum(tape, tanh(tape, normed)), sum(tape, mul(tape, x, x)));
  }
};

TEST_CASE("op check: right backward functions pass, each for each of its inputs") {
  const Net net;
  const std::vector<OpCheck> checks =
      check_operations([&](Tape& tape) { return net(tape, Mistake::none); }, Context::standard());
  size_t of_linear = 0;
  for (const OpCheck& check : checks) {
    INFO(check.str());
    CHECK(check.passes(1e-7));
    of_linear += check.op == "linear";
  }
  CHECK(of_linear == 3);  // x, w and b
  CHECK(checks.size() == 18);
  CHECK_FALSE(net.w.grad());
}

TEST_CASE("op check: the one that is wrong is named, whatever the mistake") {
  const Net net;
  const std::vector<double> before = net.x.to_vector();
  for (const Mistake mistake : {Mistake::factor, Mistake::lost_row, Mistake::wrong_index}) {
    const std::vector<OpCheck> checks =
        check_operations([&](Tape& tape) { return net(tape, mistake); }, Context::standard());
    size_t wrong = 0;
    for (const OpCheck& check : checks) {
      INFO(check.str());
      if (check.passes(1e-6)) continue;
      ++wrong;
      CHECK(check.op == "faulty");
      CHECK(check.scope == "second");
    }
    CHECK(wrong == 1);
  }
  CHECK(net.x.to_vector() == before);
}

}  // namespace
