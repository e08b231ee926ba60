// crisp-train with every method of sparse attention, and crisp-predict after it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <csignal>

#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

// A CoNLL-U parse for each sentence of a TSV file with a header: words between blanks, each hanging on the one before.
std::string chain_parses(const std::string& tsv) {
  std::string parses;
  const std::vector<std::string> lines = lines_of(tsv);
  for (size_t i = 1; i < lines.size(); ++i) {
    std::istringstream text(lines[i].substr(0, lines[i].find('\t')));
    int n = 0;
    for (std::string word; text >> word; ++n)
      parses += fmt::format("{}\t{}\t_\t_\t_\t_\t{}\t{}\t_\t_\n", n + 1, word, n, n == 0 ? "root" : "dep");
    parses += "\n";
  }
  return parses;
}

// A workshop with parses of its two files.
class Parsed : public Workshop {
 public:
  Parsed() {
    write("train.conllu", chain_parses(read("train.tsv")));
    write("dev.conllu", chain_parses(read("dev.tsv")));
  }
};

struct Case {
  Words options;
  json section;        // of "crisp" in config.json, a part of it
  double least, most;  // effective sparsity at evaluation
};

TEST_CASE("a run with each method of sparse attention, and crisp-predict on it") {
  const Parsed at;
  const std::vector<Case> cases{
      {{"--sparsity", "0.6", "--sparse-method", "top-k-ties"}, {{"sparse_method", "top-k-ties"}}, 0.5, 0.65},
      {{"--sparsity", "0.6", "--sparse-method", "percentile", "--keep", "cls,sep"},
       {{"keep", {"cls", "sep"}}},
       0.3,
       0.65},
      {{"--sparse-method", "threshold", "--attention-threshold", "0"}, {{"attention_threshold", 0.0}}, 0.2, 0.8},
      {{"--sparsity", "0.6", "--sparse-method", "bottom-k"}, {{"sparse_method", "bottom-k"}}, 0.5, 0.65},
      {{"--sparsity", "0.6", "--sparse-method", "random-k", "--seed", "7"}, {{"mask_seed", 7}}, 0.5, 0.65},
      {{"--sparsity", "0.6", "--sparse-method", "attention-drop"}, {{"attention_drop", 0.5}}, 0, 0},
      {{"--sparsity", "0.6", "--sparse-method", "neighbour", "--sparse-layers", "late"},
       {{"sparse_layers", {1}}},
       0.2,
       0.35},
      {{"--sparse-method", "neighbour", "--window", "1"}, {{"window", 1}}, 0.6, 0.95},
      {{"--sparse-method", "bigbird", "--bigbird", "3,1,1"}, {{"bigbird", {3, 1, 1}}}, 0.3, 0.95},
      {{"--sparsity", "0.6", "--sparse-method", "lexical"}, {{"sparse_method", "lexical"}}, 0.5, 0.65},
      {{"--sparse-method", "lexical", "--lexical-threshold", "0.1"}, {{"lexical_threshold", 0.1}}, 0.1, 0.95},
      {{"--sparsity", "0.6", "--sparse-method", "syntax"}, {{"sparse_method", "syntax"}}, 0.5, 0.65},
      {{"--sparse-method", "syntax", "--tree-distance", "1"}, {{"tree_distance", 1}}, 0.3, 0.95},
      {{"--sparse-method", "learned-span", "--span-init", "1.5", "--span-penalty", "0.1"},
       {{"span_penalty", 0.1}},
       0.2,
       0.95},
      {{"--sparse-method", "sparsemax"}, {{"sparse_method", "sparsemax"}}, 0, 0.9},
      {{"--sparse-method", "entmax15"}, {{"sparse_method", "entmax15"}}, 0, 0.9},
      {{"--drop-key", "0.2"}, {{"drop_attention", 0.2}}, 0, 0},
      {{"--drop-attention", "0.2", "--drop-attention-unit", "column"}, {{"drop_attention_unit", "column"}}, 0, 0},
      {{"--sparsity", "0.4,0.8", "--sparsity-reverse", "--sparse-train", "off"},
       {{"layer_sparsity", {0.8, 0.4}}, {"sparse_train", false}},
       0.5,
       0.65},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    const std::string output = fmt::format("out{}", i);
    CAPTURE(c.options);
    const Outcome outcome = at.train(output, c.options + Words{"--max-steps", "3"});
    CAPTURE(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    const json section = at.read_json(output + "/config.json")["crisp"];
    const json settings = at.read_json(output + "/all_results.json")["settings"];
    for (const auto& [key, value] : c.section.items()) {
      CHECK(section[key] == value);
      CHECK(settings[key] == value);
    }
    const json results = at.read_json(output + "/all_results.json");
    CHECK(results["eval_sparsity"].get<double>() >= c.least);
    CHECK(results["eval_sparsity"].get<double>() <= c.most);
    Words predict{"--model", output, "--json", "dev.tsv"};
    if (section["sparse_method"] == "syntax") predict = predict + Words{"--parses", "dev.conllu"};
    const std::vector<json> saved = json_lines(at.read(output + "/dev_predictions.jsonl"));
    const std::vector<json> now = json_lines(at.predict(predict).out);
    REQUIRE(now.size() == saved.size());
    for (size_t k = 0; k < now.size(); ++k) CHECK(now[k]["logits"] == saved[k]["logits"]);
  }
}

TEST_CASE("learned degrees are logged") {
  const Workshop at;
  const Words learned{"--sparse-method",
                      "learned-span",
                      "--span-penalty",
                      "0.1",
                      "--span-learning-rate",
                      "0.5",
                      "--epochs",
                      "1",
                      "--eval-steps",
                      "4",
                      "--logging-steps",
                      "4"};
  REQUIRE(at.train("whole", learned).exit_code == 0);
  int evaluations = 0, penalties = 0;
  for (const json& line : at.metrics("whole")) {
    if (line.contains("span_penalty")) ++penalties;
    if (!line.contains("eval_loss")) continue;
    ++evaluations;
    CHECK(line["eval_layer_sparsity_requested"] == json{nullptr, nullptr});
    for (size_t l = 0; l < 2; ++l)
      for (size_t h = 0; h < 2; ++h)
        CHECK(line["span_windows"][l][h] == std::floor(line["spans"][l][h].get<double>() + 2));
  }
  CHECK(evaluations == 3);
  CHECK(penalties == 3);
  CHECK(at.read_json("whole/all_results.json")["spans"] == at.read_json("whole/config.json")["crisp"]["spans"]);
}

TEST_CASE("a run with learned degrees that is interrupted goes on to the same bytes") {
  const Workshop at;
  const Words learned{"--sparse-method", "learned-span", "--span-penalty",  "0.1", "--span-learning-rate", "0.05",
                      "--epochs",        "25",           "--logging-steps", "1",   "--eval-steps",         "40"};
  const auto check_cut = [&](const std::string& name, const Words& start) {
    const std::string whole = name + "-whole", cut = name + "-cut";
    REQUIRE(at.start(start + learned + Words{"--output", whole}).exit_code == 0);
    Process process(start + learned + Words{"--output", cut}, at.here());
    REQUIRE(process.wait_for_error("tokens/s", 25));
    process.signal(SIGINT);
    REQUIRE(process.wait().exit_code == 130);
    const Outcome resumed = at.start(start + learned + Words{"--output", cut, "--resume"});
    CAPTURE(resumed.err);
    REQUIRE(resumed.exit_code == 0);
    CHECK(contains(resumed.err, "resuming from " + cut + "/checkpoint-"));
    check_same_run(at, whole, cut);
  };
  const Words common{"--data", ".", "--max-length", "64", "--batch-size", "8", "--threads", "1"};
  check_cut("new",
            Words{CRISP_TRAIN, "--init", "config.json", "--vocab", "vocab.txt", "--learning-rate", "0.003"} + common);
  // From weights whose own degrees go on.
  check_cut("more", Words{CRISP_TRAIN, "--weights", "new-whole", "--learning-rate", "0.001"} + common);
  CHECK(at.read_json("more-whole/config.json")["crisp"]["spans"] !=
        at.read_json("new-whole/config.json")["crisp"]["spans"]);
}

TEST_CASE("syntax says where parses are missing or belong to other sentences") {
  const Workshop at;
  const Words syntax{"--sparse-method", "syntax", "--sparsity", "0.5", "--max-steps", "1"};
  Outcome outcome = at.train("out", syntax);
  CHECK(outcome.exit_code == 2);
  CHECK(contains(outcome.err, "give --parses FILE"));
  at.write("some.conllu", chain_parses(at.read("train.tsv")));
  outcome = at.train("out", syntax + Words{"--parses", "some.conllu"});
  CHECK(outcome.exit_code == 2);
  CHECK(contains(outcome.err, "give --dev-parses FILE"));
  outcome = at.train("out", syntax + Words{"--parses", "some.conllu", "--dev-parses", "some.conllu"});
  CHECK(outcome.exit_code == 3);
  CHECK(contains(outcome.err, "some.conllu"));
  // An evaluation without selection needs none.
  const Words training_only = syntax + Words{"--parses", "some.conllu", "--sparse-eval", "off"};
  REQUIRE(at.train("out", training_only).exit_code == 0);
  CHECK(at.predict({"--model", "out", "dev.tsv"}).exit_code == 0);
  at.write("dev.conllu", chain_parses(at.read("dev.tsv")));
  REQUIRE(at.train("both", syntax + Words{"--parses", "some.conllu"}).exit_code == 0);
  outcome = at.predict({"--model", "both", "dev.tsv"});
  CHECK(outcome.exit_code == 2);
  CHECK(contains(outcome.err, "both: this model's attention follows dependency parses; give --parses FILE"));
  // Where no layer looks at parses, none are asked for, and those that are given are said to be of no use.
  const Words none{"--sparse-method", "syntax", "--sparsity", "0", "--max-steps", "1"};
  REQUIRE(at.train("none", none).exit_code == 0);
  outcome = at.train("dense", {"--max-steps", "1", "--parses", "some.conllu"});
  CHECK(outcome.exit_code == 0);
  CHECK(contains(outcome.err, "--parses is not used: no layer looks at these parses"));
  outcome = at.predict({"--model", "dense", "--parses", "dev.conllu", "dev.tsv"});
  CHECK(outcome.exit_code == 2);
  CHECK(contains(outcome.err, "leave --parses out"));
}

TEST_CASE("learned degrees of the weights go on, unless the run says otherwise") {
  const Workshop at;
  const Words learned{"--sparse-method", "learned-span"};
  REQUIRE(at.train("first", learned + Words{"--max-steps", "3", "--span-learning-rate", "0.5"}).exit_code == 0);
  const json trained = at.read_json("first/config.json")["crisp"]["spans"];
  const auto spans_after = [&](const std::string& output, const Words& words, const std::string& message) {
    const Outcome outcome = at.start(Words{CRISP_TRAIN, "--weights", "first", "--data", ".", "--threads", "1",
                                           "--epochs", "0", "--max-length", "64", "--output", output} +
                                     words);
    CAPTURE(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK(contains(outcome.err, message));
    return at.read_json(output + "/config.json")["crisp"]["spans"];
  };
  CHECK(spans_after("on", learned, "the weights' learned degrees go on") == trained);
  CHECK(spans_after("afresh", learned + Words{"--span-init", "3"}, "as --span-init was given: all start at 3") ==
        json{{3.0, 3.0}, {3.0, 3.0}});
  CHECK(spans_after("late", learned + Words{"--sparse-layers", "1"}, "of other layers: all start at 8") ==
        json{json::array(), {8.0, 8.0}});
}

TEST_CASE("options of sparse attention that do not go together are refused before anything is read") {
  const Workshop at;
  for (const auto& [options, complaint] : std::vector<std::pair<Words, std::string>>{
           {{"--sparse-method", "neighbour"}, "--sparse-method neighbour needs --sparsity S or --window"},
           {{"--window", "3"}, "--window belongs to --sparse-method neighbour, not top-k"},
           {{"--sparse-layers", "2", "--sparsity", "0.5"}, "there is no layer 2; they are numbered from 0 to 1"}}) {
    const Outcome outcome = at.train("out", options);
    CAPTURE(outcome.err);
    CHECK(outcome.exit_code == 2);
    CHECK(contains(outcome.err, complaint));
    CHECK_FALSE(at.has("out"));
  }
}

}  // namespace
}  // namespace crisp::test
