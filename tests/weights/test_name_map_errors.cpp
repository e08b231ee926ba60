// Checkpoints that do not fit: everything that is wrong is said at once, by name.
#include <fmt/format.h>

#include <algorithm>

#include "tests/support/catch.h"
#include "tests/weights/name_map_files.h"

namespace crisp {
namespace {

using test::bad_input;
using test::bert_names;
using test::distilbert_names;
using test::encoder;
using test::head;
using test::Shapes;
using test::TempDir;
using test::wanted;
using test::operator+;

Shapes without(Shapes shapes, const std::string& name) {
  REQUIRE(std::erase_if(shapes, [&](const auto& s) { return s.first == name; }) == 1);
  return shapes;
}

class NameMapErrors {
 protected:
  std::string plan_error(const Shapes& shapes) {
    test::write_tensors(path, shapes);
    const auto file = SafetensorsFile::open(path);
    return bad_input([&] { plan_load(file, wanted()); });
  }
  std::string dims_error(const Shapes& shapes) {
    test::write_tensors(path, shapes);
    const auto file = SafetensorsFile::open(path);
    return bad_input([&] { infer_dims(file); });
  }
  const TempDir dir;
  const std::string path = dir / "model.safetensors";
  const Shapes distilbert = encoder("distilbert.", distilbert_names);
  const Shapes bert = encoder("bert.", bert_names) + Shapes{{"bert.embeddings.token_type_embeddings.weight", {2, 4}}};
};

TEST_CASE_METHOD(NameMapErrors, "missing tensors and wrong shapes are listed together") {
  Shapes shapes = without(distilbert, "distilbert.embeddings.LayerNorm.bias");
  shapes = without(shapes, "distilbert.transformer.layer.1.ffn.lin2.weight");
  for (auto& [name, shape] : shapes) {
    if (name == "distilbert.embeddings.word_embeddings.weight") shape = {7, 4};
    if (name == "distilbert.transformer.layer.0.attention.q_lin.bias") shape = {4, 1};
  }
  CHECK(plan_error(shapes) == path + R"(: does not fit the model; 4 tensors are at fault:
  wrong shape: "distilbert.embeddings.word_embeddings.weight": expected [5, 4], found [7, 4]
  missing: distilbert.embeddings.LayerNorm.bias [4]
  wrong shape: "distilbert.transformer.layer.0.attention.q_lin.bias": expected [4], found [4, 1]
  missing: distilbert.transformer.layer.1.ffn.lin2.weight [4, 6])");
}

TEST_CASE_METHOD(NameMapErrors, "what misses in a BERT file is also given under its BERT name") {
  Shapes shapes = without(bert, "bert.encoder.layer.1.attention.self.value.bias");
  shapes = without(shapes, "bert.embeddings.token_type_embeddings.weight");
  const std::string message = plan_error(shapes);
  CHECK_THAT(message, Catch::Contains("2 tensors are at fault"));
  CHECK_THAT(message, Catch::Contains("missing: distilbert.transformer.layer.1.attention.v_lin.bias "
                                      "(encoder.layer.1.attention.self.value.bias) [4]"));
  CHECK_THAT(message, Catch::Contains("missing: embeddings.token_type_embeddings.weight"));
}

TEST_CASE_METHOD(NameMapErrors, "token types of another width") {
  Shapes shapes = bert;
  shapes.back().second = {2, 5};
  CHECK_THAT(plan_error(shapes),
             Catch::Contains("token_type_embeddings.weight\": expected [at least 1, 4], found [2, 5]"));
  shapes.back().second = {0, 4};
  CHECK_THAT(plan_error(shapes), Catch::Contains("expected [at least 1, 4], found [0, 4]"));
}

TEST_CASE_METHOD(NameMapErrors, "a head that is there only in part is an error, not a new head") {
  CHECK_THAT(plan_error(distilbert + without(head(), "pre_classifier.bias")),
             Catch::Contains("1 tensor is at fault:\n  missing: pre_classifier.bias [4]"));
  const std::string token_classifier =
      plan_error(distilbert + Shapes{{"classifier.weight", {2, 4}}, {"classifier.bias", {2}}});
  CHECK_THAT(token_classifier,
             Catch::Contains("missing: pre_classifier.weight") && Catch::Contains("missing: pre_classifier.bias"));
}

TEST_CASE_METHOD(NameMapErrors, "a head for another number of labels") {
  const std::string message = plan_error(distilbert + head(3));
  CHECK_THAT(message, Catch::Contains("\"classifier.weight\": expected [2, 4], found [3, 4]"));
  CHECK_THAT(message, Catch::Contains("\"classifier.bias\": expected [2], found [3]"));
}

TEST_CASE_METHOD(NameMapErrors, "one parameter under two names") {
  CHECK_THAT(plan_error(distilbert + encoder("", distilbert_names)), Catch::Contains("are the same parameter"));
  CHECK_THAT(
      plan_error(distilbert + Shapes{{"distilbert.embeddings.LayerNorm.gamma", {4}}}),
      Catch::Contains("\"distilbert.embeddings.LayerNorm.gamma\" and \"distilbert.embeddings.LayerNorm.weight\""));
  CHECK_THAT(plan_error(bert + Shapes{{"embeddings.token_type_embeddings.weight", {2, 4}}}),
             Catch::Contains("are the same parameter"));
}

TEST_CASE_METHOD(NameMapErrors, "integer weights are refused by name") {
  test::write_file(
      path,
      test::file_of(R"({"transformer.layer.0.ffn.lin1.weight":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}})", "x"));
  const auto file = SafetensorsFile::open(path);
  const WantedTensor lin1{"distilbert.transformer.layer.0.ffn.lin1.weight", {1}, false};
  CHECK_THAT(bad_input([&] { plan_load(file, std::span(&lin1, 1)); }),
             Catch::Contains("wrong dtype: \"transformer.layer.0.ffn.lin1.weight\": I8; only F64"));
}

TEST_CASE_METHOD(NameMapErrors, "files of other models say what they begin with") {
  for (const auto& message : {plan_error({{"gpt.h.0.weight", {1}}}), dims_error({{"gpt.h.0.weight", {1}}})}) {
    CHECK_THAT(message, Catch::Contains("holds no DistilBERT or BERT encoder") &&
                            Catch::Contains("begins with \"gpt.h.0.weight\""));
  }
  CHECK_THAT(plan_error({}), Catch::Contains("it has no tensors"));
}

TEST_CASE_METHOD(NameMapErrors, "dimensions that cannot be inferred") {
  Shapes shapes = without(distilbert, "distilbert.embeddings.word_embeddings.weight");
  for (auto& [name, shape] : shapes) {
    if (name == "distilbert.embeddings.position_embeddings.weight") shape = {12};
    if (name == "distilbert.transformer.layer.0.ffn.lin1.weight") shape = {0, 4};
  }
  const std::string message = dims_error(shapes);
  CHECK_THAT(message, Catch::Contains("3 tensors are at fault"));
  CHECK_THAT(message, Catch::Contains("missing: distilbert.embeddings.word_embeddings.weight"));
  CHECK_THAT(message, Catch::Contains("found [12]") && Catch::Contains("found [0, 4]"));
}

TEST_CASE_METHOD(NameMapErrors, "layers with a hole, or a hostile layer number") {
  for (const char* number : {"3", "18446744073709551615"}) {
    const Shapes far{{fmt::format("distilbert.transformer.layer.{}.ffn.lin1.bias", number), {6}}};
    CHECK_THAT(dims_error(distilbert + far),
               Catch::Contains(fmt::format("has 3 layers, but the last is number {}", number)));
  }
}

}  // namespace
}  // namespace crisp
