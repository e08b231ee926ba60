// crisp-inspect as a user starts it.
#include <fmt/format.h>

#include <map>

#include "tests/tools/programs.h"
#include "weights/safetensors.h"

namespace crisp::test {
namespace {

// The workshop, and how to look into it on a terminal of 80 columns.
class Inspecting : public Workshop {
 public:
  Outcome inspect(const Words& words, ProcessOptions options = {}) const {
    options.environment.push_back("COLUMNS=80");
    return start(Words{CRISP_INSPECT} + words, std::move(options));
  }
  /// What the command prints with --json.
  json inspect_json(const Words& words, int exit_code = 0) const {
    const Outcome outcome = inspect(words + Words{"--json"});
    CAPTURE(outcome.err, outcome.out);
    REQUIRE(outcome.exit_code == exit_code);
    return json::parse(outcome.out);
  }
};

void check_width(const Outcome& outcome) {
  CAPTURE(outcome.out, outcome.err);
  CHECK_FALSE(outcome.out.empty());
  for (const std::string& line : lines_of(outcome.out)) CHECK(line.size() <= 80);
}

// The trained model's file with one number changed and one tensor less.
void write_changed(const Inspecting& at, const std::string& from, const std::string& to, const std::string& changed,
                   size_t element, float by, const std::string& without = "") {
  const SafetensorsFile file = SafetensorsFile::open(at / from);
  std::vector<std::vector<float>> values;
  std::vector<TensorToWrite> tensors;
  for (const TensorEntry& t : file.tensors()) {
    if (t.name == without) continue;
    values.emplace_back(t.numel());
    file.read(t, std::span(values.back()));
    if (t.name == changed) values.back().at(element) += by;
    tensors.push_back({t.name, t.dtype, t.shape, std::span<const float>()});
  }
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].data = std::span<const float>(values[i]);
  write_safetensors(at / to, tensors);
}

TEST_CASE("crisp-inspect diff shows where two models disagree, as crisp-predict has their answers") {
  const Inspecting at;
  REQUIRE(at.train("a", {"--epochs", "6", "--select", "last"}).exit_code == 0);
  REQUIRE(at.train("b", {"--epochs", "8", "--select", "last"}).exit_code == 0);
  const auto predict = [&](const char* model) {
    return json_lines(at.predict({"--model", model, "dev.tsv", "--json"}).out);
  };
  const std::vector<json> a = predict("a"), b = predict("b");
  const std::vector<std::string> lines = lines_of(at.read("dev.tsv"));
  REQUIRE(a.size() == 50);
  std::map<std::string, int> right;
  size_t disagreements = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const int truth = lines[i + 1].back() - '0';
    ++right[fmt::format("{}{}", a[i]["label"] == truth ? "A" : "", b[i]["label"] == truth ? "B" : "")];
    if (a[i]["label"] != b[i]["label"]) ++disagreements;
  }
  REQUIRE(disagreements > 2);
  REQUIRE(right.size() == 4);  // both, one of them, neither

  const json all = at.inspect_json({"diff", "a", "b", "--data", "dev.tsv", "--threads", "1"});
  CHECK(all["right"] ==
        json{{"both", right["AB"]}, {"only_a", right["A"]}, {"only_b", right["B"]}, {"neither", right[""]}});
  REQUIRE(all["disagreements"].size() == disagreements);
  double before = 1;
  for (const json& row : all["disagreements"]) {
    const size_t i = row["example"];
    CHECK(row["line"] == i + 2);
    CHECK(row["a"]["label"] == a[i]["label_name"]);
    CHECK(row["b"]["label"] == b[i]["label_name"]);
    for (size_t label = 0; label < 2; ++label)  // other batches, maybe other last bits
      CHECK(row["a"]["probabilities"][label].get<double>() ==
            Approx(a[i]["probabilities"][label].get<double>()).margin(1e-5));
    CHECK(row["difference"].get<double>() <= before);
    before = row["difference"];
  }

  const Outcome outcome = at.inspect({"diff", "a", "b", "--data", "dev.tsv", "--limit", "2"});
  CHECK(outcome.exit_code == 0);
  check_width(outcome);
  CHECK(contains(outcome.out, fmt::format("other labels: {} of 50 sentences\n", disagreements)));
  CHECK(contains(outcome.out, "McNemar's exact p = "));
  CHECK(contains(outcome.out, fmt::format("... and {} more (--limit 0 shows all)\n", disagreements - 2)));

  std::string plain;
  for (size_t i = 1; i < lines.size(); ++i) plain += lines[i].substr(0, lines[i].find('\t')) + "\n";
  at.write("plain.txt", plain);
  const json unlabelled = at.inspect_json({"diff", "a", "b", "--data", "plain.txt", "--threads", "1"});
  CHECK(unlabelled["right"].is_null());
  CHECK(unlabelled["mcnemar_p"].is_null());
  CHECK(unlabelled["disagreements"].size() == disagreements);
  CHECK(contains(at.inspect({"diff", "a", "a", "--data", "dev.tsv"}).out, "all probabilities are the same\n"));
}

TEST_CASE("crisp-inspect diff pairs labels by name") {
  const Inspecting at;
  REQUIRE(at.train("a", {"--max-steps", "1"}).exit_code == 0);
  const auto with_names = [&](const std::string& name, const json& names) {
    std::filesystem::copy(at / "a", at / name);
    json config = at.read_json("a/config.json");
    config["id2label"] = names;
    config.erase("label2id");
    at.write(name + "/config.json", config.dump());
  };
  with_names("named", {{"0", "bad"}, {"1", "good"}});
  with_names("turned", {{"0", "good"}, {"1", "bad"}});
  with_names("other", {{"0", "bad"}, {"1", "better"}});
  const auto diff = [&](const char* a, const char* b) { return at.inspect({"diff", a, b, "--data", "dev.tsv"}); };
  CHECK(contains(diff("named", "turned").out, "other labels: 50 of 50 sentences\n"));
  const Outcome by_number = diff("a", "named");
  CHECK(contains(by_number.err, "note: model A does not name its labels; they are paired by number\n"));
  CHECK(contains(by_number.out, "other labels: 0 of 50 sentences\n"));
  const Outcome refused = diff("named", "other");
  CHECK(refused.exit_code == 3);
  CHECK(refused.err ==
        "crisp-inspect: A has the labels \"bad\", \"good\", B \"bad\", \"better\": their answers cannot be compared\n");
  CHECK(at.inspect({"diff", "named", "turned"}).exit_code == 2);
  CHECK(diff("named", "./nowhere").exit_code == 3);
}

TEST_CASE("crisp-inspect tokens shows pieces with bytes and what is lost") {
  const Inspecting at;
  at.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\ngood\nfilm\n");
  const Words words{"tokens", "A g\u00f6od  film \u2603 [MASK]", "--vocab", "vocab.txt"};
  const Outcome outcome = at.inspect(words);
  CHECK(outcome.exit_code == 0);
  check_width(outcome);
  CHECK(contains(outcome.out, "  good      2..7  g\u00f6od    strip_accents\n"));
  CHECK(contains(outcome.out, "[UNK] 14..17: no piece of the vocabulary fits at \"\u2603\", byte 14\n"));
  CHECK(contains(outcome.out, "3..5  \"\u00f6\" became \"o\" by strip_accents\n"));
  CHECK(contains(outcome.out, "white space between words: 1..2, 7..9, 13..14, 17..18\n"));

  const json all = at.inspect_json(words + Words{"--max-length", "4"});
  CHECK(all["max_length"] == 4);
  REQUIRE(all["tokens"].size() == 4);
  CHECK(all["tokens"][2]["piece"] == "good");
  CHECK(all["tokens"][2]["begin"] == 2);
  CHECK(all["tokens"][2]["end"] == 7);
  REQUIRE(all["cut"].size() == 3);
  CHECK(all["cut"][1]["rule"] == "no_piece");
  CHECK(all["cut"][1]["unmatched"] == 14);
  CHECK(all["cut"][2]["rule"] == "added");
  const Outcome cut = at.inspect(words + Words{"--max-length", "4"});
  CHECK(contains(cut.out, "truncated to 4 tokens: 3 tokens are cut, bytes 9..24: \"film \u2603 [MASK]\"\n"));

  // Bytes that are no UTF-8 do not come out as they are, neither in the table nor in JSON.
  CHECK(
      contains(at.inspect({"tokens", "a\xff", "--vocab", "vocab.txt"}).out, "1..2  no UTF-8: dropped by clean_text\n"));
  CHECK(at.inspect_json({"tokens", "a\xff", "--vocab", "vocab.txt"})["text"] == "a\ufffd");
  CHECK(at.inspect_json({"tokens", "", "--vocab", "vocab.txt"})["tokens"].size() == 2);

  CHECK(at.inspect({"tokens", "a"}).exit_code == 2);
  CHECK(at.inspect({"tokens", "--vocab", "vocab.txt"}).exit_code == 2);
  CHECK(at.inspect({"tokens", "a", "--model", "./nowhere"}).exit_code == 3);
}

TEST_CASE("crisp-inspect tokens cuts as the model beside the vocabulary does and needs no weights") {
  const Inspecting at;
  at.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\n");
  std::string text;
  for (int i = 0; i < 100; ++i) text += "good ";
  const json all = at.inspect_json({"tokens", text, "--model", "."});
  CHECK(all["max_length"] == 64);
  CHECK(all["tokens"].size() == 64);
  CHECK(all["cut"].size() == 38);
  at.write("config.json", R"({"model_type": "roberta"})");
  const Outcome other = at.inspect({"tokens", text, "--model", "."});
  CHECK(other.exit_code == 0);
  CHECK(contains(other.err, "how many positions the model has is not known"));
  CHECK(contains(other.out, "500 bytes are 102 tokens;"));
  at.write("tokenizer_config.json", R"({"model_max_length": 8, "truncation_side": "left"})");
  CHECK(contains(at.inspect({"tokens", text, "--model", "."}).out, "truncated to 8 tokens, from the left: 94 tokens"));
}

TEST_CASE("crisp-inspect weights shows every tensor of a model and what becomes of it") {
  const Inspecting at;
  REQUIRE(at.train("model", {"--max-steps", "1"}).exit_code == 0);
  const Outcome outcome = at.inspect({"weights", "model"});
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  check_width(outcome);
  CHECK(contains(outcome.out, "model/model.safetensors\nDistilBERT: 40 tensors"));
  CHECK(contains(outcome.out, "__metadata__: format = \"pt\"\n"));
  CHECK(contains(outcome.out, "-> layer.1.ffn.lin1.weight "));
  CHECK(contains(outcome.out, "no NaN, no infinity\n"));
  for (const Words& same : {Words{"--model", "model"}, Words{"--weights", "model/model.safetensors"}})
    CHECK(at.inspect(Words{"weights"} + same).out == outcome.out);

  const json all = at.inspect_json({"weights", "model"});
  CHECK(all["architecture"] == "DistilBERT");
  CHECK(all["metadata"] == json{{"format", "pt"}});
  REQUIRE(all["tensors"].size() == 40);
  const json& norm = all["tensors"][2];
  CHECK(norm["name"] == "distilbert.embeddings.LayerNorm.bias");

  const Outcome one = at.inspect({"weights", "model", "--tensor", "layer.1.ffn.lin1.weight"});
  check_width(one);
  CHECK(
      one.out.starts_with("distilbert.transformer.layer.1.ffn.lin1.weight\nF32 [64, 32], 2048 elements, 8192 bytes\n"));
  const Outcome none = at.inspect({"weights", "model", "--tensor", "layer.1.ffn.lin3.weight"});
  CHECK(none.exit_code == 2);
  CHECK(contains(none.err, "did you mean layer.1.ffn.lin1.weight?"));
  CHECK(at.inspect({"weights"}).exit_code == 2);
  CHECK(at.inspect({"weights", "model", "--model", "model"}).exit_code == 2);
  const Outcome nowhere = at.inspect({"weights", "./nowhere"});
  CHECK(nowhere.exit_code == 3);
  CHECK(nowhere.err == "crisp-inspect: ./nowhere: no such file or directory\n");
  for (const Words& misspelt :
       {Words{"weights", "./modle"}, Words{"tokens", "a", "--model", "./modle"},
        Words{"diff", "model", "./modle", "--data", "dev.tsv"}, Words{"weights", "model", "--against", "./modle"}})
    CHECK(at.inspect(misspelt).err == "crisp-inspect: ./modle: no such file or directory; did you mean ./model?\n");
  CHECK(at.inspect({"diff", "model", "model", "--data", "def.tsv"}).err ==
        "crisp-inspect: def.tsv: no such file; did you mean dev.tsv?\n");

  // What cannot be loaded is shown all the same.
  std::string config = at.read("model/config.json");
  const std::string width = "\"hidden_dim\": 64";
  config.replace(config.find(width), width.size(), "\"hidden_dim\": 65");
  at.write("model/config.json", config);
  const Outcome other = at.inspect({"weights", "model"});
  CHECK(other.exit_code == 0);
  CHECK(contains(other.out, "-> layer.1.ffn.lin1.weight "));
  CHECK(contains(other.out, "note: it cannot be loaded: model/model.safetensors: does not fit the model; 6 tensors"));
}

TEST_CASE("crisp-inspect weights --against names the one number that differs") {
  const Inspecting at;
  REQUIRE(at.train("model", {"--max-steps", "1"}).exit_code == 0);
  const std::string name = "distilbert.transformer.layer.1.ffn.lin1.weight";
  write_changed(at, "model/model.safetensors", "other.safetensors", name, 33 * 32 + 7, 0.5F);
  const Words against{"weights", "model", "--against", "other.safetensors"};
  const Outcome outcome = at.inspect(against);
  CHECK(outcome.exit_code == 1);
  check_width(outcome);
  CHECK(contains(outcome.out, "40 tensors in both: 39 equal, 1 not; only in A 0, only in B 0\n"));
  CHECK(contains(outcome.out, name + "  2048  [33, 7]\n"));
  CHECK(contains(outcome.out, "largest difference 0.5, beyond the tolerance of 0\n"));
  CHECK(at.inspect(against + Words{"--tolerance", "0.4"}).exit_code == 1);
  CHECK(at.inspect(against + Words{"--tolerance", "0.6"}).exit_code == 0);
  CHECK(at.inspect({"weights", "model", "--against", "model"}).exit_code == 0);
  CHECK(at.inspect(against + Words{"--tensor", "classifier.bias"}).exit_code == 0);

  const json all = at.inspect_json(against, 1);
  REQUIRE(all["different"].size() == 1);
  const json& different = all["different"][0];
  CHECK(different["name"] == name);
  CHECK(different["index"] == json{33, 7});
  CHECK(different["differing"] == 1);
  CHECK(different["b"].get<double>() == Approx(different["a"].get<double>() + 0.5).epsilon(1e-6));

  // A tensor less is a difference that no tolerance covers.
  write_changed(at, "model/model.safetensors", "less.safetensors", "", 0, 0, "classifier.bias");
  const Outcome less = at.inspect({"weights", "model", "--against", "less.safetensors", "--tolerance", "9"});
  CHECK(less.exit_code == 1);
  CHECK(contains(less.out, "only in A: classifier.bias\n"));
  CHECK(contains(less.out, "the files do not hold the same tensors\n"));
}

}  // namespace
}  // namespace crisp::test
