// crisp-predict with all that people may hand to it.
#include <fmt/format.h>

#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

// A trained model in the workshop's "model".
class Predicting : public Workshop {
 public:
  Predicting() { REQUIRE(train("model", {"--epochs", "1"}).exit_code == 0); }
  Outcome with_input(const std::string& input, const Words& more = {}) const {
    return predict(Words{"--model", "model"} + more, {.input = input});
  }
};

TEST_CASE("lines from standard input, a label and a probability each") {
  const Predicting at;
  const Outcome outcome = at.with_input("a good film\n\nThe ending is beautiful.\r\nno line end");
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  const std::vector<std::string> lines = lines_of(outcome.out);
  REQUIRE(lines.size() == 4);  // the blank line is a sentence as well: line N of the output is line N of the input
  for (const std::string& line : lines) {
    CAPTURE(line);
    REQUIRE(line.starts_with("LABEL_"));
    const double probability = std::stod(line.substr(line.find('\t') + 1));
    CHECK((probability >= 0.5 && probability <= 1));
  }
  CHECK(at.with_input("a good film\n", {"-"}).out == lines[0] + "\n");
}

TEST_CASE("with --json an object a line has label, logits and probabilities") {
  const Predicting at;
  const std::vector<json> objects = json_lines(at.with_input("a good film\nawful\n", {"--json"}).out);
  REQUIRE(objects.size() == 2);
  for (const json& object : objects) {
    CAPTURE(object.dump());
    const std::vector<double> logits = object.at("logits"), probabilities = object.at("probabilities");
    REQUIRE(logits.size() == 2);
    CHECK(object.at("label") == (logits[1] > logits[0] ? 1 : 0));
    CHECK(object.at("label_name") == fmt::format("LABEL_{}", object.at("label").get<int>()));
    CHECK(probabilities.at(0) + probabilities.at(1) == Approx(1).epsilon(1e-12));
    CHECK(probabilities[1] == Approx(1 / (1 + std::exp(logits[0] - logits[1]))).epsilon(1e-12));
  }
}

TEST_CASE("labels in the input give an accuracy on standard error") {
  const Predicting at;
  const std::string tsv = "sentence\tlabel\na good film\t1\nawful\t0\n";
  const Outcome labelled = at.with_input(tsv);
  CHECK(contains(labelled.err, "/2 = "));
  at.write("some.jsonl", "{\"text\": \"a good film\", \"label\": 1}\n{\"text\": \"awful\", \"label\": 0}\n");
  const Outcome objects = at.predict({"--model", "model", "some.jsonl"});
  CHECK(objects.out == labelled.out);
  CHECK(objects.err == labelled.err);
  CHECK(at.with_input("a good film\t1\nawful\t0\n").out == labelled.out);
  const Outcome test_file = at.with_input("index\tsentence\n0\ta good film\n1\tawful\n");
  CHECK(test_file.out == labelled.out);
  CHECK(test_file.err.empty());
}

TEST_CASE("a very long line is cut, and said to be") {
  const Predicting at;
  std::string line;
  for (int i = 0; i < 200'000; ++i) line += "good ";
  const Outcome outcome = at.with_input(line + "\nshort\n");
  CHECK(outcome.exit_code == 0);
  CHECK(lines_of(outcome.out).size() == 2);
  CHECK(outcome.err == "1 of 2 sentences are longer than 64 tokens and were cut\n");
  CHECK(at.with_input("good bad good bad\n", {"--max-length", "4"}).out == at.with_input("good bad\n").out);
}

TEST_CASE("weights mapped and copied give the same answers") {
  const Predicting at;
  const std::string sentences = "a good film\nawful\n\nThe ending is beautiful.\n";
  const Outcome usual = at.with_input(sentences, {"--json"});
  CHECK(usual.exit_code == 0);
  for (const char* value : {"on", "off"})
    for (const char* precision : {"f32", "f64"}) {
      const Outcome outcome = at.with_input(sentences, {"--json", "--map-weights", value, "--precision", precision});
      CAPTURE(value, precision, outcome.err);
      CHECK(outcome.exit_code == 0);
      CHECK((outcome.out == usual.out) == (std::string_view(precision) == "f32"));
    }
  const Outcome wrong = at.with_input("good\n", {"--map-weights", "maybe"});
  CHECK(wrong.exit_code == 2);
  CHECK(contains(wrong.err, "--map-weights: must be one of on|off, not 'maybe'"));
}

TEST_CASE("no input, no output") {
  const Predicting at;
  at.write("empty.txt", "");
  for (const Outcome& outcome :
       {at.with_input(""), at.with_input("", {"-", "--json"}), at.predict({"--model", "model", "empty.txt"})}) {
    CHECK(outcome.exit_code == 0);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.empty());
  }
}

TEST_CASE("every sentence can be asked for, with --format if its form misleads") {
  const Predicting at;
  for (const char* word : {"text\n", "sentence\n", "label\n"}) {
    const Outcome outcome = at.with_input(word, {"-"});
    CAPTURE(word, outcome.err);
    CHECK(outcome.exit_code == 0);
    CHECK(lines_of(outcome.out).size() == 1);
  }
  CHECK(lines_of(at.with_input("sentence\tlabel\n{curly}\na\tb\n", {"--format", "text"}).out).size() == 3);
  CHECK(lines_of(at.with_input("sentence\ngood\n", {"--format", "tsv"}).out).size() == 1);
  CHECK(at.with_input("good\n", {"--format", "jsonl"}).exit_code == 3);
  const Outcome wrong = at.with_input("good\n", {"--format", "xlsx"});
  CHECK(wrong.exit_code == 2);
  CHECK(contains(wrong.err, "--format: must be one of auto|text|tsv|csv|jsonl, not 'xlsx'"));
}

TEST_CASE("what crisp-predict refuses") {
  const Predicting at;
  const auto refuses = [](const Outcome& outcome, int exit_code, const std::string& message) {
    CAPTURE(message, outcome.err);
    CHECK(outcome.exit_code == exit_code);
    CHECK(outcome.out.empty());
    CHECK(outcome.err == "crisp-predict: " + message + "\n");
  };
  // What comes before a mistake is answered: a stream does not wait for its end.
  const auto after = [&](size_t answers, Outcome outcome, const std::string& message) {
    CHECK(lines_of(outcome.out).size() == answers);
    outcome.out.clear();
    refuses(outcome, 3, message);
  };
  after(1, at.with_input("fine\nb\xffroken\n"),
        "standard input:2: byte 2 of the line (0xFF) is not valid UTF-8; save the file as UTF-8");
  after(1, at.with_input("good\t1\nbad\t2\n"),
        "standard input:2: the label 2 is out of range; 2 classes are numbered 0..1");
  refuses(at.predict({"--model", "./nowhere"}), 3, "./nowhere: no such file or directory");
  refuses(at.predict({"--model", "."}), 3, ".: has no model.safetensors");
  refuses(at.predict({"--model", "model", "nowhere.tsv"}), 3,
          "nowhere.tsv: cannot be opened: No such file or directory");
  refuses(at.with_input("good\n", {"--max-length", "65"}), 2,
          "--max-length 65 is more than the model's 64 positions; give --max-length 64 or less");

  // A language model's file: an encoder without a classifier.
  std::filesystem::create_directory(at / "encoder");
  for (const char* name : {"/config.json", "/vocab.txt"})
    at.write(std::string("encoder") + name, at.read(std::string("model") + name));
  std::string bytes = at.read("model/model.safetensors");
  for (const char* name : {"\"pre_classifier.", "\"classifier."})
    for (size_t i = bytes.find(name); i != std::string::npos; i = bytes.find(name, i)) bytes[i + 1] = 'x';
  at.write("encoder/model.safetensors", bytes);
  refuses(at.predict({"--model", "encoder"}, {.input = "good\n"}), 3,
          "encoder/model.safetensors: there is no classification head in it (pre_classifier, classifier); train one "
          "with crisp-train");

  std::filesystem::remove(at / "encoder/vocab.txt");
  at.write("encoder/model.safetensors", at.read("model/model.safetensors"));
  refuses(at.predict({"--model", "encoder"}, {.input = "good\n"}), 2,
          "there is no vocab.txt or tokenizer.json beside encoder; give --vocab FILE");
  at.write("large.txt", at.read("vocab.txt") + "onemore\n");
  const size_t tokens = lines_of(at.read("vocab.txt")).size();
  refuses(at.predict({"--model", "model", "--vocab", "large.txt"}, {.input = "good\n"}), 3,
          fmt::format("large.txt has {} tokens, but the model has embeddings for {}: this is not its vocabulary",
                      tokens + 1, tokens));

  const Outcome usage = at.predict({});
  CHECK(usage.exit_code == 2);
  CHECK(contains(usage.err, "--model is required"));
}

TEST_CASE("output that cannot be written is an error") {
  const Predicting at;
  const Outcome outcome =
      at.start({"sh", "-c", "echo good | \"$@\" > /dev/full", "sh", CRISP_PREDICT, "--model", "model"});
  CHECK(outcome.exit_code == 1);
  CHECK(contains(outcome.err, "crisp-predict: standard output could not be written"));
}

}  // namespace
}  // namespace crisp::test
