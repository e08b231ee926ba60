// The same run as somebody sees it at a terminal: one line that is redrawn, and messages that stay.
#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

// What is left on the screen: of a line, the text after the last "return to its start and erase".
std::vector<std::string> screen(const std::string& bytes) {
  std::vector<std::string> lines;
  for (std::string line : lines_of(bytes)) {
    while (line.ends_with('\r')) line.pop_back();
    const std::string erase = "\r\x1b[K";
    const size_t last = line.rfind(erase);
    lines.push_back(last == std::string::npos ? line : line.substr(last + erase.size()));
  }
  return lines;
}

TEST_CASE("on a terminal the progress is one bar, and the messages stay") {
  const Workshop at;
  const Outcome outcome = at.train("out", {"--epochs", "2"}, {.environment = {"TERM=xterm"}, .terminal = true});
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(contains(outcome.err, "\r\x1b[K[="));
  CHECK(contains(outcome.err, "step 24/24  epoch 2.00/2  loss 0."));
  CHECK_FALSE(contains(outcome.err, "nan"));

  const std::vector<std::string> lines = screen(outcome.err);
  REQUIRE(lines.size() == 6);
  CHECK(contains(lines[0], "no tokenizer_config.json beside it"));
  CHECK(lines[1] == "every weight is new, drawn from N(0, 0.02)");
  CHECK(contains(lines[2], " parameters, 2 layers of 32; 96 training and 50 dev sentences; sparsity dense; "));
  CHECK(lines[3].starts_with("step 12 (epoch 1.00): dev accuracy "));
  CHECK(lines[4].starts_with("step 24 (epoch 2.00): dev accuracy "));
  CHECK(lines[5].starts_with("best dev accuracy "));
}

TEST_CASE("on a terminal crisp-predict says which kernels compute, elsewhere nothing") {
  const Workshop at;
  REQUIRE(at.train("model", {"--epochs", "1"}).exit_code == 0);
  const ProcessOptions quiet{.input = "a good film\n"};
  ProcessOptions terminal = quiet;
  terminal.terminal = true;
  const Outcome seen = at.predict({"--model", "model", "--threads", "1", "--precision", "strict-f32"}, terminal);
  CAPTURE(seen.err);
  REQUIRE(seen.exit_code == 0);
  CHECK(contains(seen.err, "f32 products by "));
  CHECK(contains(seen.err, " kernels, 1 thread"));
  const Outcome unseen = at.predict({"--model", "model", "--threads", "1", "--precision", "strict-f32"}, quiet);
  CHECK(unseen.err.empty());
  CHECK(unseen.out == seen.out);
}

TEST_CASE("an error clears the bar first") {
  const Workshop at;
  const Outcome outcome = at.train("out", {"--learning-rate", "1e30", "--warmup-ratio", "0"},
                                   {.environment = {"TERM=xterm"}, .terminal = true});
  CHECK(outcome.exit_code == 4);
  CHECK(contains(outcome.err, "\r\x1b[Kcrisp-train: the "));
}

TEST_CASE("elsewhere it is plain lines without control characters") {
  const Workshop at;
  const Outcome outcome = at.train("out", {"--epochs", "1", "--logging-steps", "4"});
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.err.find_first_of("\r\x1b") == std::string::npos);
  std::vector<std::string> lines = lines_of(outcome.err);
  REQUIRE(lines.size() == 8);
  CHECK(lines[3].starts_with("step 4/12  epoch 0.33/1  loss 0."));
  CHECK(lines[4].starts_with("step 8/12  epoch 0.67/1  loss 0."));
  CHECK(lines[5].starts_with("step 12/12  epoch 1.00/1  loss 0."));
}

}  // namespace
}  // namespace crisp::test
