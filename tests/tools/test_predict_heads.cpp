// crisp-predict with models other than classifiers of one label, and with broken or incomplete directories.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

// A trained model in "model", whose files a test changes.
class Heads : public Workshop {
 public:
  Heads() { REQUIRE(train("model", {"--max-steps", "1"}).exit_code == 0); }
  Outcome with_input(const Words& more = {}) const {
    return predict(Words{"--model", "model"} + more, {.input = "a good film\n"});
  }
  void set(const char* key, const json& value) const {
    json config = read_json("model/config.json");
    config[key] = value;
    write("model/config.json", config.dump());
  }
  // Overwrites a number of an f32 tensor in the weights' file.
  void poke(const std::string& tensor, float value, size_t element = 0) const {
    std::string bytes = read("model/model.safetensors");
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    const json header = json::parse(bytes.substr(8, length));
    const size_t at = 8 + length + header.at(tensor).at("data_offsets").at(0).get<size_t>() + element * sizeof value;
    std::memcpy(bytes.data() + at, &value, sizeof value);
    write("model/model.safetensors", bytes);
  }
};

TEST_CASE("a regression's number, a sigmoid's probability") {
  const Heads at;
  const std::vector<double> logits = json_lines(at.with_input({"--json"}).out).at(0).at("logits");
  const size_t best = logits[1] > logits[0] ? 1 : 0;
  at.set("problem_type", "regression");
  CHECK(at.with_input().out == fmt::format("LABEL_{}\t{:.4f}\n", best, logits[best]));
  const json number = json_lines(at.with_input({"--json"}).out).at(0);
  CHECK(number.at("value") == logits[best]);
  CHECK_FALSE(number.contains("probabilities"));

  at.set("problem_type", "multi_label_classification");
  CHECK(at.with_input().out == fmt::format("LABEL_{}\t{:.4f}\n", best, 1 / (1 + std::exp(-logits[best]))));
  const std::vector<double> probabilities = json_lines(at.with_input({"--json"}).out).at(0).at("probabilities");
  for (size_t i = 0; i < 2; ++i) CHECK(probabilities.at(i) == Approx(1 / (1 + std::exp(-logits[i]))));

  // A label's accuracy would mean nothing.
  const Outcome labelled = at.predict({"--model", "model"}, {.input = "sentence\tlabel\ngood\t1\n"});
  CHECK(labelled.exit_code == 0);
  CHECK(labelled.err.empty());

  const Outcome refused = at.start({CRISP_TRAIN, "--weights", "model", "--data", ".", "--output", "more"});
  CHECK(refused.exit_code == 3);
  CHECK(contains(refused.err, "its problem_type is multi_label_classification, which cannot be trained here yet"));
}

TEST_CASE("a logit that is no number is an error that names the broken tensor") {
  const Heads at;
  at.poke("classifier.bias", std::numeric_limits<float>::quiet_NaN());
  const Outcome outcome = at.with_input();
  CHECK(outcome.exit_code == 4);
  CHECK(outcome.out.empty());
  CHECK(outcome.err ==
        "crisp-predict: model/model.safetensors: the weights' classifier.bias holds nan, so a logit of sentence 1 is "
        "nan\n");
  // Training from it has no use for advice about the learning rate.
  const Outcome training = at.start({CRISP_TRAIN, "--weights", "model", "--data", ".", "--output", "more",
                                     "--max-length", "64", "--threads", "1", "--max-steps", "2"});
  CHECK(training.exit_code == 4);
  CHECK(contains(training.err, "model/model.safetensors: the weights' classifier.bias holds nan"));
  CHECK_FALSE(contains(training.err, "learning-rate"));
}

TEST_CASE("the sentence whose logit is no number is counted from the beginning, not from that of its batch") {
  const Heads at;
  const size_t width = at.read_json("model/config.json").at("dim");
  at.poke("distilbert.embeddings.position_embeddings.weight", std::numeric_limits<float>::quiet_NaN(), 10 * width);
  const Outcome outcome = at.predict({"--model", "model", "--batch-size", "1"},
                                     {.input = "good\ngood\ngood good good good good good good good good good\n"});
  CHECK(outcome.exit_code == 4);
  CHECK(lines_of(outcome.out).size() == 2);
  CHECK(contains(outcome.err, "so a logit of sentence 3 is nan\n"));
}

TEST_CASE("notes of loading and guesses are said to who asks for predictions") {
  const Heads at;
  CHECK(at.with_input().err.empty());
  std::filesystem::remove(at / "model/tokenizer_config.json");
  const Outcome guess = at.with_input();
  CHECK(guess.exit_code == 0);
  CHECK(guess.err ==
        "note: model/vocab.txt has no tokenizer_config.json beside it: taking it for an uncased tokenizer's, as "
        "transformers does\n");
}

TEST_CASE("a head that was made for another question is refused by its name") {
  const Heads at;
  for (const char* other : {"DistilBertForMultipleChoice", "BertForTokenClassification"}) {
    at.set("architectures", json::array({other}));
    const Outcome outcome = at.with_input();
    CHECK(outcome.exit_code == 3);
    CHECK(outcome.out.empty());
    CHECK(contains(outcome.err, fmt::format("the classification head is that of \"{}\"", other)));
    const Words train{"--weights", "model", "--data", ".", "--epochs", "0", "--max-length", "64", "--output", "on"};
    CHECK(contains(at.start(Words{CRISP_TRAIN} + train).err, "--new-head makes one"));
    CHECK(at.start(Words{CRISP_TRAIN} + train + Words{"--new-head", "--overwrite"}).exit_code == 0);
  }
  at.set("architectures", json::array({"DistilBertForMaskedLM"}));
  CHECK(at.with_input().exit_code == 0);
}

TEST_CASE("measures never replace what the program reads") {
  const Heads at;
  const auto refused = [&](const std::string& file) {
    const std::string before = at.read(file);
    const Outcome outcome = at.predict({"--model", "model", "--metrics", file, "dev.tsv"});
    CHECK(outcome.exit_code == 2);
    CHECK(contains(outcome.err, fmt::format("--metrics {}: would replace", file)));
    CHECK((at.read(file) == before));
  };
  for (const char* file : {"dev.tsv", "model/model.safetensors", "model/config.json", "model/vocab.txt"}) refused(file);
  std::filesystem::create_hard_link(at / "model/config.json", at / "linked.json");
  refused("linked.json");
}

TEST_CASE("a label with control characters reaches the terminal escaped") {
  const Heads at;
  at.set("id2label", {{"0", "a\x1b[31m\tb"}, {"1", "a\x1b[31m\tb"}});
  CHECK(at.with_input().out.starts_with("\"a\\u001b[31m\\tb\"\t0."));
}

TEST_CASE("a cased model and its added tokens stay what they are when they are trained on") {
  const Heads at;
  std::filesystem::create_directories(at / "cased");
  at.write("cased/vocab.txt", at.read("vocab.txt") + "Film\n");
  at.write("cased/config.json", at.read("config.json"));
  const size_t words = lines_of(at.read("cased/vocab.txt")).size();
  at.write("cased/tokenizer_config.json", R"({"do_lower_case": false, "strip_accents": true})");
  at.write("cased/added_tokens.json", json{{"covidxyz", words}}.dump());
  const Outcome outcome = at.start({CRISP_TRAIN, "--init", "cased/config.json", "--data", ".", "--max-length", "64",
                                    "--threads", "1", "--max-steps", "1", "--output", "out"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const json config = at.read_json("out/tokenizer_config.json");
  CHECK(config.at("do_lower_case") == false);
  CHECK(config.at("strip_accents") == true);
  CHECK(config.at("model_max_length") == 64);
  CHECK(config.at("added_tokens_decoder").at(std::to_string(words)).at("content") == "covidxyz");
  CHECK(at.read("out/vocab.txt") == at.read("cased/vocab.txt"));
  CHECK(at.predict({"--model", "out"}, {.input = "Film covidxyz\n"}).exit_code == 0);
}

}  // namespace
}  // namespace crisp::test
