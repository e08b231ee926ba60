// Every variety of checkpoint that can be loaded.
#include <fmt/format.h>

#include "weights/name_map.h"

#include "tests/support/catch.h"
#include "tests/weights/name_map_files.h"

namespace crisp {
namespace {

using test::bert_names;
using test::distilbert_names;
using test::encoder;
using test::head;
using test::load;
using test::Shapes;
using test::TempDir;
using test::wanted;
using test::operator+;
using Names = std::vector<std::string>;

SafetensorsFile make(const TempDir& dir, const Shapes& shapes) {
  test::write_tensors(dir / "model.safetensors", shapes);
  return SafetensorsFile::open(dir / "model.safetensors");
}

const Shapes masked_lm{{"vocab_transform.weight", {4, 4}},
                       {"vocab_transform.bias", {4}},
                       {"vocab_layer_norm.weight", {4}},
                       {"vocab_layer_norm.bias", {4}},
                       {"vocab_projector.bias", {5}}};

void check_dims(const SafetensorsFile& file, Architecture architecture, uint64_t labels) {
  const EncoderDims dims = infer_dims(file);
  CHECK(dims.architecture == architecture);
  CHECK(dims.vocab_size == 5);
  CHECK(dims.max_positions == 3);
  CHECK(dims.dim == 4);
  CHECK(dims.hidden_dim == 6);
  CHECK(dims.n_layers == 2);
  CHECK(dims.num_labels == labels);
}

TEST_CASE("a DistilBERT classification file fills everything, with and without the prefix") {
  const TempDir dir;
  for (const char* prefix : {"distilbert.", ""}) {
    const Shapes shapes = encoder(prefix, distilbert_names) + head();
    const auto file = make(dir, shapes);
    check_dims(file, Architecture::distilbert, 2);
    const LoadPlan plan = plan_load(file, wanted());
    REQUIRE(plan.sources.size() == shapes.size());
    // The tensors of the file and of the model are listed in the same order.
    const auto model = wanted();
    for (size_t i = 0; i < shapes.size(); ++i) {
      CHECK(plan.sources.at(model[i].name).tensor->name == shapes[i].first);
      CHECK(plan.sources.at(model[i].name).add_row0 == nullptr);
    }
    CHECK(plan.initialised_head.empty());
    CHECK(plan.left_out.empty());
    CHECK(plan.unused.empty());
    CHECK(load_notes(plan).empty());
  }
}

TEST_CASE("a masked-LM file: its head is left out, ours is new, and both are said") {
  const TempDir dir;
  for (const char* prefix : {"distilbert.", ""}) {
    const auto file = make(dir, encoder(prefix, distilbert_names) + masked_lm);
    check_dims(file, Architecture::distilbert, 0);
    const LoadPlan plan = plan_load(file, wanted());
    CHECK(plan.sources.size() == wanted(false).size());
    CHECK(plan.initialised_head ==
          Names{"pre_classifier.weight", "pre_classifier.bias", "classifier.weight", "classifier.bias"});
    CHECK(plan.left_out.size() == masked_lm.size());
    CHECK(plan.unused.empty());
    const auto notes = load_notes(plan);
    REQUIRE(notes.size() == 2);
    CHECK(notes[0] ==
          "left out (the masked-LM head): \"vocab_layer_norm.bias\", \"vocab_layer_norm.weight\", "
          "\"vocab_projector.bias\", \"vocab_transform.bias\", \"vocab_transform.weight\"");
    CHECK(notes[1] ==
          "newly initialised: pre_classifier.weight, pre_classifier.bias, classifier.weight, "
          "classifier.bias");
  }
}

TEST_CASE("an encoder without any head is enough") {
  const TempDir dir;
  const auto file = make(dir, encoder("", distilbert_names));
  CHECK(plan_load(file, wanted()).initialised_head.size() == 4);
  CHECK(plan_load(file, wanted(false)).initialised_head.empty());
}

TEST_CASE("a BERT file fills the same places, and the first token type is added to every position") {
  const TempDir dir;
  const Shapes extras{
      {"embeddings.token_type_embeddings.weight", {2, 4}}, {"pooler.dense.weight", {4, 4}}, {"pooler.dense.bias", {4}}};
  for (const std::string prefix : {"bert.", ""}) {
    Shapes shapes = encoder(prefix, bert_names);
    for (const auto& [name, shape] : extras) shapes.push_back({prefix + name, shape});
    shapes.push_back({"cls.predictions.bias", {5}});
    shapes.push_back({"cls.seq_relationship.weight", {2, 4}});
    const auto file = make(dir, shapes);
    check_dims(file, Architecture::bert, 0);
    const LoadPlan plan = plan_load(file, wanted());
    CHECK(plan.architecture == Architecture::bert);
    const auto model = wanted(false);
    REQUIRE(plan.sources.size() == model.size());
    for (size_t i = 0; i < model.size(); ++i) CHECK(plan.sources.at(model[i].name).tensor->name == shapes[i].first);

    const std::string positions = "distilbert.embeddings.position_embeddings.weight";
    std::vector<float> expected(12), types(8);
    file.read(*file.find(prefix + "embeddings.position_embeddings.weight"), std::span<float>(expected));
    file.read(*file.find(prefix + "embeddings.token_type_embeddings.weight"), std::span<float>(types));
    for (size_t i = 0; i < 12; ++i) expected[i] += types[i % 4];
    CHECK(load(file, plan, positions) == expected);
    std::vector<double> f64(12);
    read_source(file, plan.sources.at(positions), std::span<double>(f64));
    CHECK(std::vector<float>(f64.begin(), f64.end()) == expected);

    CHECK(plan.left_out.size() == 4);
    CHECK(plan.unused.empty());
    const auto notes = load_notes(plan);
    REQUIRE(notes.size() == 3);
    CHECK_THAT(notes[0],
               Catch::StartsWith("left out (the masked-LM and next-sentence heads): \"cls.predictions.bias\""));
    CHECK_THAT(notes[1],
               Catch::StartsWith("left out (the pooler: DistilBERT has none): \"" + prefix + "pooler.dense.bias\""));
  }
}

TEST_CASE("a BERT classifier is left out, with the reason, and our head is new") {
  const TempDir dir;
  const auto file =
      make(dir, encoder("bert.", bert_names) + Shapes{{"bert.embeddings.token_type_embeddings.weight", {2, 4}},
                                                      {"classifier.weight", {2, 4}},
                                                      {"classifier.bias", {2}}});
  check_dims(file, Architecture::bert, 0);
  const LoadPlan plan = plan_load(file, wanted());
  CHECK(plan.initialised_head.size() == 4);
  REQUIRE(plan.left_out.size() == 2);
  CHECK(plan.left_out[0].name == "classifier.bias");
  CHECK_THAT(plan.left_out[0].reason, Catch::Contains("it reads the pooler"));
}

TEST_CASE("LayerNorm's old names gamma and beta") {
  const TempDir dir;
  Shapes shapes = encoder("bert.", bert_names) + Shapes{{"bert.embeddings.token_type_embeddings.weight", {1, 4}}};
  for (auto& [name, shape] : shapes) {
    if (const size_t at = name.find("LayerNorm."); at != std::string::npos) {
      name = name.substr(0, at + 10) + (name.ends_with("weight") ? "gamma" : "beta");
    }
  }
  const auto file = make(dir, shapes);
  const LoadPlan plan = plan_load(file, wanted());
  CHECK(plan.sources.at("distilbert.embeddings.LayerNorm.weight").tensor->name == "bert.embeddings.LayerNorm.gamma");
  CHECK(plan.sources.at("distilbert.transformer.layer.1.sa_layer_norm.bias").tensor->name ==
        "bert.encoder.layer.1.attention.output.LayerNorm.beta");
  CHECK(plan.unused.empty());
}

TEST_CASE("integer position_ids are left out, and f64 and 16-bit tensors are planned like f32 ones") {
  const TempDir dir;
  std::string header = R"({"embeddings.position_ids":{"dtype":"I64","shape":[1,3],"data_offsets":[0,24]})",
              data(24, '\0');
  for (const auto& [name, shape] : encoder("", distilbert_names)) {
    const bool f64 = shape.size() == 2;
    uint64_t bytes = f64 ? 8 : 2;
    for (const uint64_t d : shape) bytes *= d;
    header += fmt::format(R"(,"{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", name, f64 ? "F64" : "BF16",
                          shape_string(shape), data.size(), data.size() + bytes);
    data.append(bytes, '\0');
  }
  test::write_file(dir / "f", test::file_of(header + "}", data));
  const auto file = SafetensorsFile::open(dir / "f");
  const LoadPlan plan = plan_load(file, wanted());
  REQUIRE(plan.left_out.size() == 1);
  CHECK(plan.left_out[0].name == "embeddings.position_ids");
  CHECK(plan.sources.size() == wanted(false).size());
}

TEST_CASE("what each tensor is, by its name alone") {
  using Kind = TensorUse::Kind;
  const TempDir dir;
  const auto file = make(dir, {{"bert.encoder.layer.0.intermediate.dense.weight", {1}},
                               {"bert.embeddings.token_type_embeddings.weight", {2}},
                               {"bert.pooler.dense.bias", {3}},
                               {"gamma", {4}}});
  const std::vector<TensorUse> uses = tensor_uses(file);
  const auto use = [&](const char* name) {
    return uses.at(static_cast<size_t>(file.find(name) - file.tensors().data()));
  };
  const TensorUse lin1 = use("bert.encoder.layer.0.intermediate.dense.weight");
  CHECK(lin1.kind == Kind::parameter);
  CHECK(lin1.text == "distilbert.transformer.layer.0.ffn.lin1.weight");
  CHECK(lin1.layer == 0);
  CHECK(use("bert.embeddings.token_type_embeddings.weight").kind == Kind::token_types);
  CHECK(use("bert.pooler.dense.bias").kind == Kind::left_out);
  CHECK(use("bert.pooler.dense.bias").text == "the pooler: DistilBERT has none");
  CHECK(use("gamma").kind == Kind::foreign);
  CHECK_THAT(test::bad_input([&] {
               tensor_uses(make(dir, {{"gamma", {4}}}));
             }),
             Catch::Contains("holds no DistilBERT or BERT encoder"));
}

TEST_CASE("tensors that nobody knows or wants are listed, and no error") {
  const TempDir dir;
  const Shapes more{{"adapter.weight", {1}},
                    {"distilbert.transformer.layer.0.attention.extra", {1}},
                    {"distilbert.transformer.layer.00.ffn.lin1.bias", {6}},
                    {"distilbert.classifier.weight", {1}}};
  const auto file = make(dir, encoder("distilbert.", distilbert_names) + head() + more);
  CHECK(plan_load(file, wanted()).unused == Names{"adapter.weight", "distilbert.classifier.weight",
                                                  "distilbert.transformer.layer.0.attention.extra",
                                                  "distilbert.transformer.layer.00.ffn.lin1.bias"});
  // A model without a head has no use for the file's.
  const LoadPlan plan = plan_load(file, wanted(false));
  CHECK(plan.unused.size() == 8);
  CHECK_THAT(load_notes(plan).at(0), Catch::StartsWith("not used (unknown to this model): \"adapter.weight\", "));
}

}  // namespace
}  // namespace crisp
