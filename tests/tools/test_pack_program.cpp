// crisp-pack, and the programs that it makes.
#include "tests/tools/programs.h"

#include <filesystem>

namespace crisp::test {
namespace {

class Packing : public Workshop {
 public:
  Packing() { REQUIRE(train("model", {"--epochs", "1"}).exit_code == 0); }
  Outcome pack(const Words& words) const { return start(Words{CRISP_PACK} + words); }
  Outcome packed(const Words& words = {}, ProcessOptions options = {}) const {
    return start(Words{*this / "app", "--threads", "1"} + words, std::move(options));
  }
  Outcome refused(const Words& words, int exit_code, const std::string& message) const {
    const Outcome outcome = pack(words);
    CAPTURE(outcome.err);
    CHECK(outcome.exit_code == exit_code);
    CHECK(contains(outcome.err, message));
    return outcome;
  }
};

TEST_CASE("a packed program answers as crisp-predict does, without its model's files") {
  const Packing at;
  const std::string sentences = "a good film\nawful\n\nThe ending is beautiful.\n";
  // The generic kernels' last bits depend on what else is in a batch, and a batch waits for no more input.
  const Words form{"--json", "--with-text", "--batch-size", "1"};
  const std::string expected =
      at.predict(Words{"--model", "model", "--format", "text"} + form, {.input = sentences}).out;
  REQUIRE(lines_of(expected).size() == 4);
  const Outcome made = at.pack({"model", "-o", "app"});
  CAPTURE(made.err);
  REQUIRE(made.exit_code == 0);
  CHECK(made.out.starts_with("app: "));
  std::filesystem::rename(at / "model", at / "elsewhere");
  const Outcome piped = at.packed(form, {.input = sentences});
  CHECK(piped.exit_code == 0);
  CHECK(piped.err.empty());
  CHECK(piped.out == expected);
  CHECK(at.packed(form + Words{"a good film", "awful", "", "The ending is beautiful."}).out == expected);
  for (const std::string text : {"[1] a good film [2]", "[a good film, awful]", "[]", "["})
    CHECK(at.packed({"--with-text", text}).out ==
          at.predict({"--model", "elsewhere", "--format", "text", "--with-text"}, {.input = text + "\n"}).out);
  CHECK(at.packed({"--", "--json"}).out.find('\t') != std::string::npos);  // a text like any other
  CHECK(contains(at.packed({"--help"}).out, "inside this program"));
  CHECK(contains(at.packed({"--jsn"}).err, "did you mean --json?"));
}

TEST_CASE("a vocabulary of another name is packed with the model") {
  const Packing at;
  std::filesystem::rename(at / "model/vocab.txt", at / "words.list");
  REQUIRE(at.pack({"model", "--vocab", "words.list", "--output", "app"}).exit_code == 0);
  const std::string expected =
      at.predict({"--model", "model", "--vocab", "words.list"}, {.input = "a good film\n"}).out;
  CHECK(at.packed({"a good film"}).out == expected);
}

TEST_CASE("a packed program packs no second model into itself, and is replaced by a new one") {
  const Packing at;
  REQUIRE(at.train("other", {"--epochs", "1", "--seed", "7"}).exit_code == 0);
  REQUIRE(at.pack({"model", "-o", "app"}).exit_code == 0);
  const auto size = std::filesystem::file_size(at / "app");
  const std::string first = at.packed({"a good film"}).out;
  REQUIRE(at.pack({"other", "-o", "app"}).exit_code == 0);
  CHECK(std::filesystem::file_size(at / "app") < size + 1000);
  CHECK(at.packed({"a good film"}).out != first);
  CHECK(at.packed({"a good film"}).out == at.predict({"--model", "other"}, {.input = "a good film\n"}).out);
}

TEST_CASE("what cannot be packed is refused, and nothing is written or replaced") {
  const Packing at;
  at.write("mine", "a file of somebody's\n");
  at.refused({"model", "-o", "mine"}, 2, "mine: is there and no packed program");
  at.refused({"model", "-o", "model/model.safetensors"}, 2, "is a file of the model");
  at.refused({"model", "-o", "model"}, 2, "is there and no packed program");
  at.refused({"model"}, 2, "--output");
  at.refused({"model", "-o", "-"}, 2, "an executable is a file");
  at.refused({"modell", "-o", "app"}, 3, "modell");
  at.refused({"model", "-o", "no/such/folder/app"}, 1, "no/such/folder");
  CHECK(at.read("mine") == "a file of somebody's\n");
  CHECK_FALSE(at.has("app"));
}

TEST_CASE("a packed program that was cut or changed says so") {
  const Packing at;
  REQUIRE(at.pack({"model", "-o", "app"}).exit_code == 0);
  const std::string whole = at.read("app");
  const auto with = [&](std::string bytes) {
    at.write("app", bytes);
    std::filesystem::permissions(at / "app", std::filesystem::perms::owner_all);
    return at.packed({"a good film"});
  };
  for (const std::string& bytes :
       {whole.substr(0, whole.size() - 1), whole.substr(0, whole.size() - 20000), whole + "\n"}) {
    const Outcome cut = with(bytes);
    CHECK(cut.exit_code == 3);
    CHECK(contains(cut.err, "app: the model in this program is damaged, or was cut off"));
  }
  std::string moved = whole;
  moved[whole.size() - 32] ^= 1;  // the index's place
  const Outcome damaged = with(moved);
  CHECK(damaged.exit_code == 3);
  CHECK(at.pack({"model", "-o", "app"}).exit_code == 0);  // in place of the damaged one
  CHECK(contains(damaged.err, "damaged"));
  std::string shorter = whole;
  shorter.erase(whole.size() - 20000, 1000);  // of the model
  CHECK(with(shorter).exit_code == 3);
}

}  // namespace
}  // namespace crisp::test
