// Kernels that no operation's value test reaches well: optimizer, sums for it, contracts on beta.
#include <algorithm>
#include <cfloat>
#include <limits>

#include "engine/backend.h"
#include "engine/cpu/tables.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("adamw follows its formula over several steps", "[isa]") {
  for (const auto& [type, tolerance] : {std::pair{DType::f64, 1e-14}, {DType::f32, 1e-6}}) {
    const Tensor p = numbers({5000}, 1, type), m = Tensor::zeros({5000}, type), v = Tensor::zeros({5000}, type);
    std::vector<double> ep = p.to_vector(), em(5000), ev(5000);
    for (int step = 1; step <= 5; ++step) {
      const Tensor g = numbers({5000}, static_cast<uint64_t>(10 + step), type);
      const AdamWStep rule{.learning_rate = 1e-2,
                           .beta1 = 0.9,
                           .beta2 = 0.999,
                           .epsilon = 1e-8,
                           .weight_decay = 0.1,
                           .gradient_scale = 0.5,
                           .step = step};
      adamw(p, g, m, v, rule);
      const auto eg = g.to_vector();
      for (size_t i = 0; i < 5000; ++i) {
        const double gi = 0.5 * eg[i];
        ep[i] -= 1e-2 * 0.1 * ep[i];
        em[i] = 0.9 * em[i] + 0.1 * gi;
        ev[i] = 0.999 * ev[i] + 0.001 * gi * gi;
        const double mh = em[i] / (1 - std::pow(0.9, step)), vh = ev[i] / (1 - std::pow(0.999, step));
        ep[i] -= 1e-2 * mh / (std::sqrt(vh) + 1e-8);
      }
    }
    CHECK(relative_error(p.to_vector(), ep) < tolerance);
    CHECK(relative_error(m.to_vector(), em) < tolerance);
    CHECK(relative_error(v.to_vector(), ev) < tolerance);
  }
}

TEST_CASE("rows that catch up have the bits of adamw step by step, and none ends as a denormal number", "[isa]") {
  // More than one piece of the kernel, the last one not full; 8 of the wider rows are shared among the threads.
  const int64_t cols = GENERATE(75, 2075);
  for (const DType type : {DType::f32, DType::f64}) {
    const int64_t rows = 9, steps = type == DType::f32 ? 900 : 400;
    Tensor p = numbers({rows, cols}, 1, type), m = Tensor::zeros({rows, cols}, type), v = m.clone();
    // Row 0 has no moments; row 1 has some that are large; row 2 small ones, and so on; row 8 has no numbers.
    for (int64_t r = 1; r < rows; ++r) {
      const double size = std::pow(10.0, static_cast<double>(-4 * r));
      m.view_rows(r, 1).copy_from(numbers({1, cols}, 10 + static_cast<uint64_t>(r), type, 0, size));
      v.view_rows(r, 1).copy_from(Tensor::full({1, cols}, type, size * size));
    }
    const double huge = HUGE_VAL;
    p.view_rows(0, 1).view({cols}).view_rows(0, 3).copy_from(vec({-0.0, huge, std::nan("")}, type));
    m.view_rows(8, 1).view({cols}).view_rows(5, 2).copy_from(vec({std::nan(""), huge}, type));
    v.view_rows(8, 1).view({cols}).view_rows(70, 2).copy_from(vec({std::nan(""), huge}, type));

    for (const double epsilon : {1e-8, 1e-60}) {  // the second is 0 in f32
      const auto rule = [&](int64_t s) {
        return AdamWStep{.learning_rate = 1e-2 / static_cast<double>(s),
                         .beta1 = 0.9,
                         .beta2 = 0.99,
                         .epsilon = epsilon,
                         .weight_decay = 0.1,
                         .gradient_scale = 0.5,
                         .step = s};
      };
      const Tensor zero = Tensor::zeros({rows, cols}, type), last = numbers({rows, cols}, 5, type);
      const Tensor ep = p.clone(), em = m.clone(), ev = v.clone();
      std::vector<AdamWRates> rates;
      for (int64_t s = 1; s <= steps; ++s) {
        // Row r is due the steps from 10 r on; row 4 has a gradient in the last.
        rates.push_back(adamw_rates(rule(s)));
        for (int64_t r = 0; r < rows; ++r) {
          if (s <= 10 * r) continue;
          const auto row = [r](const Tensor& t) { return t.view_rows(r, 1); };
          adamw(row(ep), row(r == 4 && s == steps ? last : zero), row(em), row(ev), rule(s));
        }
      }
      const Tensor p1 = p.clone(), m1 = m.clone(), v1 = v.clone();
      const AdamWPart table{p1, {}, m1, v1, rule(1)};
      const auto catch_up = [&](int64_t until, const std::vector<int32_t>& which, const std::vector<int32_t>& since) {
        catch_up_rows(Context::standard(), table, std::span(rates).first(static_cast<size_t>(until)), which, since);
      };
      const auto half = static_cast<int32_t>(steps / 2);
      catch_up(half, {7, 2, 0}, {70, 20, 0});
      catch_up(steps, {0, 8, 1, 2, 3, 7, 6, 5}, {half, 80, 10, half, 30, half, 60, 50});
      catch_up(steps - 1, {4}, {40});
      adamw_rows(Context::standard(), {p1, last.view_rows(4, 1), m1, v1, rule(steps)}, *integers({4}), {});
      INFO(name_of(type) << ", epsilon " << epsilon << ", " << cols << " columns");
      CHECK(same_bits(p1, ep));
      CHECK(same_bits(m1, em));
      CHECK(same_bits(v1, ev));
      const auto denormal = [](const Tensor& t) {
        const std::vector<double> x = t.to_vector();
        const double smallest = t.dtype() == DType::f32 ? FLT_MIN : DBL_MIN;
        return std::count_if(x.begin(), x.end(), [&](double y) { return y != 0 && std::abs(y) < smallest; });
      };
      CHECK(denormal(em) == 0);
      CHECK(denormal(ev) == 0);
      if (type == DType::f32)
        CHECK(em.view_rows(1, 1).to_vector() == std::vector<double>(static_cast<size_t>(cols), 0.0));
      CHECK(!std::isfinite(em.view_rows(8, 1).to_vector()[6]));
      CHECK(std::isnan(ep.view_rows(8, 1).to_vector()[5]));
      CHECK(std::isnan(ep.view_rows(8, 1).to_vector()[70]));
    }
  }
}

TEST_CASE("rows and steps that do not exist are refused") {
  const Tensor p = numbers({5, 3}, 1).set_name("words"), m = Tensor::zeros({5, 3}, DType::f64), v = m.clone();
  const std::vector<AdamWRates> rates(4, AdamWRates{0.1, 0.01, 1});
  const AdamWStep rule{.learning_rate = 0.01,
                       .beta1 = 0.9,
                       .beta2 = 0.99,
                       .epsilon = 1e-8,
                       .weight_decay = 0,
                       .gradient_scale = 1,
                       .step = 1};
  const Context& context = Context::standard();
  const Tensor before = p.clone(), two = numbers({2, 3}, 2);
  const auto catch_up = [&](const std::vector<int32_t>& rows, const std::vector<int32_t>& from) {
    catch_up_rows(context, {p, {}, m, v, rule}, rates, rows, from);
  };
  const auto says = [](const auto& f, const std::string& part) {
    const std::string message = error_of(f);
    INFO(message);
    CHECK(contains(message, part));
  };
  says([&] { catch_up({1, 5}, {0, 0}); }, "adamw: rows[1] = 5 is outside \"words\" of shape [5, 3]");
  says([&] { catch_up({-1}, {0}); }, "rows[0] = -1");
  says([&] { catch_up({1, 2}, {4, 5}); }, "from[1] = 5 for row 2 of \"words\"; with 4 steps it must be from 0 to 4");
  says([&] { catch_up({1}, {-1}); }, "from[0] = -1");
  says([&] { catch_up({1, 2}, {0}); }, "2 rows of \"words\", but 1 steps");
  says([&] { catch_up({1, 4, 1}, {0, 0, 0}); }, "row 1 of \"words\" is there twice, the second time as rows[2]");
  says([&] { catch_up_rows(context, {p, two, m, v, rule}, rates, {}, {}); }, "have no gradient");
  const auto step = [&](const Integers& rows, const Tensor& gradient) {
    adamw_rows(context, {p, gradient, m, v, rule}, rows, {});
  };
  Integers of_the_host;
  of_the_host.host = {1, 2};
  says([&] { step(of_the_host, two); }, "must be on its device");
  says([&] { step(*integers({1, 2}), {}); }, "rows of \"words\" have no gradient");
  says([&] { step(*integers({1}), two); }, "must be [1, 3] f64");
  says([&] { step(*integers({1, 2}), numbers({2, 3}, 2, DType::f32)); }, "it is [2, 3] f32");
  for (const std::vector<int32_t>& rows : {std::vector<int32_t>{1, 1}, {2, 1}, {-1, 1}, {1, 5}})
    says([&] { step(*integers(rows), two); }, "the rows of \"words\" must increase, within its 5 rows");
  const Tensor flat = p.view({15});
  says(
      [&] {
        adamw_rows(context, {flat, two, m.view({15}), v.view({15}), rule}, *integers({1, 2}), {});
      },
      "a table [rows, dim] is needed");
  says(
      [&] {
        adamw_rows(context, {p, two, m, v.view({15}), rule}, *integers({1, 2}), {});
      },
      "the second moments of \"words\" must be [5, 3] f64 on its device; it is [15] f64");
  CHECK(same_bits(p, before));
  catch_up({}, {});
  catch_up({4}, {4});  // due no step
  CHECK(same_bits(p, before));
}

TEST_CASE("clipping scales to the largest norm, and a step that is not finite changes nothing", "[isa]") {
  const Context& context = Context::standard();
  for (const DType type : {DType::f32, DType::f64}) {
    const Tensor a = numbers({700}, 1, type).set_requires_grad(), b = numbers({3, 5}, 2, type).set_requires_grad();
    const Tensor span = numbers({4}, 3, type).set_requires_grad(), none = numbers({2}, 4, type).set_requires_grad();
    const Tensor table = numbers({6, 3}, 5, type).set_requires_grad().take_grad_by_rows();
    a.set_grad(numbers({700}, 6, type));
    b.set_grad(numbers({3, 5}, 7, type));
    span.set_grad(numbers({4}, 8, type));
    table.set_grad_rows(integers({1, 4}), numbers({2, 3}, 9, type));
    double sum = 0, other = 0;
    for (const Tensor& t : {a, b, table})
      for (const double g : t.grad().to_vector()) sum += g * g;
    for (const double g : span.grad().to_vector()) other += g * g;
    const std::vector<Tensor> clipped{a, none, b, table}, others{span};
    const std::vector<Tensor> losses{Tensor::scalar(2.5, type), Tensor::scalar(-8, type)};
    const std::array parts{0.75, 0.25};
    const StepLoss loss{1, losses, parts, Tensor::scalar(0.125, type)};
    for (const double most : {0.0, 0.5, 1e6}) {
      const ClipResult r = read_clip(clip_gradients(context, clipped, others, loss, most));
      CHECK(r.norm == Approx(std::sqrt(sum)).epsilon(1e-12));
      CHECK(r.other == Approx(std::sqrt(other)).epsilon(1e-12));
      CHECK(r.loss == 1 + 0.75 * 2.5 - 0.25 * 8);
      CHECK(r.penalty == 0.125);
      CHECK(r.factor == (most == 0.5 ? Approx(0.5 / (std::sqrt(sum) + 1e-6)).epsilon(1e-12) : Approx(1).epsilon(0)));
      CHECK(r.is_finite == 1);
    }
    // Clipped or not, the update is that of a gradient which somebody has scaled before.
    AdamWStep rule{.learning_rate = 0.1,
                   .beta1 = 0.9,
                   .beta2 = 0.99,
                   .epsilon = 1e-8,
                   .weight_decay = 0.1,
                   .gradient_scale = 1,
                   .step = 1};
    const Tensor clip = clip_gradients(context, clipped, others, loss, 0.5);
    const auto update = [&](const Tensor& by, bool is_clipped, double scale) {
      const Tensor p = a.detach().clone(), m = Tensor::zeros({700}, type), v = m.clone();
      rule.gradient_scale = scale;
      const AdamWPart part{p, a.grad(), m, v, rule, is_clipped};
      crisp::adamw(context, {&part, 1}, by);
      return p;
    };
    CHECK(same_bits(update(clip, true, 1), update({}, true, read_clip(clip).factor)));
    CHECK(same_bits(update(clip, false, 1), update({}, true, 1)));

    const std::array shares{1.0};
    for (const double bad : {std::nan(""), HUGE_VAL}) {
      const auto broken = [&](int where) {
        const Tensor in_a = numbers({700}, 6, type), in_span = numbers({4}, 8, type);
        if (where == 0) in_a.view_rows(650, 1).copy_from(vec({bad}));
        if (where == 1) in_span.view_rows(1, 1).copy_from(vec({bad}));
        a.set_grad(in_a);
        span.set_grad(in_span);
        const Tensor of_batch = Tensor::scalar(where == 2 ? bad : 0.0, type);
        return clip_gradients(context, clipped, others, {.losses = {&of_batch, 1}, .shares = shares}, 1);
      };
      for (const int where : {0, 1, 2}) {
        const Tensor result = broken(where);
        CHECK(read_clip(result).is_finite == 0);
        CHECK(same_bits(update(result, true, 1), a.detach()));
        const Tensor p = table.detach().clone(), m = Tensor::zeros({6, 3}, type), v = m.clone();
        adamw_rows(context, {p, table.gradient().values(), m, v, rule}, table.gradient().rows(), result);
        CHECK(same_bits(p, table.detach()));
        CHECK(same_bits(m, v));
      }
    }
  }
}

TEST_CASE("fill and clamp", "[isa]") {
  for (const DType type : {DType::f32, DType::f64}) {
    const Tensor x = vec({-2, 0.25, 7, std::nan(""), HUGE_VAL, -HUGE_VAL}, type);
    clamp(x, 0, 5);
    const std::vector<double> clamped = x.to_vector();
    CHECK(std::vector(clamped.begin(), clamped.begin() + 3) == std::vector<double>{0, 0.25, 5});
    CHECK(std::isnan(clamped[3]));
    CHECK(clamped[4] == 5);
    CHECK(clamped[5] == 0);
    const Tensor many = numbers({50001}, 1, type);
    run(Context::standard(), many, [&](auto k) { k->fill(many.numel() - 1, 0.1, k(many)); });
    const std::vector<double> filled = many.to_vector();
    const double tenth = type == DType::f32 ? static_cast<double>(0.1f) : 0.1;
    CHECK(std::count(filled.begin(), filled.end(), tenth) == 50000);
    CHECK(filled.back() != tenth);
  }
}

TEST_CASE("sum of squares and the search for what is not finite", "[isa]") {
  for (const int64_t n : {0, 1, 100, 4096, 100001}) {
    for (const DType type : {DType::f32, DType::f64}) {
      const Tensor x = numbers({n}, 1, type);
      double expected = 0;
      for (const double v : x.to_vector()) expected += v * v;
      CHECK(sum_squares(x) == Approx(expected).epsilon(1e-13));
      CHECK(all_finite(x));
      for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
        for (const int64_t at : {int64_t{0}, n / 2, n - 1}) {
          if (n == 0) continue;
          const Tensor y = x.clone();
          y.view_rows(at, 1).copy_from(vec({bad}));
          CHECK(!all_finite(y));
        }
      }
    }
  }
  // Squares that overflow f32 are summed in f64.
  CHECK(sum_squares(vec({1e30, 1e30}, DType::f32)) == Approx(2e60).epsilon(1e-6));
}

TEST_CASE("an f32 sum of many numbers keeps its digits") {
  Tape t(Tape::Mode::inference);
  const Tensor x = Tensor::full({1000000}, DType::f32, 0.1);
  CHECK(sum(t, x).item() == Approx(100000.0015).epsilon(1e-7));
  CHECK(sum(t, x.view({1000, 1000}), 0).to_vector()[999] == Approx(100.0000015).epsilon(1e-7));
}

TEST_CASE("a plan sums repeated rows in order and leaves the others alone", "[isa]") {
  for (const int64_t rows : {1, 7, 300, 70000}) {
    const int64_t n = 500, cols = 33;
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < n; ++i)
      ids.push_back(static_cast<int32_t>((i * i * 31 + i) % (i % 3 ? rows : 1 + rows / 2)));
    const Rows plan = on(Device::cpu, Rows(ids));
    const Tensor g = numbers({n, cols}, 1, DType::f32), start = numbers({rows, cols}, 2, DType::f32);
    for (const double beta : {0.0, 1.0}) {
      const Tensor out = start.clone();
      if (beta == 0) out.copy_from(Tensor::full({rows, cols}, DType::f32, std::nan("")));
      std::vector<float> expected(static_cast<size_t>(rows * cols));
      std::vector<bool> touched(static_cast<size_t>(rows), beta != 0);
      if (beta != 0) std::copy_n(start.data<float>(), rows * cols, expected.begin());
      for (int64_t i = 0; i < n; ++i)
        for (int64_t c = 0; c < cols; ++c)
          expected[static_cast<size_t>(ids[static_cast<size_t>(i)] * cols + c)] += g.data<float>()[i * cols + c];
      run(Context::standard(), out, [&](auto k) {
        if (beta == 0) k->fill(out.numel(), 0, k(out));
        k->sum_rows({.count = plan.distinct().size(),
                     .cols = cols,
                     .starts = k(plan.starts()),
                     .order = k(plan.order()),
                     .x = k(g),
                     .to = k(plan.distinct()),
                     .out = k(out),
                     .beta = beta});
      });
      CHECK(std::equal(expected.begin(), expected.end(), out.data<float>()));
    }
  }
}

TEST_CASE("beta = 0 never reads the destination", "[isa]") {
  // Gradients land in memory full of NaN and must come out finite: every operation, every sample.
  for (const Op* op : all_ops()) {
    for (const Sample& sample : op->samples()) {
      for (const Tensor& t : sample.inputs) {
        if (!t.requires_grad()) continue;
        t.grad_target().tensor.copy_from(Tensor::full(t.shape(), t.dtype(), std::nan("")));
        t.clear_grad();
      }
      Tape tape;
      tape.backward(sum(tape, sample.run(tape, sample.inputs)));
      for (const Tensor& t : sample.inputs) {
        INFO(op->name << ": " << sample.what);
        if (t.requires_grad()) {
          REQUIRE(t.grad());
          CHECK(all_finite(t.grad()));
        }
      }
    }
  }
}

TEST_CASE("every entry of every kernel table is filled") {
  const auto complete = [](const auto& table) {
    const auto* entries = reinterpret_cast<void* const*>(&table);
    for (size_t i = 0; i < sizeof(table) / sizeof(void*); ++i) {
      INFO("entry " << i);
      CHECK(entries[i] != nullptr);
    }
  };
  complete(cpu_generic::tables().f32);
  complete(cpu_generic::tables().f64);
  complete(backend(Device::cpu).f32);
  complete(backend(Device::cpu).f64);
}
