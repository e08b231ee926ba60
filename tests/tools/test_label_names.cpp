// Labels that are words, from the data through training into config.json and back in prediction; and data that is
// refused, or noted, before the training.
#include <fmt/format.h>

#include "tests/data/gzip.h"
#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

// The workshop's sentences with words for labels.
class WithWords : public Workshop {
 public:
  WithWords() {
    for (const char* name : {"train", "dev"}) {
      const std::vector<std::string> lines = lines_of(read(std::string(name) + ".tsv"));
      std::string csv = "text,label\n";
      for (size_t i = 1; i < lines.size(); ++i) {
        const size_t tab = lines[i].find('\t');
        csv += fmt::format("\"{}\",{}\n", lines[i].substr(0, tab), lines[i].substr(tab + 1) == "1" ? "good" : "bad");
      }
      write(fmt::format("words_{}.csv", name), csv);
    }
  }
  Outcome train_words(const std::string& output, const Words& more = {}) const {
    return train(output, Words{"--train", "words_train.csv", "--dev", "words_dev.csv", "--epochs", "1"} + more);
  }
};

TEST_CASE("words are trained as numbers are, and named in config.json") {
  const WithWords at;
  const Outcome words = at.train_words("words");
  CAPTURE(words.err);
  REQUIRE(words.exit_code == 0);
  CHECK(contains(words.err, "the classes, in the order of their names: \"bad\", \"good\"\n"));
  REQUIRE(at.train("numbers", {"--epochs", "1"}).exit_code == 0);
  CHECK((at.read("words/model.safetensors") == at.read("numbers/model.safetensors")));
  const json config = at.read_json("words/config.json");
  CHECK(config["id2label"] == json{{"0", "bad"}, {"1", "good"}});
  CHECK(config["label2id"] == json{{"bad", 0}, {"good", 1}});
  CHECK(at.read_json("numbers/config.json")["id2label"]["1"] == "LABEL_1");

  // The trained model reads its words again, in any format, and numbers, too.
  const Outcome csv = at.predict({"--model", "words", "words_dev.csv"}),
                tsv = at.predict({"--model", "words", "dev.tsv"});
  CHECK(csv.exit_code == 0);
  CHECK(contains(csv.err, "accuracy "));
  CHECK(csv.out == tsv.out);
  CHECK(csv.err == tsv.err);
  CHECK((csv.out.starts_with("good\t") || csv.out.starts_with("bad\t")));
  at.write("words_dev.csv.gz", gzipped(at.read("words_dev.csv")));
  CHECK(at.predict({"--model", "words", "words_dev.csv.gz"}).out == csv.out);
  const Outcome other = at.predict({"--model", "words"}, {.input = "fine\tgood\nfine\tpoor\n"});
  CHECK(other.exit_code == 3);
  CHECK(contains(other.err,
                 "standard input:2: the label \"poor\" is none of the classes of the model: \"bad\", \"good\""));
  CHECK(at.predict({"--model", "words"}, {.input = "sentence\tlabel\nfine\t-1\n"}).err.empty());

  // Its head goes on with the same classes, whatever comes first in the data, and not with others.
  at.write("poor.csv", "text,label\na,poor\nb,good\n");
  const Words go_on{"--data",      ".",         "--max-length", "64",       "--epochs", "0",
                    "--overwrite", "--weights", "words",        "--output", "on"};
  const Words with_words{"--train", "words_train.csv", "--dev", "words_dev.csv"};
  CHECK(at.start(Words{CRISP_TRAIN} + go_on + with_words).exit_code == 0);
  CHECK(at.read_json("on/config.json")["id2label"] == config["id2label"]);
  CHECK(at.start(Words{CRISP_TRAIN} + go_on).exit_code == 0);  // numbers: the names stay
  CHECK(at.read_json("on/config.json")["id2label"] == config["id2label"]);
  const Outcome poor = at.start(Words{CRISP_TRAIN} + go_on + Words{"--train", "poor.csv", "--dev", "poor.csv"});
  CHECK(poor.exit_code == 3);
  CHECK(contains(poor.err,
                 "poor.csv:2: the label \"poor\" is none of the classes of the weights words (--new-head makes "
                 "a head for others): \"bad\", \"good\""));
  CHECK(at.start(Words{CRISP_TRAIN} + go_on + Words{"--train", "poor.csv", "--dev", "poor.csv", "--new-head"})
            .exit_code == 0);
  CHECK(at.read_json("on/config.json")["id2label"] == json{{"0", "good"}, {"1", "poor"}});
  CHECK(at.start(Words{CRISP_TRAIN} + go_on + Words{"--new-head"}).exit_code == 0);
  CHECK(at.read_json("on/config.json")["id2label"] == json{{"0", "LABEL_0"}, {"1", "LABEL_1"}});
  CHECK(at.start(Words{CRISP_TRAIN} + go_on + Words{"--label-names", "no, yes"}).exit_code == 0);
  CHECK(at.read_json("on/config.json")["id2label"] == json{{"0", "no"}, {"1", "yes"}});
}

TEST_CASE("option --label-names gives the order, and names for numbers") {
  const WithWords at;
  REQUIRE(at.train_words("out", {"--label-names", "good,bad", "--epochs", "0"}).exit_code == 0);
  CHECK(at.read_json("out/config.json")["id2label"] == json{{"0", "good"}, {"1", "bad"}});
  CHECK(at.read_json("out/all_results.json")["settings"]["label_names"] == json{"good", "bad"});
  at.write("stars.csv", "text,label\na,1\nb,3\nc,5\nd,2\ne,4\n");
  const Words stars{"--train", "stars.csv", "--dev", "stars.csv", "--epochs", "0"};
  REQUIRE(at.train("stars", stars + Words{"--label-names", "1,2,3,4,5"}).exit_code == 0);
  CHECK(at.read_json("stars/config.json")["id2label"]["4"] == "5");
  std::string labels;
  for (const json& line : json_lines(at.read("stars/dev_predictions.jsonl"))) labels += line["label"].dump();
  CHECK(labels == "02413");
  CHECK(contains(at.predict({"--model", "stars", "stars.csv"}).err, "/5 = "));
  at.write("run.toml", "label-names = 1, 2, 3, 4, 5\n");

  const auto refused = [&](const Words& words, int exit_code, const std::string& message) {
    const Outcome outcome = at.train("none", words);
    CAPTURE(message, outcome.err);
    CHECK(outcome.exit_code == exit_code);
    CHECK(contains(outcome.err, message));
    CHECK_FALSE(at.has("none"));
  };
  refused(stars, 3,
          "stars.csv: the labels are 1, 2, 3, 4, 5, never 0, but classes are numbered from 0. Subtract 1, or "
          "take them as names with --label-names 1,2,3,4,5; if class 0 only lacks examples, say --num-labels 6");
  refused({"--label-names", "a,,b"}, 2, "--label-names: must be names between commas, none of them empty");
  refused({"--label-names", "a,a"}, 2, "--label-names: has \"a\" twice");
  refused({"--label-names", "a,b", "--num-labels", "3"}, 2, "--label-names has 2 names, but --num-labels is 3");
  refused({"--train", "words_train.csv"}, 3,
          "words_train.csv has words for labels, ./dev.tsv has numbers; write both alike");
  refused({"--dev", "words_dev.csv"}, 3,
          "./train.tsv has numbers for labels, words_dev.csv has words; write both alike");
  at.write("neutral.csv", "text,label\na,good\nb,neutral\n");
  refused({"--train", "words_train.csv", "--dev", "neutral.csv"}, 3,
          "neutral.csv:3: the label \"neutral\" is none of the classes of words_train.csv: \"bad\", \"good\"");
  at.write("hole.tsv", "sentence\tlabel\na\t0\nb\t9999\n");
  refused({"--train", "hole.tsv"}, 3, "hole.tsv:3: the label 9999 makes 10000 classes, of which 9998 have no example");
}

TEST_CASE("classes without an example are said before the training") {
  const Workshop at;
  at.write("gap.tsv", "sentence\tlabel\na\t0\nb\t1\nc\t3\n");
  const Outcome outcome = at.train("out", {"--train", "gap.tsv", "--epochs", "0"});
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(contains(outcome.err, "gap.tsv has no example of class 2: the model cannot learn it\n"));
  CHECK(contains(outcome.err, "./dev.tsv has no example of classes 2, 3: nothing is said about it\n"));
  const Outcome run = at.train("all", {"--epochs", "0"});
  CHECK_FALSE(contains(run.err, "has no example"));
}

TEST_CASE("names of classes that cannot be are refused before anything starts, and stay those of the run") {
  const Workshop at;
  const auto refused = [&](const Words& more, int exit_code, const std::string& message) {
    const Outcome outcome = at.train("none", Words{"--epochs", "1"} + more);
    CAPTURE(outcome.err);
    CHECK(outcome.exit_code == exit_code);
    CHECK(contains(outcome.err, message));
    CHECK_FALSE(at.has("none"));
  };
  refused({"--label-names", "caf\xe9,b"}, 2, "must be UTF-8, which \"caf\\xe9\" is not");
  refused({"--label_names", "labels"}, 2, "\"labels\" is one name, and there are two classes or more");
  REQUIRE(at.train("out", {"--epochs", "1"}).exit_code == 0);
  const Outcome resumed = at.train("out", {"--epochs", "1", "--resume", "--label-names", "bad,good"});
  CHECK(resumed.exit_code == 2);
  CHECK(contains(resumed.err, "label_names: "));
}

TEST_CASE("control characters of a class's name do not reach the table") {
  const Workshop at;
  at.write("odd.csv", "text,label\na,\"x\ny\"\nb,\"z\x1b[31m\"\n");
  REQUIRE(at.train("out", {"--train", "odd.csv", "--dev", "odd.csv", "--epochs", "0"}).exit_code == 0);
  const Outcome outcome = at.predict({"--model", "out"}, {.input = "a\n"});
  CHECK(lines_of(outcome.out).size() == 1);
  CHECK((outcome.out.starts_with("\"x\\ny\"\t") || outcome.out.starts_with("\"z\\u001b[31m\"\t")));
}

}  // namespace
}  // namespace crisp::test
