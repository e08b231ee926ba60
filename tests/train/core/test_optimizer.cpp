// AdamW with rows that wait: the bits of the dense optimizer, whenever they are asked for.
#include "train/core/optimizer.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "engine/ops.h"
#include "tests/support/catch.h"
#include "tests/support/small_model.h"
#include "tests/train/support.h"
#include "train/core/schedule.h"

using namespace crisp;
using namespace crisp::test;

namespace {

constexpr int64_t rows = 60;
// A row is more than one piece of the kernel, the last one not full. A few of the wide ones, as many as a step uses,
// are so much work that the threads share it.
constexpr int64_t cols = 70, wide_cols = 6050;

Tensor ids_of(const std::vector<int32_t>& ids) {
  return Tensor::from(std::span<const int32_t>(ids), {static_cast<int64_t>(ids.size())});
}

// Rows 0..9 often, 20 once, 21 at the beginning and after a long time, 30..39 now and then, the others never.
Tensor ids_at(int64_t step) {
  const auto random = [step](uint64_t i) {
    return static_cast<int32_t>(random_word({.seed = 7, .step = static_cast<uint32_t>(step)}, i) % 10);
  };
  std::vector<int32_t> ids{random(0), random(1), random(2), random(0)};
  if (step % 17 == 3) ids.insert(ids.begin(), 30 + random(3));
  if (step == 3) ids.insert(ids.end(), {20, 21, 20});
  if (step == 190) ids.push_back(21);
  return ids_of(ids);
}

double rate_at(int64_t step) { return 1e-2 * Schedule(ScheduleType::linear, 700, 20).factor(step); }
double scale_at(int64_t step) { return step % 3 == 0 ? 0.25 : 1.0; }

// A table and a dense weight, whose gradients depend on what they hold.
struct Run {
  Run(DType type, bool by_rows, bool defer, int64_t width = cols, const Context& with = Context::standard(),
      size_t ahead = 0)
      : context(with) {
    table = Tensor::normal({rows, width}, type, {.seed = 1}).set_requires_grad();
    table.set_name("table");
    weight = Tensor::normal({3, width}, type, {.seed = 2}).set_requires_grad();
    if (by_rows) table.take_grad_by_rows();
    parameters = {{"table", table, true, false}, {"weight", weight, false, false}};
    const AdamWOptions options{.weight_decay = 0.1, .defer_rows = defer, .steps_ahead = ahead};
    optimizer = std::make_unique<AdamW>(parameters, options, context);
  }
  // Of the loss times `scale`.
  void backward(const Tensor& ids, double scale = 1) {
    optimizer->catch_up(table, Rows(ids).ids().host);
    Tape tape(context);
    const Tensor y = linear(tape, embedding(tape, table, ids), weight, {});
    tape.backward(mean(tape, mul(tape, y, y)), scale);
  }
  void step(int64_t s) {
    backward(ids_at(s), scale_at(s));
    optimizer->step(rate_at(s), 0);
  }
  void steps(int64_t from, int64_t to) {
    for (int64_t s = from; s < to; ++s) step(s);
  }
  // One whose result may stay unread; the loss is multiplied with `factor` besides.
  void step_ahead(int64_t s, double factor = 1) {
    while (!optimizer->has_room()) REQUIRE(optimizer->read_oldest().is_finite == 1);
    backward(ids_at(s), scale_at(s) * factor);
    optimizer->enqueue(rate_at(s), 0);
  }
  void read_all() {
    while (optimizer->unread() > 0) REQUIRE(optimizer->read_oldest().is_finite == 1);
  }
  // Copies of everything, up to date.
  std::vector<Tensor> state() {
    optimizer->catch_up();
    std::vector<Tensor> all;
    for (size_t i = 0; i < parameters.size(); ++i)
      for (const Tensor& t : {parameters[i].tensor, optimizer->first_moments()[i], optimizer->second_moments()[i]})
        all.push_back(t.detach().clone());
    return all;
  }

  const Context& context;
  Tensor table, weight;
  std::vector<Parameter> parameters;
  std::unique_ptr<AdamW> optimizer;
};

bool same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_bits);
}

}  // namespace

TEST_CASE("rows that wait end with the bits of the dense optimizer") {
  for (const DType type : {DType::f32, DType::f64}) {
    Run dense(type, false, false);
    std::vector<std::vector<Tensor>> expected;  // after 50, 137, 200 and 700 steps
    for (const auto& [from, to] : {std::pair{0, 50}, {50, 137}, {137, 200}, {200, 700}}) {
      dense.steps(from, to);
      expected.push_back(dense.state());
    }
    for (const int threads : {1, 2, 4}) {
      const Context context({.threads = threads});
      INFO(name_of(type) << ", " << threads << " threads");
      Run whole(type, true, true, cols, context);
      whole.steps(0, 200);
      // They do wait: a row that was never used is as it was at the start.
      CHECK(same_bits(whole.table.detach().view_rows(50, 1), Run(type, true, true).table.detach().view_rows(50, 1)));
      CHECK(same(whole.state(), expected[2]));
      whole.steps(200, 700);  // more steps than are remembered
      CHECK(same(whole.state(), expected[3]));

      // Asking in between changes nothing.
      Run asked(type, true, true, cols, context);
      asked.steps(0, 50);
      CHECK(same(asked.state(), expected[0]));
      asked.steps(50, 137);
      asked.optimizer->catch_up(asked.table, std::vector<int32_t>{55, 20, 55});
      asked.steps(137, 200);
      CHECK(same(asked.state(), expected[2]));

      // Nor does going on from what was saved.
      Run saved(type, true, true, cols, context);
      saved.steps(0, 137);
      const std::vector<Tensor> state = saved.state();
      CHECK(same(state, expected[1]));
      Run resumed(type, true, true, cols, context);
      resumed.steps(0, 9);  // a past of its own, which must not count
      resumed.optimizer->set_steps(137);
      for (size_t i = 0; i < 2; ++i) {
        resumed.parameters[i].tensor.copy_from(state[3 * i]);
        resumed.optimizer->first_moments()[i].copy_from(state[3 * i + 1]);
        resumed.optimizer->second_moments()[i].copy_from(state[3 * i + 2]);
      }
      resumed.steps(137, 200);
      CHECK(same(resumed.state(), expected[2]));
    }
  }
}

TEST_CASE("rows that wait and are shared among threads end with the bits of the dense optimizer, too") {
  for (const DType type : {DType::f32, DType::f64}) {
    const Context alone({.threads = 1});
    Run dense(type, false, false, wide_cols, alone);
    dense.steps(0, 60);
    const std::vector<Tensor> expected = dense.state();
    for (const int threads : {1, 2, 4}) {
      const Context context({.threads = threads});
      INFO(name_of(type) << ", " << threads << " threads");
      Run waiting(type, true, true, wide_cols, context);
      waiting.steps(0, 60);
      CHECK(same(waiting.state(), expected));
    }
  }
}

TEST_CASE("without deferring, row gradients change nothing but the memory they take") {
  Run dense(DType::f32, false, false), by_rows(DType::f32, true, false);
  for (int64_t s = 0; s < 40; ++s) {
    dense.step(s);
    by_rows.step(s);
    REQUIRE(same_bits(by_rows.table, dense.table));
  }
  CHECK(same(by_rows.state(), dense.state()));
}

TEST_CASE("gradients of several micro-batches make one step, and a step without a gradient is none") {
  for (const DType type : {DType::f32, DType::f64}) {
    Run dense(type, false, false), waiting(type, true, true);
    for (Run* run : {&dense, &waiting}) {
      for (int64_t s = 0; s < 60; ++s) {
        for (int64_t micro = 0; micro < 3; ++micro) run->backward(ids_at(3 * s + micro), scale_at(s));
        if (s == 20)
          for (const Parameter& p : run->parameters) p.tensor.clear_grad();
        run->optimizer->step(rate_at(s), 0);
      }
      CHECK(run->optimizer->steps() == 60);
    }
    CHECK(same(waiting.state(), dense.state()));
  }
}

TEST_CASE("a step clips by the norm of all gradients, and one that is not finite leaves everything as it was") {
  for (const DType type : {DType::f32, DType::f64}) {
    for (const bool by_rows : {false, true}) {
      Run run(type, by_rows, by_rows);
      CHECK(run.optimizer->step(1e-3, 1).norm == 0);                            // nothing has a gradient
      for (int micro = 0; micro < 2; ++micro) run.backward(ids_at(3 + micro));  // the second one adds
      double expected = 0;
      for (const Parameter& p : run.parameters)
        for (const double x : p.tensor.grad().to_vector()) expected += x * x;
      const double norm = std::sqrt(expected), most = norm / 3;
      const Tensor gradient = run.weight.grad(), weight = run.weight.detach().clone();
      const Tensor m = run.optimizer->first_moments()[1].clone(), v = run.optimizer->second_moments()[1].clone();
      const ClipResult result = run.optimizer->step(1e-3, most);
      CHECK(result.norm == Approx(norm).epsilon(1e-12));
      CHECK(result.factor == Approx(most / (norm + 1e-6)).epsilon(1e-12));
      CHECK(!run.weight.gradient());
      const AdamWPart part{weight, gradient, m, v, {1e-3, 0.9, 0.999, 1e-8, 0, result.factor, 2}};
      adamw(Context::standard(), {&part, 1}, {});
      CHECK(same_bits(run.weight, weight));

      const std::vector<Tensor> before = run.state();
      run.backward(ids_at(5));
      const Tensor broken = run.table.grad();
      broken.view_rows(ids_at(5).data<int32_t>()[0], 1).copy_from(Tensor::full({1, broken.dim(1)}, type, HUGE_VAL));
      run.table.set_grad(broken);
      CHECK(run.optimizer->step(1e-3, 1).is_finite == 0);
      CHECK(run.optimizer->steps() == 2);
      CHECK(run.weight.gradient());
      CHECK(same(run.state(), before));
    }
  }
}

TEST_CASE("steps that are read late have the bits of steps that are read at once") {
  for (const DType type : {DType::f32, DType::f64}) {
    Run at_once(type, true, true), late(type, true, true, cols, Context::standard(), 3);
    at_once.steps(0, 200);
    const std::vector<Tensor> expected = at_once.state();
    at_once.steps(200, 540);  // more than are remembered
    size_t most = 0;
    for (int64_t s = 0; s < 540; ++s) {
      late.step_ahead(s);
      most = std::max(most, late.optimizer->unread());
      CHECK(late.optimizer->steps() == s + 1);
      if (s != 199) continue;
      CHECK(contains(message_of<Error>([&] { late.optimizer->catch_up(); }), "have not been read"));
      late.read_all();
      CHECK(same(late.state(), expected));
    }
    CHECK(most == 3);
    late.read_all();
    CHECK(same(late.state(), at_once.state()));
  }
}

TEST_CASE("a step that is not finite takes those after it back, and the run can go on without them") {
  for (const DType type : {DType::f32, DType::f64}) {
    for (const size_t ahead : {1, 2, 3}) {
      for (const int64_t broken : {0, 21, 509}) {
        if (broken == 509 && ahead < 3) continue;  // where as many steps are remembered as can be
        INFO(name_of(type) << ", step " << broken << ", " << ahead << " ahead");
        Run at_once(type, true, true), late(type, true, true, cols, Context::standard(), ahead);
        at_once.steps(0, broken);
        for (int64_t s = 0; s < broken; ++s) late.step_ahead(s);
        late.step_ahead(broken, HUGE_VAL);
        // As many more as can be called for before its result must be read.
        for (size_t more = 1; more < ahead; ++more) late.step_ahead(late.optimizer->steps());
        CHECK(late.optimizer->steps() == broken + static_cast<int64_t>(ahead));
        while (late.optimizer->steps() - static_cast<int64_t>(late.optimizer->unread()) < broken)
          REQUIRE(late.optimizer->read_oldest().is_finite == 1);
        CHECK(late.optimizer->read_oldest().is_finite == 0);
        CHECK(late.optimizer->unread() == 0);
        CHECK(late.optimizer->steps() == broken);
        CHECK(same(late.state(), at_once.state()));
        for (int64_t s = broken; s < broken + 30; ++s) {
          at_once.step(s);
          late.step_ahead(s);
        }
        late.read_all();
        CHECK(same(late.state(), at_once.state()));
      }
    }
  }
}

TEST_CASE("a step after a forward pass that read waiting rows is refused") {
  Run run(DType::f32, true, true);
  run.steps(0, 5);
  run.optimizer->catch_up(run.table, std::vector<int32_t>{2});
  Tape tape;
  tape.backward(sum(tape, embedding(tape, run.table, ids_of({2, 40}))));
  const std::string message = message_of<Error>([&] { run.optimizer->step(1e-3, 1); });
  CHECK(contains(message, "row 40 of \"table\""));
  CHECK(contains(message, "catch_up()"));
  CHECK(run.optimizer->steps() == 5);
  CHECK(contains(message_of<Error>([&] {
                   run.optimizer->catch_up(run.table, std::vector<int32_t>{1, 60});
                 }),
                 "no row 60"));
}
