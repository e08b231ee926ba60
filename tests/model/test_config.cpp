#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "model/config.h"
#include "tests/model/methods.h"
#include "tests/support/catch.h"

using namespace crisp;
using namespace crisp::test;
using nlohmann::json;

namespace {

json distilbert() {
  return {{"model_type", "distilbert"},
          {"vocab_size", 100},
          {"max_position_embeddings", 64},
          {"dim", 24},
          {"hidden_dim", 96},
          {"n_layers", 3},
          {"n_heads", 4},
          {"dropout", 0.15},
          {"attention_dropout", 0.05},
          {"seq_classif_dropout", 0.25},
          {"activation", "gelu"},
          {"sinusoidal_pos_embds", false},
          {"initializer_range", 0.03}};
}

json bert() {
  return {{"model_type", "bert"},     {"vocab_size", 100},           {"max_position_embeddings", 64},
          {"hidden_size", 24},        {"intermediate_size", 96},     {"num_hidden_layers", 3},
          {"num_attention_heads", 4}, {"hidden_dropout_prob", 0.15}, {"attention_probs_dropout_prob", 0.05},
          {"hidden_act", "gelu"},     {"layer_norm_eps", 1e-5},      {"position_embedding_type", "absolute"},
          {"initializer_range", 0.03}};
}

DistilBertConfig parse(const json& object) { return parse_config(object.dump(), "config.json"); }

json with(json object, const char* key, const json& value) {
  object[key] = value;
  return object;
}

// The message of the BadInput; every one names the file.
std::string complaint(const std::string& text) {
  try {
    parse_config(text, "dir/config.json");
  } catch (const BadInput& e) {
    CHECK(std::string(e.what()).starts_with("dir/config.json:"));
    return e.what();
  }
  FAIL("accepted: " << text);
  return {};
}

bool mentions(const json& object, const std::string& part) {
  const std::string message = complaint(object.dump());
  INFO(message);
  CHECK(message.find(part) != std::string::npos);
  return message.find(part) != std::string::npos;
}

void same(const DistilBertConfig& a, const DistilBertConfig& b) {
  CHECK(a.vocab_size == b.vocab_size);
  CHECK(a.max_positions == b.max_positions);
  CHECK(a.dim == b.dim);
  CHECK(a.hidden_dim == b.hidden_dim);
  CHECK(a.layers == b.layers);
  CHECK(a.heads == b.heads);
  CHECK(a.num_labels == b.num_labels);
  CHECK(a.dropout == b.dropout);
  CHECK(a.attention_dropout == b.attention_dropout);
  CHECK(a.classifier_dropout == b.classifier_dropout);
  CHECK(a.layer_norm_epsilon == b.layer_norm_epsilon);
  CHECK(a.initializer_range == b.initializer_range);
  for (int64_t l = 0; l < a.num_labels; ++l) CHECK(a.label_name(l) == b.label_name(l));
  CHECK(a.sparsity == b.sparsity);
}

}  // namespace

TEST_CASE("a DistilBERT configuration is read key by key") {
  const DistilBertConfig c = parse(distilbert());
  CHECK(c.vocab_size == 100);
  CHECK(c.max_positions == 64);
  CHECK(c.dim == 24);
  CHECK(c.hidden_dim == 96);
  CHECK(c.layers == 3);
  CHECK(c.heads == 4);
  CHECK(c.head_dim() == 6);
  CHECK(c.dropout == 0.15);
  CHECK(c.attention_dropout == 0.05);
  CHECK(c.classifier_dropout == 0.25);
  CHECK(c.layer_norm_epsilon == 1e-12);
  CHECK(c.initializer_range == 0.03);
  CHECK(c.num_labels == 2);
  CHECK(c.label_name(1) == "LABEL_1");
  CHECK(c.sparsity.dense());
}

TEST_CASE("a BERT configuration maps to the same keys") {
  const DistilBertConfig c = parse(bert());
  CHECK(c.vocab_size == 100);
  CHECK(c.max_positions == 64);
  CHECK(c.dim == 24);
  CHECK(c.hidden_dim == 96);
  CHECK(c.layers == 3);
  CHECK(c.heads == 4);
  CHECK(c.dropout == 0.15);
  CHECK(c.attention_dropout == 0.05);
  CHECK(c.layer_norm_epsilon == 1e-5);
  CHECK(c.initializer_range == 0.03);
}

TEST_CASE("what a configuration may leave out has transformers' default") {
  json small = distilbert();
  for (const char* key : {"max_position_embeddings", "dropout", "attention_dropout", "seq_classif_dropout",
                          "activation", "sinusoidal_pos_embds", "initializer_range", "model_type"})
    small.erase(key);
  const DistilBertConfig c = parse(small);
  CHECK(c.max_positions == 512);
  CHECK(c.dropout == 0.1);
  CHECK(c.attention_dropout == 0.1);
  CHECK(c.classifier_dropout == 0.2);
  CHECK(c.initializer_range == 0.02);
  CHECK(parse(with(distilbert(), "id2label", nullptr)).num_labels == 2);  // null is absent
  // BERT files of old have no model_type either.
  json old = bert();
  old.erase("model_type");
  CHECK(parse(old).dim == 24);
}

TEST_CASE("labels: their number and names") {
  const DistilBertConfig c = parse(with(distilbert(), "id2label", {{"0", "no"}, {"1", "yes"}, {"2", "maybe"}}));
  CHECK(c.num_labels == 3);
  CHECK(c.label_name(2) == "maybe");
  CHECK(parse(with(distilbert(), "num_labels", 5)).num_labels == 5);
  CHECK(mentions(with(distilbert(), "id2label", {{"0", "no"}, {"2", "yes"}}), "\"id2label\" has 2 entries"));
  CHECK(parse(with(distilbert(), "id2label", {{"1", 0.5}, {"0", 7}})).label_names ==
        std::vector<std::string>{"7", "0.5"});
  CHECK(mentions(with(distilbert(), "id2label", {{"0", true}}), "\"id2label\" names true as label 0"));
  CHECK(parse(with(distilbert(), "num_labels", 3)).label_names ==
        std::vector<std::string>{"LABEL_0", "LABEL_1", "LABEL_2"});
  CHECK(mentions(with(distilbert(), "id2label", json::object()), "id2label"));
  CHECK(mentions(with(distilbert(), "id2label", {"no", "yes"}), "id2label"));
}

TEST_CASE("what is no configuration is refused") {
  for (const char* text : {"[]", "3", "null", "\"distilbert\""})
    CHECK(complaint(text) == fmt::format("dir/config.json: expected a JSON object, not {}", text));
  CHECK(complaint("") == "dir/config.json:1:1: the JSON ends before it is complete");
  CHECK(complaint("{") == "dir/config.json:1:2: the JSON ends before it is complete");
  CHECK(complaint("{\"dim\": }") == "dir/config.json:1:9: unexpected \"}\", this is not valid JSON");
  CHECK(complaint("\xff") == "dir/config.json:1:1: the byte 0xFF is not valid UTF-8; save the file as UTF-8");
  std::string nested = R"({"model_type": "distilbert", "crisp": {"window": )" + std::string(200'000, '[');
  CHECK(complaint(nested) == "dir/config.json:1:112: JSON nested deeper than 64 levels is refused");
}

TEST_CASE("a model that cannot be reproduced is refused") {
  CHECK(mentions(with(distilbert(), "quantization_config", {{"quant_method", "gptq"}}), "the weights are quantised"));
  CHECK(parse_config(with(distilbert(), "quantization_config", nullptr).dump(), "f").layers > 0);
  CHECK(mentions(with(distilbert(), "model_type", "roberta"), "model_type \"roberta\""));
  CHECK(mentions(with(distilbert(), "model_type", 3), "\"model_type\" is 3; it must be a string"));
  CHECK(mentions(with(distilbert(), "activation", "relu"), "activation \"relu\""));
  CHECK(mentions(with(distilbert(), "activation", "gelu_new"), "activation \"gelu_new\""));
  CHECK(mentions(with(bert(), "hidden_act", "gelu_new"), "hidden_act \"gelu_new\""));
  CHECK(mentions(with(distilbert(), "sinusoidal_pos_embds", true), "sinusoidal"));
  CHECK(mentions(with(bert(), "position_embedding_type", "relative_key"), "position_embedding_type"));
  CHECK(mentions(with(bert(), "is_decoder", true), "is_decoder"));
}

TEST_CASE("numbers that make no sense are refused by name") {
  for (const char* key : {"vocab_size", "dim", "hidden_dim", "n_layers", "n_heads"}) {
    json object = distilbert();
    object.erase(key);
    CHECK(mentions(object, fmt::format("\"{}\" is missing", key)));
  }
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
    json object = bert();
    object.erase(key);
    CHECK(mentions(object, fmt::format("\"{}\" is missing", key)));
  }
  for (const char* key : {"vocab_size", "max_position_embeddings", "dim", "hidden_dim", "n_layers", "n_heads"})
    for (const json& value : {json(0), json(-4), json(2.5), json("8"), json(true), json(int64_t{1} << 40)})
      CHECK(mentions(with(distilbert(), key, value), "it must be a whole number from 1 to 2147483647"));
  CHECK(mentions(with(distilbert(), "n_heads", 5), "5 heads do not divide a width of 24"));
  CHECK(mentions(with(distilbert(), "n_layers", 1001), "1001 layers"));
  for (const char* key : {"dropout", "attention_dropout", "seq_classif_dropout"}) {
    CHECK(mentions(with(distilbert(), key, 1.0),
                   fmt::format("\"{}\" is 1.0; it must be a number from 0 to 1 (exclusive)", key)));
    CHECK(mentions(with(distilbert(), key, -0.1), key));
    CHECK(mentions(with(distilbert(), key, "0.1"), fmt::format("\"{}\" is \"0.1\"; it must be a number", key)));
  }
  CHECK(mentions(with(distilbert(), "sinusoidal_pos_embds", "no"), "must be true or false"));
  CHECK(mentions(with(bert(), "layer_norm_eps", 0), "layer_norm_eps"));
  // A matrix that no memory holds, although each number may be that large.
  constexpr int64_t large = 2147483644;  // which the heads divide
  for (json object : {distilbert(), with(distilbert(), "vocab_size", large)}) {
    for (const char* key : {"dim", "hidden_dim"}) object[key] = large;
    CHECK(mentions(object, "2147483644 x 2147483644 numbers is more than this program supports"));
  }
}

TEST_CASE("what cannot be read back is not written") {
  const auto refused = [](auto&& change) {
    DistilBertConfig c;
    change(c);
    CHECK_THROWS_AS(config_json(c), BadInput);
    CHECK_THROWS_AS(check_config(c, "model"), BadInput);
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double rate : {1.0, 1.5, -1e-9, nan}) {
    refused([&](auto& c) { c.dropout = rate; });
    refused([&](auto& c) { c.attention_dropout = rate; });
    refused([&](auto& c) { c.classifier_dropout = rate; });
  }
  for (const double epsilon : {0.0, 1e-16, 2.0, nan}) refused([&](auto& c) { c.layer_norm_epsilon = epsilon; });
  for (const double range : {-0.1, 1.1, nan}) refused([&](auto& c) { c.initializer_range = range; });
  for (int64_t DistilBertConfig::*size :
       {&DistilBertConfig::vocab_size, &DistilBertConfig::max_positions, &DistilBertConfig::dim,
        &DistilBertConfig::hidden_dim, &DistilBertConfig::layers, &DistilBertConfig::heads,
        &DistilBertConfig::num_labels})
    for (const int64_t n : {0, -12}) refused([&](auto& c) { c.*size = n; });

  // The ends of the ranges.
  for (const double rate : {0.0, 0.9995, std::nextafter(1.0, 0.0)}) {
    for (const auto& [epsilon, range] : {std::pair(1e-15, 0.0), std::pair(1.0, 1.0)}) {
      DistilBertConfig c;
      c.dropout = c.attention_dropout = c.classifier_dropout = rate;
      c.layer_norm_epsilon = epsilon;
      c.initializer_range = range;
      same(parse_config(config_json(c), "config.json"), c);
    }
  }
}

TEST_CASE("a written configuration reads back the same") {
  for (const char* sparsity : {"dense", "0.8", "0.5,0.25,0.125", "light", "aggressive"}) {
    for (const SparseMethod method : {SparseMethod::top_k, SparseMethod::percentile}) {
      DistilBertConfig c = parse(distilbert());
      c.num_labels = 3;
      c.label_names = {"no", "yes", "m\"a\\y\nb\xc3\xa9"};
      c.layer_norm_epsilon = 1e-5;
      c.initializer_range = 0.1 + 0.2;  // every bit survives
      c.sparsity = parse_sparsity(sparsity, c.layers);
      c.sparsity.method = method;
      c.sparsity.at_evaluation = method == SparseMethod::top_k;
      same(parse_config(config_json(c), "config.json"), c);
    }
  }
  same(parse_config(config_json(DistilBertConfig{}), "config.json"), DistilBertConfig{});
  const json written = json::parse(config_json(parse(bert()), DType::f64));
  CHECK(written.at("model_type") == "distilbert");
  CHECK(written.at("architectures") == json{"DistilBertForSequenceClassification"});
  CHECK(written.at("torch_dtype") == "float64");
  CHECK(written.at("layer_norm_eps") == 1e-5);
}

TEST_CASE("every method's settings read back the same") {
  for (const MethodCase& method : method_cases()) {
    for (const bool reverse : {false, true}) {
      DistilBertConfig c = parse(distilbert());
      SparsityOptions o = method.options;
      const bool by_sparsity = !o.by_measure() && o.sparsity != "dense";
      if (by_sparsity) o.ramp = 0.1 + 0.2;
      o.sparse_layers = reverse && !o.all_dense() ? "0,2" : "all";
      o.at_evaluation = reverse || !(by_sparsity || o.by_measure());
      if (o.method == SparseMethod::learned_span) {
        o.span_ramp = 3.5;
        o.span_init = 1.25;
        o.span_learning_rate = 0.07;
      }
      if (o.method == SparseMethod::attention_drop) o.attention_drop = 0.3;
      o.reverse = reverse && by_sparsity;
      c.sparsity = make_sparsity(o, c.layers, uint64_t{1} << 63);
      // What the method does not use is not kept, and flags are not kept where all are set.
      const DistilBertConfig read = parse_config(config_json(c), "config.json");
      INFO(method.name << "\n" << config_json(c));
      CHECK(config_json(read) == config_json(c));
      for (int64_t l = 0; l < c.layers; ++l)
        for (const bool training : {false, true}) {
          CHECK(read.sparsity.applies(l, training) == c.sparsity.applies(l, training));
          CHECK(read.sparsity.sparsity(l, training, 0.1) == c.sparsity.sparsity(l, training, 0.1));
        }
      CHECK(read.sparsity.method == c.sparsity.method);
      CHECK(read.sparsity.describe() == c.sparsity.describe());
      CHECK(read.sparsity.bigbird == c.sparsity.bigbird);
      CHECK(read.sparsity.threshold == c.sparsity.threshold);
      CHECK(read.sparsity.window == c.sparsity.window);
      CHECK(read.sparsity.lexical_threshold == c.sparsity.lexical_threshold);
      CHECK(read.sparsity.tree_distance == c.sparsity.tree_distance);
      CHECK(read.sparsity.keep_first == c.sparsity.keep_first);
      CHECK(read.sparsity.keep_diagonal == c.sparsity.keep_diagonal);
      if (c.sparsity.method == SparseMethod::random_k) CHECK(read.sparsity.seed == c.sparsity.seed);
      if (c.sparsity.method == SparseMethod::learned_span) CHECK(read.sparsity.span_ramp == 3.5);
    }
  }
}

TEST_CASE("a broken sparsity section is refused") {
  const auto section = [](const json& crisp) { return with(distilbert(), "crisp", crisp); };
  const DistilBertConfig c =
      parse(section({{"sparsity", "own"}, {"layer_sparsity", {0.1, 0.2, 0.3}}, {"sparsity_scope", "head"}}));
  CHECK(c.sparsity.layers == std::vector<double>{0.1, 0.2, 0.3});
  CHECK(c.sparsity.method == SparseMethod::percentile);
  CHECK(c.sparsity.at_evaluation);
  CHECK(mentions(section(3), "\"crisp\" is 3; it must be an object"));
  CHECK(mentions(section({{"layer_sparsity", {0.1, 0.2}}}), "must list 3 numbers"));
  CHECK(mentions(section({{"layer_sparsity", 0.5}}), "\"layer_sparsity\" is 0.5; it must be a list"));
  for (const json& value : {json(1), json(-0.1), json("0.5"), json()})
    CHECK(mentions(section({{"layer_sparsity", {0.1, 0.2, value}}}), "it must be a number from 0 to 1 (exclusive)"));
  CHECK(mentions(section({{"sparsity_scope", "column"}}), "sparsity_scope"));
  CHECK(mentions(section({{"sparse_eval", 1}}), "\"sparse_eval\" is 1; it must be true or false"));
  CHECK(mentions(section({{"sparse_method", "middle-k"}}), "\"sparse_method\" is \"middle-k\""));
  CHECK(mentions(section({{"sparse_method", "threshold"}}), "the measure of \"sparse_method\" threshold is missing"));
  CHECK(mentions(section({{"sparsity", "0.8"}}), "\"layer_sparsity\" is missing: \"0.8\" by top-k needs a number"));
  CHECK(mentions(section({{"sparse_method", "neighbour"}}), "\"layer_sparsity\" is missing: \"dense\" by neighbour"));
  CHECK(parse(section({{"sparsity", "dense"}})).sparsity.dense());
  CHECK(mentions(section({{"sparse_method", "bigbird"}, {"bigbird", {1, 2}}}),
                 "\"bigbird\" is [1, 2]; it must be three whole numbers"));
  CHECK(mentions(section({{"sparse_method", "bigbird"}, {"bigbird", {1, -2, 0}}}), "it must be three whole numbers"));
  CHECK(mentions(section({{"sparse_method", "bigbird"}, {"bigbird", {0, 2, 0}}}), "the first or the last above 0"));
  CHECK(mentions(section({{"sparse_layers", {0, 3}}}), "holds 3, but there are 3 layers"));
  CHECK(mentions(section({{"sparse_layers", "all"}}), "\"sparse_layers\" is \"all\"; it must be a list"));
  CHECK(mentions(section({{"keep", {"cls", "pad"}}}), "\"keep\" holds \"pad\""));
  CHECK(mentions(section({{"window", -1}}), "a whole number"));
  CHECK(mentions(section({{"window", 1.5}}), "a whole number"));
  for (const json& value : {json("2"), json(true), json{2}, json(2.0)})  // a text, a switch, a list, a fraction
    CHECK(mentions(section({{"window", value}}), "\"window\" is"));
  CHECK(mentions(section({{"attention_drop", 2}}), "\"attention_drop\" is 2"));
  CHECK(mentions(section({{"drop_attention", 1}}), "\"drop_attention\" is 1"));
  CHECK(mentions(section({{"drop_attention_unit", "row"}}), "must be entry or column"));
  CHECK(mentions(section({{"span_ramp", 0}}), "\"span_ramp\" is 0"));
  CHECK(mentions(section({{"mask_seed", -1}}), "\"mask_seed\" is -1; it must be a whole number from 0"));
  const auto spans = [&](const json& list) { return section({{"sparse_method", "learned-span"}, {"spans", list}}); };
  const json four{1, 2, 3, 4};
  CHECK(parse(spans({four, four, four})).sparsity.spans[2] == std::vector<double>{1, 2, 3, 4});
  CHECK(mentions(spans({four, four}), "\"spans\" must have 3 lists"));
  CHECK(mentions(spans({four, four, {1, 2}}), "\"spans\" of layer 2 must list 4 numbers"));
  CHECK(mentions(spans({four, four, {1, 2, 3, -1}}), "\"spans\" is -1; it must be a number from 0 to"));
  CHECK(mentions(spans({four, four, {1, 2, 3, 1e10}}), "it must be a number from 0 to"));
  CHECK(mentions(section({{"span_ramp", 1e-320}}), "\"span_ramp\" is"));
  CHECK(mentions(section({{"span_ramp", 1e10}}), "\"span_ramp\" is"));
  CHECK(mentions(section({{"span_init", 1e10}}), "\"span_init\" is"));
  CHECK(mentions(section({{"span_learning_rate", 0}}), "\"span_learning_rate\" is 0"));
  CHECK(mentions(section({{"lexical_threshold", 1.5}}), "\"lexical_threshold\" is 1.5"));
  CHECK(mentions(section({{"sparsity_ramp", 1.5}}), "\"sparsity_ramp\" is 1.5"));
}
