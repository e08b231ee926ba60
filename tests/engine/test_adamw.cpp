// The optimizer's step: AdamW of whole parameters and of rows that waited, clipping.
#include <algorithm>
#include <cfloat>
#include <limits>
#include <utility>

#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("adamw follows its formula over several steps", "[isa]") {
  for (const auto& [type, tolerance] : {std::pair{DType::f64, 1e-14}, {DType::f32, 1e-6}}) {
    const Tensor p = numbers({5000}, 1, type), m = zeros({5000}, type), v = zeros({5000}, type);
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
  // More than one piece of the CPU's kernel, the last one not full; 8 of the wider rows are shared among its threads.
  // On a GPU, where a thread has an element, the narrow ones are several blocks already.
  const int64_t cols = test_device() == Device::cpu ? GENERATE(75, 2075) : 75;
  for (const DType type : {DType::f32, DType::f64}) {
    const int64_t rows = 9, steps = type == DType::f32 ? 900 : 400;
    Tensor p = numbers({rows, cols}, 1, type), m = zeros({rows, cols}, type), v = m.clone();
    // Row 0 has no moments; row 1 has some that are large; row 2 small ones, and so on; row 8 has no numbers.
    for (int64_t r = 1; r < rows; ++r) {
      const double size = std::pow(10.0, static_cast<double>(-4 * r));
      m.view_rows(r, 1).copy_from(numbers({1, cols}, 10 + static_cast<uint64_t>(r), type, 0, size));
      v.view_rows(r, 1).copy_from(full({1, cols}, type, size * size));
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
      const Tensor zero = zeros({rows, cols}, type), last = numbers({rows, cols}, 5, type);
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
  const Tensor p = numbers({5, 3}, 1).set_name("words"), m = zeros({5, 3}, DType::f64), v = m.clone();
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
    const std::vector<Tensor> losses{scalar(2.5, type), scalar(-8, type)};
    const std::array parts{0.75, 0.25};
    const StepLoss loss{1, losses, parts, scalar(0.125, type)};
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
      const Tensor p = a.detach().clone(), m = zeros({700}, type), v = m.clone();
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
        const Tensor of_batch = scalar(where == 2 ? bad : 0.0, type);
        return clip_gradients(context, clipped, others, {.losses = {&of_batch, 1}, .shares = shares}, 1);
      };
      for (const int where : {0, 1, 2}) {
        const Tensor result = broken(where);
        CHECK(read_clip(result).is_finite == 0);
        CHECK(same_bits(update(result, true, 1), a.detach()));
        const Tensor p = table.detach().clone(), m = zeros({6, 3}, type), v = m.clone();
        adamw_rows(context, {p, table.gradient().values(), m, v, rule}, table.gradient().rows(), result);
        CHECK(same_bits(p, table.detach()));
        CHECK(same_bits(m, v));
      }
    }
  }
}

TEST_CASE("after a step that was not finite no later one changes anything", "[isa]") {
  const Context& context = Context::standard();
  for (const DType type : {DType::f32, DType::f64}) {
    const Tensor a = numbers({70, 3}, 1, type).set_requires_grad();
    const Tensor loss = scalar(0.5, type);
    const std::array shares{1.0};
    const auto clip_of = [&](const Tensor& gradient, const Tensor& before) {
      a.set_grad(gradient);
      return clip_gradients(context, {&a, 1}, {}, {.losses = {&loss, 1}, .shares = shares}, 1, before);
    };
    const Tensor gradient = numbers({70, 3}, 2, type), none;
    const Tensor failed = clip_of(full({70, 3}, type, HUGE_VAL), none), alone = clip_of(gradient, none),
                 next = clip_of(gradient, failed), third = clip_of(gradient, next), good = clip_of(gradient, alone);
    CHECK(same_bits(good, alone));
    CHECK(read_clip(alone).is_finite == 1);
    CHECK(read_clip(failed).is_finite == 0);
    for (const Tensor& late : {next, third}) {
      CHECK(read_clip(late).is_finite == 0);
      CHECK(read_clip(late).norm == read_clip(alone).norm);
      CHECK(read_clip(late).loss == read_clip(alone).loss);
    }

    // What each of the updates makes of the parameter and its moments.
    const AdamWStep rule{.learning_rate = 0.1,
                         .beta1 = 0.9,
                         .beta2 = 0.99,
                         .epsilon = 1e-8,
                         .weight_decay = 0.1,
                         .gradient_scale = 1,
                         .step = 1};
    const std::array rates{adamw_rates(rule)};
    const std::array<int32_t, 2> rows{3, 60}, from{0, 0};
    const std::vector<Tensor> start{a.detach(), numbers({70, 3}, 3, type), full({70, 3}, type, 0.25)};
    const auto after = [&](const Tensor& clip, int update) {
      std::vector<Tensor> now;
      for (const Tensor& t : start) now.push_back(t.clone());
      AdamWPart part{now[0], a.grad(), now[1], now[2], rule};
      if (update == 0) crisp::adamw(context, {&part, 1}, clip);
      part.gradient = {};
      if (update == 1) catch_up_rows(context, part, rates, rows, from, clip);
      if (update == 2) crisp::clamp(now[0], -0.1, 0.1, context, clip);
      return now;
    };
    const auto same = [](const std::vector<Tensor>& x, const std::vector<Tensor>& y) {
      return std::equal(x.begin(), x.end(), y.begin(), y.end(), same_bits);
    };
    for (const int update : {0, 1, 2}) {
      INFO(name_of(type) << ", update " << update);
      for (const Tensor& clip : {failed, next, third}) CHECK(same(after(clip, update), start));
      CHECK(!same(after(good, update), start));
      if (update > 0) CHECK(same(after(good, update), after(none, update)));
    }
  }
}

TEST_CASE("clipping takes any number of gradients and losses", "[isa]") {
  // A GPU adds up so many in one launch and takes several for more: sizes around one of them and two. Few tensors, each
  // many times.
  const Context& context = Context::standard();
  for (const DType type : {DType::f32, DType::f64}) {
    std::vector<Tensor> tensors, numbers_of_loss;
    std::vector<double> squares, values;
    for (int i = 0; i < 7; ++i) {
      tensors.push_back(zeros({3}, type).set_requires_grad());
      tensors.back().set_grad(numbers({3}, static_cast<uint64_t>(i), type));
      squares.push_back(sum_squares(tensors.back().grad()));
      values.push_back(0.25 * i - 1);
      numbers_of_loss.push_back(scalar(values.back(), type));
    }
    const Tensor broken = zeros({3}, type).set_requires_grad(), no_number = scalar(std::nan(""), type);
    broken.set_grad(full({3}, type, HUGE_VAL));
    for (const size_t n : {1, 160, 161, 321}) {
      INFO(name_of(type) << ", " << n << " of each");
      std::vector<Tensor> clipped, others, losses;
      std::vector<double> shares;
      double sum = 0, other = 0, loss = 0.5;
      for (size_t i = 0; i < n; ++i) {
        clipped.push_back(tensors[i % 7]);
        sum += squares[i % 7];
        others.push_back(tensors[i % 3]);
        other += squares[i % 3];
        losses.push_back(numbers_of_loss[i % 7]);
        shares.push_back(0.125 * static_cast<double>(i % 5));
        loss += shares.back() * values[i % 7];  // none of these is rounded
      }
      const auto clip = [&] {
        return read_clip(clip_gradients(context, clipped, others, {0.5, losses, shares, {}}, 1));
      };
      const ClipResult r = clip();
      CHECK(r.norm == Approx(std::sqrt(sum)).epsilon(1e-14));
      CHECK(r.other == Approx(std::sqrt(other)).epsilon(1e-14));
      CHECK(r.loss == loss);
      CHECK(r.penalty == 0);
      CHECK(r.factor == Approx(std::min(1.0, 1 / (r.norm + 1e-6))).epsilon(1e-14));
      CHECK(r.is_finite == 1);
      for (const size_t at : {size_t{0}, std::min(n - 1, size_t{160})}) {
        const Tensor loss_before = std::exchange(losses[at], no_number);
        CHECK(clip().is_finite == 0);
        losses[at] = loss_before;
        const Tensor before = std::exchange(clipped[at], broken);
        CHECK(clip().is_finite == 0);
        clipped[at] = before;
      }
    }
  }
}

TEST_CASE("one step of many parameters has the bits of a step of each", "[isa]") {
  // More than a GPU takes in one launch; of every length around four numbers and a block's share, at every place within
  // sixteen bytes. They lie in one array, so that the gaps between them are seen to stay as they are.
  const int64_t lengths[] = {1, 0, 2, 3, 4, 5, 7, 64, 1023, 2047, 2048, 2049, 5000};
  const Context& context = Context::standard();
  for (const DType type : {DType::f32, DType::f64}) {
    for (const int count : {1, 128, 129, 257}) {
      INFO(name_of(type) << ", " << count << " parameters");
      std::vector<int64_t> begins;
      int64_t total = 0;
      for (int i = 0; i < count; ++i) {
        begins.push_back(total + i % 4);
        total = begins.back() + lengths[i % 13];
      }
      const Tensor g = numbers({total}, 1, type), p = numbers({total}, 2, type), m = numbers({total}, 3, type),
                   v = full({total}, type, 0.5), before = p.clone();
      const auto parts_of = [&](const Tensor& of_p, const Tensor& of_m, const Tensor& of_v) {
        std::vector<AdamWPart> parts;
        for (int i = 0; i < count; ++i) {
          const auto part = [&](const Tensor& t) {
            return t.view_rows(begins[static_cast<size_t>(i)], lengths[i % 13]);
          };
          parts.push_back({part(of_p), part(g), part(of_m), part(of_v),
                           AdamWStep{.learning_rate = 1e-3 * (1 + i % 3),
                                     .beta1 = 0.9,
                                     .beta2 = 0.99,
                                     .epsilon = 1e-8,
                                     .weight_decay = i % 2 ? 0.1 : 0,
                                     .gradient_scale = 0.5,
                                     .step = 1 + i % 5},
                           i % 3 > 0});
        }
        return parts;
      };
      const Tensor any = zeros({3}, type).set_requires_grad();
      any.set_grad(full({3}, type, 2));
      const Tensor clip = clip_gradients(context, {&any, 1}, {}, {}, 1);
      const Tensor own_p = p.clone(), own_m = m.clone(), own_v = v.clone();
      for (const AdamWPart& part : parts_of(own_p, own_m, own_v)) crisp::adamw(context, {&part, 1}, clip);
      crisp::adamw(context, parts_of(p, m, v), clip);
      CHECK(same_bits(p, own_p));
      CHECK(same_bits(m, own_m));
      CHECK(same_bits(v, own_v));
      const std::vector<double> old = before.to_vector(), now = p.to_vector();
      std::vector<bool> inside(old.size());
      for (size_t i = 0; i < begins.size(); ++i)
        for (int64_t k = 0; k < lengths[i % 13]; ++k) inside[static_cast<size_t>(begins[i] + k)] = true;
      int64_t changed = 0, all = 0;
      for (size_t i = 0; i < old.size(); ++i) {
        if (!inside[i] && old[i] != now[i]) FAIL_CHECK("element " << i << " is no parameter's");
        all += inside[i];
        changed += old[i] != now[i];
      }
      CHECK(changed > 0.99 * static_cast<double>(all));  // an update may be less than half a bit of the parameter
    }
  }
}
