// The family of sparse attention against an oracle of plain loops.
#include <numeric>

#include "tests/engine/attention_members.h"
#include "tests/engine/helpers.h"
#include "tests/engine/naive_attention.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("every member of the family equals plain loops, forward and backward", "[isa]") {
  // An emulated GPU takes too long for more; that it computes what the CPU does in long sequences has tests of its own.
  const std::vector<int32_t> lengths = test_device() == Device::cpu
                                           ? std::vector<int32_t>{1, 2, 3, 5, 8, 13, 17, 32, 33, 70}
                                           : std::vector<int32_t>{1, 2, 5, 17, 33};
  const std::vector<double> probabilities = test_device() == Device::cpu ? std::vector{0.0, 0.2} : std::vector{0.2};
  const Tensor offsets = offsets_of(lengths);
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0}), heads = 2, dim = 2 * 10;
  for (const auto& [type, tolerance] : {std::pair{DType::f64, 1e-12}, {DType::f32, 6e-6}}) {
    const Tensor q = input({total, dim}, 1, type), k = input({total, dim}, 2, type), v = input({total, dim}, 3, type),
                 dout = numbers({total, dim}, 4, type);
    for (Member& m : members(heads, type, lengths)) {
      for (const double p : probabilities) {
        INFO(m.name << ", " << name_of(type) << ", dropout " << p);
        m.rule.dropout = {p, {.seed = 7, .stream = Stream::dropout}};
        const NaiveAttention expected = naive_attention(q, k, v, offsets, offsets, m.rule, dout.to_vector());
        for (const Tensor& t : {q, k, v, m.rule.span})
          if (t) t.clear_grad();
        Tape tape;
        AttentionStats stats;
        const Tensor out = attention(tape, q, k, v, {offsets, offsets}, m.rule, &stats);
        tape.backward(sum(tape, mul(tape, out, dout)));
        CHECK(relative_error(out.to_vector(), expected.out) < tolerance);
        CHECK(relative_error(q.grad().to_vector(), expected.dq) < tolerance);
        CHECK(relative_error(k.grad().to_vector(), expected.dk) < tolerance);
        CHECK(relative_error(v.grad().to_vector(), expected.dv) < tolerance);
        if (m.rule.span) CHECK(relative_error(m.rule.span.grad().to_vector(), expected.dspan) < tolerance);
        CHECK(stats.kept.to_vector() == expected.kept);
        CHECK(relative_error(stats.log_kept.to_vector(), expected.log_kept) < 1e-14);
        CHECK(relative_error(stats.entropy.to_vector(), expected.entropy) < tolerance);
        for (size_t h = 0; h < 2; ++h)
          CHECK(stats.entropy.to_vector()[h] <= stats.log_kept.to_vector()[h] * (1 + 1e-6) + 1e-9);
      }
    }
  }
}

TEST_CASE("one query a sequence: every member that has no lists equals plain loops", "[isa]") {
  const std::vector<int32_t> lengths{1, 4, 19, 40};
  const Tensor first = i32({0, 1, 2, 3, 4}), offsets = offsets_of(lengths);
  const Tensor q = input({4, 12}, 1, DType::f64), k = input({64, 12}, 2, DType::f64),
               v = input({64, 12}, 3, DType::f64), dout = numbers({4, 12}, 4);
  for (const Member& m : members(3, DType::f64, lengths)) {
    if (m.rule.selection == Selection::listed) continue;
    INFO(m.name);
    const NaiveAttention expected = naive_attention(q, k, v, first, offsets, m.rule, dout.to_vector());
    for (const Tensor& t : {q, k, v}) t.clear_grad();
    Tape tape;
    const Tensor out = attention(tape, q, k, v, {first, offsets}, m.rule);
    tape.backward(sum(tape, mul(tape, out, dout)));
    CHECK(relative_error(out.to_vector(), expected.out) < 1e-12);
    CHECK(relative_error(q.grad().to_vector(), expected.dq) < 1e-12);
    CHECK(relative_error(k.grad().to_vector(), expected.dk) < 1e-12);
    CHECK(relative_error(v.grad().to_vector(), expected.dv) < 1e-12);
  }
}
