// data/treebank: sentences of a treebank, labelled by the punctuation that is then taken away.
#include <fmt/format.h>

#include <sys/wait.h>

#include "data/batch.h"
#include "data/conllu.h"
#include "engine/error.h"
#include "tests/data/files.h"
#include "tests/support/catch.h"

using namespace crisp;

namespace {

const std::string fixture = CRISP_SOURCE_DIR "/tests/data/treebank.conllu";

struct Treebank {
  int run(const std::string& arguments) {
    const std::string line = "cd '" + temp.path() + "' && python3 '" CRISP_SOURCE_DIR "/data/treebank' " + arguments +
                             " >out 2>err </dev/null";
    const int status = std::system(line.c_str());
    out = read_file(temp.path("out"));
    err = read_file(temp.path("err"));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // What both parts of `folder` hold, train first.
  std::string both(const std::string& folder, const std::string& extension) const {
    return read_file(temp.path(folder + "/train." + extension)) + read_file(temp.path(folder + "/dev." + extension));
  }

  TempFolder temp;
  std::string out, err;
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Each sentence of the fixture many times over, in words that differ, so that both parts get both labels.
std::string many_times(const std::string& content, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) {
    const std::string mark = fmt::format("x{}", i);
    for (std::string rest = content; !rest.empty();) {
      const size_t end = rest.find("\n\n") + 2;
      std::string one = rest.substr(0, end);
      rest.erase(0, end);
      // Two words of the fixture's questions and answers, in the text and in the parse.
      for (const std::string word : {"it", "know", "Ann", "Sue"}) {
        for (size_t at = one.find(word); at != std::string::npos; at = one.find(word, at + 1)) {
          if (at > 0 && one[at - 1] != ' ' && one[at - 1] != '\t') continue;
          one.replace(at, word.size(), mark);
        }
      }
      result += one;
    }
  }
  return result;
}

}  // namespace

#define NEEDS_PYTHON \
  if (std::system("python3 -c '' >/dev/null 2>&1") != 0) CRISP_SKIP("no python3")

TEST_CASE("treebank: question or not, without the punctuation that says so") {
  NEEDS_PYTHON;
  Treebank treebank;
  treebank.temp.write("in.conllu", many_times(read_file(fixture), 40));
  REQUIRE(treebank.run("in.conllu set") == 0);
  const std::string tsv = treebank.both("set", "tsv"), conllu = treebank.both("set", "conllu");
  CHECK(has(tsv, "\nIs x7 you\t1\n"));
  CHECK(has(tsv, "\n\"I don't x7\t0\n"));
  CHECK(has(tsv, "\nWho (if not x7\t1\n"));
  CHECK(has(tsv, "\nx7 likes coffee and Bill tea\t0\n"));
  CHECK_FALSE(has(tsv, "heading"));
  CHECK_FALSE(has(tsv, "Why"));
  CHECK_FALSE(has(tsv, "IS x7"));
  CHECK_FALSE(has(tsv + conllu, "?"));
  CHECK(has(treebank.out, "left out 40 of 320: no punctuation that ends a sentence\n"));
  CHECK(has(treebank.out, "left out 40 of 320: a question mark elsewhere\n"));
  CHECK(has(treebank.out, "left out 40 of 320: punctuation alone\n"));
  CHECK(has(treebank.out, "left out 40 of 320: a repetition\n"));

  CHECK(has(conllu,
            "# sent_id = a-1\n"
            "# text = Is x7 you\n"
            "1\tIs\tbe\tAUX\t_\t_\t3\tcop\t_\t_\n"
            "2\tx7\tx7\tPRON\t_\t_\t3\tnsubj\t_\t_\n"
            "3\tyou\tyou\tPRON\t_\t_\t0\troot\t_\tSpaceAfter=No\n\n"));
  CHECK(has(conllu,
            "# text = \"I don't x7\n"
            "1\t\"\t\"\tPUNCT\t_\t_\t5\tpunct\t_\tSpaceAfter=No\n"
            "2\tI\tI\tPRON\t_\t_\t5\tnsubj\t_\t_\n"
            "3-4\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n"
            "3\tdo\tdo\tAUX\t_\t_\t5\taux\t_\t_\n"));
  // What hung on punctuation at the end (Ann on the bracket, that on ?!) hangs on what is left.
  CHECK(has(conllu, "5\tx7\tx7\tPROPN\t_\t_\t1\tdep\t_\tSpaceAfter=No\n\n"));
  // No empty nodes.
  CHECK(has(conllu, "5\tBill\tBill\tPROPN\t_\t_\t2\tconj\t_\t_\n6\ttea\t"));

  // Our own reader takes both parts, each sentence with its text.
  const auto files = find_dataset(treebank.temp.path("set"));
  std::vector<std::string> tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"};
  for (const auto& [data, parses] :
       {std::pair{files.train, files.train_parses}, std::pair{files.dev, files.dev_parses}}) {
    const auto dataset = read_dataset(data, {.num_labels = 2});
    CHECK(dataset.examples.size() > 5);
    CHECK(TokenizedDataset(dataset, WordPiece::from_tokens(tokens), 50, parses).parsed());
  }
}

TEST_CASE("treebank: the same each time, a split that a larger treebank keeps, balanced where asked") {
  NEEDS_PYTHON;
  Treebank treebank;
  const std::string content = read_file(fixture);
  treebank.temp.write("small.conllu", many_times(content, 40));
  treebank.temp.write("large.conllu", many_times(content, 60));
  std::string crlf;
  for (const char c : many_times(content, 40)) {
    if (c == '\n') crlf += '\r';
    crlf += c;
  }
  treebank.temp.write("crlf.conllu", "\xEF\xBB\xBF" + crlf);
  REQUIRE(treebank.run("small.conllu first") == 0);
  REQUIRE(treebank.run("crlf.conllu again") == 0);
  REQUIRE(treebank.run("large.conllu large") == 0);
  REQUIRE(treebank.run("--balanced --dev-share 0.4 large.conllu balanced") == 0);
  const auto read = [&](const std::string& file) { return read_file(treebank.temp.path(file)); };
  for (const std::string file : {"/train.tsv", "/train.conllu", "/dev.tsv", "/dev.conllu"}) {
    CHECK(read("first" + file) == read("again" + file));
    CHECK(read("large" + file).starts_with(read("first" + file)));
  }
  for (const std::string part : {"train", "dev"}) {
    size_t questions = 0;
    const auto dataset = read_dataset(treebank.temp.path("balanced/" + part + ".tsv"));
    for (const auto& example : dataset.examples) questions += example.label == 1;
    CHECK(2 * questions == dataset.examples.size());
    CHECK(dataset.examples.size() > 20);
  }
}

TEST_CASE("treebank: wrong arguments and files, and nothing overwritten") {
  NEEDS_PYTHON;
  Treebank treebank;
  const auto fails = [&](const std::string& arguments, int code) {
    CHECK(treebank.run(arguments) == code);
    return treebank.err;
  };
  CHECK(has(fails("", 2), "usage: data/treebank"));
  CHECK(has(fails("--dev-share 1 a b", 2), "--dev-share 1.0 is not between 0 and 1"));
  CHECK(fails("none.conllu set", 1) == "data/treebank: none.conllu: cannot be read: No such file or directory\n");
  CHECK(fails("'" + fixture + "' set", 1) ==
        "data/treebank: " + fixture + ": 8 sentences give 1 for dev.tsv, not of both labels; use a larger treebank\n");
  const auto wrong = [&](const std::string& content) {
    treebank.temp.write("bad.conllu", content);
    return fails("bad.conllu set", 1);
  };
  const std::string tail = "\t_\t_\t0\troot\t_\t_\n";
  CHECK(wrong("\n# c\n1\ta\n") == "data/treebank: bad.conllu:2: 2 tab-separated columns where CoNLL-U has 10\n");
  CHECK(wrong("x\ta\ta\tX" + tail) ==
        "data/treebank: bad.conllu:1: 'x' and '0' should be the numbers of a word and of its head\n");
  CHECK(wrong("2\ta\ta\tX" + tail) ==
        "data/treebank: bad.conllu:1: the words are not numbered 1, 2, ..; a blank line separates sentences\n");
  CHECK(wrong("1\ta\ta\tX\t_\t_\t2\troot\t_\t_\n") ==
        "data/treebank: bad.conllu:1: a head is not among the sentence's 1 words\n");
  CHECK(wrong("# text = b\n1\ta\ta\tX" + tail) ==
        "data/treebank: bad.conllu:1: the words are not those of the # text 'b', but 'a'\n");
  CHECK(has(wrong("1\t\xff\ta\tX" + tail), "data/treebank: bad.conllu: is not UTF-8: "));
  CHECK_FALSE(std::filesystem::exists(treebank.temp.path("set")));

  treebank.temp.write("mine/dev.conllu", "mine");
  CHECK(fails("'" + fixture + "' mine", 1) ==
        "data/treebank: mine/dev.conllu exists; move it away, or name another folder\n");
  CHECK(read_file(treebank.temp.path("mine/dev.conllu")) == "mine");
}

TEST_CASE("treebank: UD English EWT's dev.conllu becomes two parts that our reader takes") {
  NEEDS_PYTHON;
  const std::string path = datasets_dir() + "/ud-english-ewt/dev.conllu";
  const std::string vocabulary = datasets_dir() + "/bert-base-uncased/vocab.txt";
  if (!std::filesystem::exists(path)) CRISP_SKIP("no " + path);
  if (!std::filesystem::exists(vocabulary)) CRISP_SKIP("no " + vocabulary);
  Treebank treebank;
  REQUIRE(treebank.run("'" + path + "' set") == 0);
  const auto files = find_dataset(treebank.temp.path("set"));
  const auto tokens = WordPiece::load(vocabulary);
  const TokenizedDataset train(read_dataset(files.train, {.num_labels = 2}), tokens, 128, files.train_parses);
  const TokenizedDataset dev(read_dataset(files.dev, {.num_labels = 2}), tokens, 128, files.dev_parses);
  CHECK(train.size() == 1210);
  CHECK(dev.size() == 254);
}
