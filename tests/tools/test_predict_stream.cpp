// crisp-predict as a filter: answers as the lines come, and what it says about all of them.
#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

// A model of random weights in the workshop's "model".
class Filtering : public Workshop {
 public:
  Filtering() { REQUIRE(train("model", {"--epochs", "0"}).exit_code == 0); }
  Outcome with_input(const std::string& input, const Words& more = {}) const {
    return predict(Words{"--model", "model"} + more, {.input = input});
  }
  // A script in which "$@" is crisp-predict.
  Outcome script(const std::string& text, const Words& more = {}) const {
    return start(Words{"bash", "-c", text, "bash", CRISP_PREDICT, "--threads", "1", "--model", "model"} + more);
  }
};

TEST_CASE("each line is answered before the next one is there") {
  const Filtering at;
  for (const char* tab : {"", "\\t1"}) {
    for (const char* json : {"", "--json"}) {
      const std::string first = std::string("a good film") + tab, second = std::string("awful") + tab;
      // Hangs where an answer waits for more input.
      const Outcome outcome = at.script("rm -f q a; mkfifo q a; \"$@\" " + std::string(json) +
                                        " < q > a & exec 3> q 4< a\n"
                                        "printf '" +
                                        first +
                                        "\\n' >&3; read -r one <&4; printf '%s\\n' \"$one\"\n"
                                        "printf '" +
                                        second +
                                        "\\n' >&3; read -r two <&4; printf '%s\\n' \"$two\"\n"
                                        "exec 3>&-; wait");
      CAPTURE(outcome.err, json, tab);
      CHECK(outcome.exit_code == 0);
      CHECK(lines_of(outcome.out).size() == 2);
      for (const std::string& line : lines_of(outcome.out)) CHECK(line.starts_with(*json ? "{\"label\"" : "LABEL_"));
    }
  }
}

TEST_CASE("an endless input is no reason to wait, and a closed output ends it silently") {
  const Filtering at;
  const Outcome outcome = at.script("yes 'a good film' | \"$@\" | head -n 3; echo ${PIPESTATUS[1]}");
  CHECK(outcome.err.empty());
  const std::vector<std::string> lines = lines_of(outcome.out);
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].starts_with("LABEL_"));
  CHECK(lines[3] == "141");  // SIGPIPE, as of any filter
}

TEST_CASE("a stream's answers are a file's, whatever the batches") {
  const Filtering at;
  at.write("some.txt", "a good film\nawful\n\nThe ending is beautiful.\n");
  const std::string expected = at.predict({"--model", "model", "some.txt"}).out;
  CHECK(lines_of(expected).size() == 4);
  for (const char* size : {"1", "3", "64"}) {
    CHECK(at.with_input(at.read("some.txt"), {"--batch-size", size}).out == expected);
    CHECK(at.predict({"--model", "model", "some.txt", "--batch-size", size}).out == expected);
  }
  const std::string labelled = at.read("dev.tsv");
  const Outcome of_file = at.predict({"--model", "model", "dev.tsv"}), of_stream = at.with_input(labelled);
  CHECK(of_stream.out == of_file.out);
  CHECK(of_stream.err == of_file.err);
  CHECK(contains(of_file.err, "/50 = "));
}

TEST_CASE("with --with-text the sentence is repeated, so that it can do no harm") {
  const Filtering at;
  const std::vector<std::string> lines =
      lines_of(at.with_input("a good film\n\x1b[31mred\ttab\n", {"--with-text"}).out);
  REQUIRE(lines.size() == 2);
  CHECK(lines[0].ends_with("\ta good film"));
  CHECK(lines[1].ends_with("\t\"\\u001b[31mred\\ttab\""));
  const std::vector<json> objects =
      json_lines(at.with_input("{\"text\": \"a\\tgood\"}\n", {"--with-text", "--json"}).out);
  REQUIRE(objects.size() == 1);
  CHECK(objects[0].at("text") == "a\tgood");
  CHECK_FALSE(json_lines(at.with_input("a\n", {"--json"}).out).at(0).contains("text"));
}

TEST_CASE("option --metrics measures a labelled file") {
  const Filtering at;
  const Outcome outcome = at.predict({"--model", "model", "dev.tsv", "--json", "--metrics", "metrics.json"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const json metrics = at.read_json("metrics.json");
  std::vector<std::vector<int>> confusion(2, std::vector<int>(2));
  const std::vector<json> answers = json_lines(outcome.out);
  const std::vector<std::string> lines = lines_of(at.read("dev.tsv"));
  double loss = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    const auto label = static_cast<size_t>(lines[i + 1].back() - '0');
    ++confusion[label][answers[i].at("label").get<size_t>()];
    loss -= std::log(answers[i].at("probabilities").at(label).get<double>());
  }
  CHECK(metrics.at("confusion_matrix") == json(confusion));
  CHECK(metrics.at("total") == 50);
  CHECK(metrics.at("correct") == confusion[0][0] + confusion[1][1]);
  CHECK(metrics.at("loss").get<double>() == Approx(loss / 50));
  CHECK(metrics.at("classes").at(1).at("label_name") == "LABEL_1");
  CHECK(contains(outcome.err, "accuracy "));

  const Outcome table = at.predict({"--model", "model", "dev.tsv", "--metrics", "-"});
  CHECK(contains(table.err, "precision  recall      F1  support  predicted as  LABEL_0  LABEL_1\nLABEL_0 "));
  CHECK(contains(table.err, "macro F1 "));

  const auto refuses = [](const Outcome& refused, int exit_code, const std::string& message) {
    CHECK(refused.exit_code == exit_code);
    CHECK(refused.out.empty());
    CHECK(refused.err == "crisp-predict: " + message + "\n");
  };
  refuses(at.with_input("good\n", {"--metrics", "m.json"}), 3, "standard input: has no labels, which --metrics needs");
  refuses(at.with_input("", {"--metrics", "m.json"}), 3, "standard input: has no sentences, which --metrics needs");
  refuses(at.predict({"--model", "model", "dev.tsv", "--metrics", "dev.tsv"}), 2,
          "--metrics dev.tsv: would replace what this program reads; choose another file");
  CHECK_FALSE(at.has("m.json"));
}

TEST_CASE("every program has a version") {
  const Filtering at;
  for (const char* program : {CRISP_TRAIN, CRISP_PREDICT, CRISP_STUDY, CRISP_BENCH}) {
    const Outcome outcome = at.start({program, "--version"});
    CHECK(outcome.exit_code == 0);
    CHECK(outcome.out == std::filesystem::path(program).filename().string() + " 0.1.0\n");
  }
}

TEST_CASE("sentences are cut where the model can do no more, or as its directory says") {
  const Workshop at;
  std::string line = "good";
  for (int i = 0; i < 100; ++i) line += " good";
  at.write("train.tsv", at.read("train.tsv") + line + "\t1\n");
  const Words words{CRISP_TRAIN, "--init", "config.json", "--data", ".", "--vocab", "vocab.txt", "--epochs", "0"};
  const Outcome whole = at.start(words + Words{"--output", "whole"});
  CHECK(contains(whole.err, "1 of 97 training sentences are longer than 64 tokens and were cut"));
  CHECK(at.read_json("whole/all_results.json").at("settings").at("max_length") == 64);
  CHECK(at.start(words + Words{"--output", "short", "--max-length", "20"}).exit_code == 0);
  const Outcome again =
      at.start({CRISP_TRAIN, "--weights", "short", "--data", ".", "--epochs", "0", "--output", "again"});
  CHECK(contains(again.err, " are longer than 20 tokens"));

  // A run in the cache of models, and parts of the data.
  const std::string snapshot = "hub/models--org--tiny/snapshots/abc";
  std::filesystem::create_directories(at / snapshot);
  std::filesystem::copy(at / "short", at / snapshot, std::filesystem::copy_options::recursive);
  const Outcome cached = at.start({CRISP_TRAIN, "--model_name_or_path", "org/tiny", "--data", ".", "--epochs", "0",
                                   "--output", "cached", "--max_train_samples", "7", "--max_eval_samples", "5"},
                                  {.environment = {"HF_HUB_CACHE=hub"}});
  CAPTURE(cached.err);
  CHECK(cached.exit_code == 0);
  CHECK(contains(cached.err, "org/tiny: taken from Hugging Face's cache, " + snapshot + "\n"));
  CHECK(contains(cached.err, "; 7 training and 5 dev sentences;"));
  CHECK(lines_of(at.read("cached/dev_predictions.jsonl")).size() == 5);
}

}  // namespace
}  // namespace crisp::test
