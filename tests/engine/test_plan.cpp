// Plans of a batch: what they hold, what they refuse, and that they reach a device together.
#include "engine/plan.h"

#include <algorithm>
#include <functional>

#include "tests/engine/helpers.h"
#include "tests/support/hidden_device.h"

using namespace crisp;
using namespace crisp::test;

namespace {

using Ints = std::vector<int32_t>;

Ints host(const Integers& a) { return {a.host.begin(), a.host.end()}; }
Ints device(const Integers& a) { return i32_values(a.device); }

}  // namespace

TEST_CASE("rows: each once, with its lookups in their order") {
  const Rows rows(Ints{70000, 3, 70000, 0, 3, 70000});
  CHECK(rows.shape() == Shape{6});
  CHECK(host(rows.distinct()) == Ints{0, 3, 70000});
  CHECK(host(rows.starts()) == Ints{0, 1, 3, 6});
  CHECK(host(rows.order()) == Ints{3, 1, 4, 0, 2, 5});
  const Rows none(Ints{});
  CHECK(host(none.distinct()).empty());
  CHECK(host(none.starts()) == Ints{0});
  CHECK(Rows(sample_ids({1, 2, 3, 4}).view({2, 2})).shape() == Shape{2, 2});

  Ints many;
  for (int32_t i = 0; i < 5000; ++i) many.push_back(static_cast<int32_t>(random_word({.seed = 1}, i) >> (i % 31 + 1)));
  const Rows plan(many);
  Ints expected(many.size());
  for (size_t i = 0; i < many.size(); ++i) expected[i] = static_cast<int32_t>(i);
  std::stable_sort(expected.begin(), expected.end(),
                   [&](int32_t a, int32_t b) { return many[static_cast<size_t>(a)] < many[static_cast<size_t>(b)]; });
  CHECK(host(plan.order()) == expected);
  CHECK(contains(error_of([] { Rows(Ints{1, -2}); }), "ids[1] = -2"));
  CHECK(contains(error_of([] { Rows(vec({1})); }), "i32"));
}

TEST_CASE("segments count pairs and refuse offsets that are none") {
  const Segments s(Ints{0, 1, 1, 4}, Ints{0, 2, 2, 7});
  CHECK(s.batch() == 3);
  CHECK(s.queries() == 4);
  CHECK(s.keys() == 7);
  CHECK(s.pairs() == 17);
  CHECK(host(s.pair_offsets()) == Ints{0, 2, 2, 17});
  CHECK_FALSE(s.same());
  CHECK(Segments(Ints{0, 3}).same());
  CHECK(Segments(Ints{0}).pairs() == 0);
  const auto says = [](const Ints& q, const Ints& kv, const std::string& part) {
    const std::string message = error_of([&] { Segments(q, kv); });
    INFO(message);
    CHECK(contains(message, part));
  };
  says({}, {0}, "q_offsets must begin with 0");
  says({0, 1}, {1, 2}, "kv_offsets must begin with 0");
  says({0, 3, 2}, {0, 1, 2}, "q_offsets decrease at 2");
  says({0, 1}, {0, 1, 2}, "different batch sizes");
  says({0, 1, 2}, {0, 1, 1}, "sequence 1 has queries but no keys");
  says({0, 50000}, {0, 50000}, "more than 2147483647 (query, key) pairs");
}

TEST_CASE("plans reach a device in one copy, and an operation refuses those that have not, or that do not fit") {
  const HiddenDevice record;
  const Rows words(Ints{4, 0, 4}), positions(Ints{0, 1, 2});
  const Segments segments(Ints{0, 3});
  const ListedKeys lists(segments, 2, Ints{0, 1, 2, 3}, Ints{0, 1, 2});
  record.take();
  upload(hidden, words, positions, segments, lists);
  CHECK(record.take().to_device() == 1);
  CHECK(device(words.order()) == host(words.order()));
  CHECK(device(segments.pair_offsets()) == Ints{0, 9});
  CHECK(device(lists.keys()) == Ints{0, 1, 2});

  const Tensor table = numbers({5, 2}, 1), there = table.to(hidden);
  Tape tape;
  CHECK(embedding(tape, there, words).to_vector() == embedding(tape, table, sample_ids({4, 0, 4})).to_vector());
  CHECK(contains(error_of([&] { embedding(tape, table, words); }), "ids must be on the cpu"));
  CHECK(contains(error_of([&] { embedding(tape, table, Rows(Ints{1})); }), "see upload()"));
  CHECK(contains(error_of([&] { embedding(tape, table, Rows()); }), "ids are missing"));
  CHECK(contains(error_of([&] {
                   embedding(tape, table, on(Device::cpu, Rows(Ints{1, 5})));
                 }),
                 "ids[1] = 5 is outside 0..4"));
  const Tensor q = numbers({3, 4}, 2);
  const AttentionRule rule{.heads = 2};
  CHECK(contains(error_of([&] { attention(tape, q, q, q, segments, rule); }), "segments are on another device"));
  CHECK(contains(error_of([&] { attention(tape, q, q, q, Segments(Ints{0, 3}), rule); }), "see upload()"));
  CHECK(contains(error_of([&] {
                   attention(tape, q, q, q, on(Device::cpu, Segments(Ints{0, 2})), rule);
                 }),
                 "q_offsets must run from 0 to 3"));
  AttentionRule elsewhere{.heads = 2, .selection = Selection::listed};
  elsewhere.lists = lists;
  const Segments here = on(Device::cpu, Segments(Ints{0, 3}));
  CHECK(contains(error_of([&] { attention(tape, q, q, q, here, elsewhere); }), "on another device"));
  CHECK(contains(error_of([&] { upload(Device::cpu, words); }), "on a device already"));
  elsewhere.lists = on(Device::cpu, ListedKeys(Segments(Ints{0, 1, 3}), 2, Ints{0, 1, 2, 3}, Ints{0, 1, 0}));
  CHECK(contains(error_of([&] { attention(tape, q, q, q, here, elsewhere); }), "made for other segments"));
  CHECK_NOTHROW(upload(Device::cpu, Rows(), Segments(), ListedKeys()));
  const Segments one = Segments(Ints{0, 1});
  for (const auto& bad : {std::function([&] { ListedKeys(Segments(), 1, Ints{0}, Ints{}); }),
                          std::function([&] { ListedKeys(one, -1, Ints{}, Ints{}); }),
                          std::function([&] { ListedKeys(one, 1, Ints{}, Ints{}); }),
                          std::function([&] { ListedKeys(one, 0, Ints{0}, Ints{}); })})
    CHECK(contains(error_of(bad), "lists of keys need segments, heads and starts"));
  AttentionRule listed{.heads = 3, .selection = Selection::listed};
  listed.lists =
      on(Device::cpu, ListedKeys(Segments(Ints{0, 3}), 2, Ints{0, 1, 2, 3, 4, 5, 6}, Ints{0, 1, 2, 0, 1, 2}));
  CHECK(contains(error_of([&] {
                   const Tensor wide = numbers({3, 6}, 2);
                   attention(tape, wide, wide, wide, on(Device::cpu, Segments(Ints{0, 3})), listed);
                 }),
                 "the lists of keys are for 2 heads"));
}
