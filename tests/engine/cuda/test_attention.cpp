// Attention on the CUDA backend against the CPU's: every member of the family at lengths around those at which the
// kernels change their ways (a warp, a tile, the longest row in shared memory), which keys are kept, broken numbers.
#include <numeric>

#include "tests/engine/attention_members.h"
#include "tests/engine/cuda/device.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;
using emulator::Order;

namespace {

// Hiding the device's memory at each wait of the host would take most of the time.
struct QuickGpu : EmulatedGpu {
  QuickGpu() { emulator::settings().hide_from_host = false; }
};

// Multiples of 1/8, so that scores are exact in both types and in any order, and many are equal.
Tensor coarse(const Shape& shape, uint64_t seed) {
  std::vector<double> values = numbers(shape, seed).to_vector();
  for (double& x : values) x = std::round(4 * x) / 8;
  return Tensor::from(values, shape, DType::f64);
}

struct Operands {
  Tensor q, k, v, dout;
};
Operands operands(int64_t queries, int64_t keys, int64_t dim) {
  return {coarse({queries, dim}, 1), coarse({keys, dim}, 2), numbers({keys, dim}, 3, DType::f32).to(DType::f64),
          numbers({queries, dim}, 4, DType::f32).to(DType::f64)};
}

struct Outcome {
  std::vector<Tensor> all;  // output and gradients, of the span last
  std::vector<double> kept, entropy, log_kept;
};

Segments segments_on(Device device, const std::vector<int32_t>& q_lengths, const std::vector<int32_t>& k_lengths) {
  return {offsets_of(q_lengths).to(device), offsets_of(k_lengths).to(device)};
}

Outcome outcome(Device device, DType type, const Operands& x, const Segments& segments, AttentionRule rule) {
  const auto there = [&](const Tensor& t) { return t.detach().to(type).clone().to(device).set_requires_grad(); };
  const Tensor q = there(x.q), k = there(x.k), v = there(x.v);
  if (rule.span) rule.span = there(rule.span);
  if (rule.lists) {
    const auto host = [](const Integers& a) { return std::vector<int32_t>(a.host.begin(), a.host.end()); };
    rule.lists = on(device, ListedKeys(segments, rule.heads, host(rule.lists.starts()), host(rule.lists.keys())));
  }
  Tape tape;
  AttentionStats stats;
  const Tensor out = attention(tape, q, k, v, segments, rule, &stats);
  tape.backward(sum(tape, mul(tape, out, x.dout.to(type).to(device))));
  Outcome o{
      {out.detach().to(Device::cpu)}, stats.kept.to_vector(), stats.entropy.to_vector(), stats.log_kept.to_vector()};
  for (const Tensor& t : {q, k, v, rule.span})
    if (t) o.all.push_back(t.grad().to(Device::cpu));
  return o;
}

// Both, but with the slow check of accesses one.
std::vector<DType> types() {
  return emulator::checks_accesses() ? std::vector{DType::f32} : std::vector{DType::f64, DType::f32};
}

// On the GPU in these types against the CPU in f64.
void compare(const Operands& x, const std::vector<int32_t>& q_lengths, const std::vector<int32_t>& k_lengths,
             const AttentionRule& rule, const std::vector<DType>& in_types = types()) {
  const Outcome here = outcome(Device::cpu, DType::f64, x, segments_on(Device::cpu, q_lengths, k_lengths), rule);
  for (const DType type : in_types) {
    const bool exact = type == DType::f64;
    INFO(name_of(type));
    const Outcome there = outcome(Device::cuda, type, x, segments_on(Device::cuda, q_lengths, k_lengths), rule);
    for (size_t i = 0; i < here.all.size(); ++i) {
      INFO((i == 0 ? "output" : "gradient ") << i);
      CHECK(relative_error(there.all[i].to_vector(), here.all[i].to_vector()) < (exact ? 1e-13 : 4e-6));
    }
    if (exact || rule.normaliser == Normaliser::softmax) CHECK(there.kept == here.kept);
    CHECK(relative_error(there.log_kept, here.log_kept) < 1e-13);
    CHECK(relative_error(there.entropy, here.entropy) < (exact ? 1e-13 : 4e-6));
  }
}

void compare_members(const std::vector<int32_t>& lengths, int64_t heads, int64_t head_dim) {
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const Operands x = operands(total, total, heads * head_dim);
  size_t index = 0;
  for (Member& m : members(heads, DType::f64, lengths)) {
    INFO(m.name << ", heads of " << head_dim);
    if (index++ % 2 == 0) m.rule.dropout = {0.2, {.seed = 7, .stream = Stream::dropout}};
    compare(x, lengths, lengths, m.rule);
  }
}

// The weights after dropout [n, n] for these scores.
std::vector<double> weights_on(Device device, const Tensor& scores, AttentionRule rule) {
  const int64_t n = scores.dim(0);
  const Tensor unit = unit_matrix(n, scores.dtype()).to(device);
  const Segments segments = segments_on(device, {static_cast<int32_t>(n)}, {static_cast<int32_t>(n)});
  rule.scale = 1;
  if (rule.lists) {
    const auto host = [](const Integers& a) { return std::vector<int32_t>(a.host.begin(), a.host.end()); };
    rule.lists = on(device, ListedKeys(segments, rule.heads, host(rule.lists.starts()), host(rule.lists.keys())));
  }
  if (rule.span) rule.span = rule.span.detach().to(device);
  Tape tape(Tape::Mode::inference);
  return attention(tape, scores.to(device), unit, unit, segments, rule).to(Device::cpu).to_vector();
}

void compare_kept(const Tensor& scores, const AttentionRule& rule) {
  const auto there = weights_on(Device::cuda, scores, rule), here = weights_on(Device::cpu, scores, rule);
  const auto n = static_cast<size_t>(scores.dim(0));
  for (size_t e = 0; e < here.size(); ++e)
    if ((there[e] == 0) != (here[e] == 0) || std::isnan(there[e]) != std::isnan(here[e]))
      FAIL_CHECK("query " << e / n << ", key " << e % n << ": weight " << there[e] << " for " << here[e]);
}

AttentionRule rule_of(Selection selection, double sparsity) {
  return {.heads = 2, .scale = 0.25, .selection = selection, .sparsity = sparsity};
}

}  // namespace

TEST_CASE("every member of the family has the CPU's results in short sequences") {
  const QuickGpu gpu;
  compare_members({1, 2, 13, 34}, 2, 8);
}

TEST_CASE("every member of the family has the CPU's results in sequences of several tiles", "[long]") {
  const QuickGpu gpu;
  compare_members({66, 128}, 1, 1);
}

TEST_CASE("attention has the CPU's results with heads of any width, in long sequences") {
  const QuickGpu gpu;
  const std::vector<int32_t> lengths{130, 64};
  for (const int64_t head_dim : {5, 32, 64, 100}) {
    const Operands x = operands(194, 194, 2 * head_dim);
    for (const AttentionRule& rule : {rule_of(Selection::all, 0), rule_of(Selection::top_k_row, 0.8)}) {
      INFO("heads of " << head_dim);
      compare(x, lengths, lengths, rule);
    }
  }
}

TEST_CASE("attention has the CPU's results where rows do not fit into shared memory", "[long]") {
  const QuickGpu gpu;
  const Operands x = operands(530, 530, 8);
  AttentionRule rule{.heads = 1, .scale = 0.25, .sparsity = 0.8};
  rule.dropout = {0.1, {.seed = 7, .stream = Stream::dropout}};
  for (const Selection selection : {Selection::all, Selection::top_k_row, Selection::percentile_head}) {
    rule.selection = selection;
    compare(x, {530}, {530}, rule);
  }
  rule.normaliser = Normaliser::entmax15;
  rule.key_dropout = {0.3, mask_key, true};
  compare(x, {530}, {530}, rule, std::vector{DType::f32});
}

TEST_CASE("queries and keys of different numbers have the CPU's results") {
  const QuickGpu gpu;
  const std::vector<int32_t> queries{1, 0, 40, 1}, keys{19, 5, 3, 70};
  const Operands x = operands(42, 97, 2 * 12);
  for (Member& m : members(2, DType::f64, keys)) {
    if (m.rule.selection == Selection::listed) continue;
    INFO(m.name);
    compare(x, queries, keys, m.rule, {DType::f64});
  }
}

TEST_CASE("the keys that are kept, and the weights that are dropped, are the CPU's") {
  const QuickGpu gpu;
  for (const DType type : types()) {
    for (const int32_t n : {2, 13, 70}) {
      for (const bool ties : {false, true}) {
        Tensor scores = numbers({n, n}, static_cast<uint64_t>(n), type, 0, 1.5);
        if (ties) {  // halves: many equal ones, -0 among them
          std::vector<double> values = scores.to_vector();
          for (double& x : values) x = std::round(2 * x) / 2;
          scores = Tensor::from(values, {n, n}, type);
        }
        for (Member& m : members(1, type, {n})) {
          INFO(m.name << ", " << name_of(type) << ", " << n << " keys" << (ties ? ", ties" : ""));
          // The supports of the others may differ by rounding.
          if (m.rule.normaliser != Normaliser::softmax) continue;
          m.rule.dropout = {0.2, {.seed = 7, .stream = Stream::dropout}};
          compare_kept(scores, m.rule);
        }
      }
    }
  }
}

TEST_CASE("the keys that are kept of long rows are the CPU's, however much scores differ") {
  const QuickGpu gpu;
  const double spreads[] = {1e-3, 0.1, 1, 5, 0}, centres[] = {-50, 0, 40, 3};
  for (const DType type : types()) {
    const int64_t n = 140;
    std::vector<double> values = numbers({n, n}, 5, type).to_vector();
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      for (size_t j = 0; j < static_cast<size_t>(n); ++j) {
        double& x = values[i * static_cast<size_t>(n) + j];
        if (i % 7 == 3) x = std::round(4 * x) / 4;  // ties
        x = centres[i / 3 % 4] + spreads[i / 5 % 5] * x;
      }
    }
    for (const Selection selection :
         {Selection::top_k_row, Selection::top_k_ties, Selection::bottom_k, Selection::percentile_head}) {
      INFO(name_of(type) << ", selection " << static_cast<int>(selection));
      compare_kept(Tensor::from(values, {n, n}, type), {.heads = 1, .selection = selection, .sparsity = 0.8});
    }
  }
}

TEST_CASE("broken and infinite scores show up on the GPU where they do on the CPU") {
  const QuickGpu gpu;
  const int64_t n = 21;
  for (const double bad : {std::nan(""), infinity, -infinity}) {
    std::vector<double> values = numbers({n, n}, 3).to_vector();
    for (size_t i = 0; i < 21; ++i) values[i * 21 + 4] = bad;
    for (const Member& m : members(1, DType::f64, {static_cast<int32_t>(n)})) {
      INFO(m.name << ", " << bad);
      if (std::isnan(bad)) compare_kept(Tensor::from(values, {n, n}, DType::f64), m.rule);
      // Products of one number: zeros times infinity would be NaN.
      const std::vector<double> numbers_of_keys(values.begin(), values.begin() + 21);
      const Operands x{Tensor::full({3, 1}, DType::f64, 1), Tensor::from(numbers_of_keys, {n, 1}, DType::f64),
                       numbers({n, 1}, 4), numbers({3, 1}, 5)};
      if (m.rule.selection == Selection::listed) continue;
      AttentionRule rule = m.rule;
      rule.scale = 1;
      const Outcome there = outcome(Device::cuda, DType::f64, x, segments_on(Device::cuda, {3}, {21}), rule),
                    here = outcome(Device::cpu, DType::f64, x, segments_on(Device::cpu, {3}, {21}), rule);
      for (size_t t = 0; t < here.all.size(); ++t) {
        const auto a = there.all[t].to_vector(), e = here.all[t].to_vector();
        for (size_t i = 0; i < e.size(); ++i) {
          // Unless all keys are selected, a weight of 0 may be left out: then 0 times infinity is not formed.
          if (std::isinf(bad) && std::isnan(e[i]) && t > 0) continue;
          INFO("tensor " << t << ", element " << i << ": " << a[i] << " for " << e[i]);
          CHECK((std::isnan(e[i]) ? std::isnan(a[i]) : std::abs(a[i] - e[i]) <= 1e-13 * (1 + std::abs(e[i]))));
        }
      }
    }
  }
}

TEST_CASE("infinite values on the GPU: only a key that was not selected hides one") {
  const QuickGpu gpu;
  // Key 2's score is so low that its weight underflows to 0.
  const auto result = [](Selection selection, double sparsity, double last) {
    Tape tape(Tape::Mode::inference);
    const Tensor q = vec({1}).view({1, 1}), k = vec({1, 0, -5000}).view({3, 1}), v = vec({1, 1, last}).view({3, 1});
    const AttentionRule rule{.heads = 1, .scale = 1, .selection = selection, .sparsity = sparsity};
    return attention(tape, q.to(Device::cuda), k.to(Device::cuda), v.to(Device::cuda),
                     segments_on(Device::cuda, {1}, {3}), rule)
        .to(Device::cpu)
        .item();
  };
  for (const auto& [selection, sparsity] : {std::pair{Selection::all, 0.0}, {Selection::top_k_row, 0.1}}) {
    CHECK(result(selection, sparsity, 1) == Approx(1).epsilon(1e-15));
    CHECK(std::isnan(result(selection, sparsity, infinity)));  // 0 times infinity
  }
  CHECK(result(Selection::top_k_row, 0.4, infinity) == Approx(1).epsilon(1e-15));
}

TEST_CASE("attention on the GPU has the same bits whatever runs first, and whatever its neighbours") {
  const QuickGpu gpu;
  const std::vector<int32_t> lengths{20, 3, 40, 1}, alone{40};
  const Operands x = operands(64, 64, 2 * 6);
  const auto part = [](const Tensor& t) { return t.view_rows(23, 40); };
  const Operands y{part(x.q), part(x.k), part(x.v), part(x.dout)};
  const auto others = members(2, DType::f64, alone);
  size_t index = 0;
  for (const Member& m : members(2, DType::f64, lengths)) {
    const Member& other = others[index++];
    INFO(m.name);
    emulator::settings().threads = emulator::settings().blocks = Order::forward;
    const Outcome usual = outcome(Device::cuda, DType::f32, x, segments_on(Device::cuda, lengths, lengths), m.rule);
    emulator::settings().threads = emulator::settings().blocks = Order::random;
    emulator::settings().seed = 7;
    const Outcome random = outcome(Device::cuda, DType::f32, x, segments_on(Device::cuda, lengths, lengths), m.rule);
    for (size_t i = 0; i < usual.all.size(); ++i) CHECK(same_bits(usual.all[i], random.all[i]));
    CHECK(usual.entropy == random.entropy);
    if (m.draws) continue;
    const Outcome single = outcome(Device::cuda, DType::f32, y, segments_on(Device::cuda, alone, alone), other.rule);
    for (size_t i = 0; i < 4; ++i) CHECK(same_bits(part(usual.all[i]), single.all[i]));
  }
}

TEST_CASE("attention takes one launch forward and two backward") {
  const QuickGpu gpu;
  const Operands x = operands(20, 20, 8);
  const Segments segments = segments_on(Device::cuda, {13, 7}, {13, 7});
  const auto there = [](const Tensor& t) { return t.to(Device::cuda).set_requires_grad(); };
  const Tensor q = there(x.q), k = there(x.k), v = there(x.v), copy = there(x.q);
  const auto launches = [&](auto run) {
    const auto now = [&] {
      (void)q.detach().to(Device::cpu);  // waits
      return emulator::counters().launches;
    };
    const uint64_t before = now();
    run();
    return now() - before;
  };
  for (const Selection selection : {Selection::all, Selection::top_k_row}) {
    Tape tape, other;
    Tensor y;
    CHECK(launches([&] { y = attention(tape, q, k, v, segments, rule_of(selection, 0.5)); }) == 1);
    const Tensor loss = sum(tape, y), plain = sum(other, copy);
    CHECK(launches([&] { tape.backward(loss); }) == launches([&] { other.backward(plain); }) + 2);
  }
}
