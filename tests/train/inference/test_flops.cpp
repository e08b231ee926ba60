// FLOPs of a forward pass against what the operations themselves say, and against the numbers for DistilBERT-base.
#include "train/inference/flops.h"

#include <string>

#include "engine/op.h"
#include "engine/tape.h"
#include "tests/support/catch.h"
#include "tests/support/small_model.h"

namespace crisp::test {
namespace {

TEST_CASE("flops: dense, they are those of the model's matrix products") {
  const DistilBertConfig config = small_config();
  const DistilBert model = random_model(config, DType::f32);
  const std::vector<std::vector<int32_t>> sentences{{1, 2, 3, 4, 5}, {6, 7}, {8, 9, 10, 11, 12, 13, 14, 15, 16}};
  Tape tape;
  model.encode(tape, pack(sentences), {});
  double products = 0, attention = 0;
  for (const NodeInfo& node : tape.nodes()) {
    const std::string name = node.op->name;
    if (name == "linear" || name == "linears" || name == "feed_forward" || name == "attention") products += node.flops;
    if (name == "attention") attention += node.flops;
  }
  REQUIRE(attention > 0);
  const std::vector<int64_t> lengths{5, 2, 9};
  const std::vector<double> all(3, 3.0 * (25 + 4 + 81));
  const ForwardFlops flops = forward_flops(config, lengths, all);
  const double head = 2.0 * (12 * 12 + 12 * 3);  // of a sentence; encode() has none
  CHECK(flops.total == Approx(products / 3 + head).epsilon(1e-12));
  CHECK(flops.attention == Approx(attention / 3).epsilon(1e-12));
  CHECK(flops.attention_dense == flops.attention);
  CHECK(flops.attention_scored == flops.attention);
}

TEST_CASE("flops: of attention, those that are kept") {
  const DistilBertConfig config = small_config();
  const std::vector<int64_t> lengths{5, 3};
  const std::vector<double> kept{102, 51, 10};  // of 3 heads * 34 pairs a layer
  const ForwardFlops dense = forward_flops(config, lengths, std::vector<double>(3, 102));
  const ForwardFlops sparse = forward_flops(config, lengths, kept);
  // 2 sentences, 2 FLOPs for each of the 4 numbers of a head, in each of two products.
  CHECK(sparse.attention == 163 * 2 * 2 * 4 / 2.0);
  CHECK(sparse.attention_scored == (306 + 163) * 2 * 4 / 2.0);
  CHECK(sparse.attention_dense == dense.attention);
  CHECK(dense.total - sparse.total == Approx(dense.attention - sparse.attention).epsilon(1e-12));
  CHECK(forward_flops(config, {}, kept).total == 0);
}

TEST_CASE("flops: attention is n / (6 d + n) of the layers of DistilBERT-base") {
  const DistilBertConfig config;
  for (const int64_t n : {25, 128, 512}) {
    const std::vector<int64_t> lengths{n};
    const auto x = static_cast<double>(n);
    const std::vector<double> all(6, 12 * x * x);
    const ForwardFlops flops = forward_flops(config, lengths, all);
    const double layers = flops.total - 2.0 * (768 * 768 + 768 * 2);
    CHECK(flops.attention / layers == Approx(x / (6 * 768 + x)).epsilon(1e-12));
  }
}

}  // namespace
}  // namespace crisp::test
