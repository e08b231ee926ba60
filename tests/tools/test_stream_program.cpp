// Every program with standard streams that are closed, full or without a reader: the exit code is what it would be, but
// where results are lost.
#include <fmt/format.h>

#include <sys/stat.h>

#include <csignal>

#include "tests/tools/studio.h"

namespace crisp::test {
namespace {

enum class Out { works, full, broken };

struct Streams {
  std::string redirections;  // of a shell; $fifo is a pipe that nobody reads
  Out out = Out::works;
};

// A pipe without a reader for descriptor N: opened for both, then for writing, then the first is closed.
const Streams states[] = {{"<&-"},
                          {">&-"},
                          {"2>&-"},
                          {"<&- >&- 2>&-"},
                          {"2>/dev/full"},
                          {"3<>fifo 2>fifo 3>&-"},
                          {">/dev/full", Out::full},
                          {">/dev/full 2>/dev/full", Out::full},
                          {">/dev/full 2>&-", Out::full},
                          {"3<>fifo >fifo 3>&-", Out::broken},
                          {"3<>fifo >fifo 2>fifo 3>&-", Out::broken}};

struct Case {
  Words command;
  int exit_code = 0;
  bool has_results = false;  // on standard output
};

Outcome with_streams(const Workshop& at, const Words& command, const std::string& redirections) {
  if (!at.has("fifo")) REQUIRE(::mkfifo((at / "fifo").c_str(), 0600) == 0);
  return at.start(Words{"sh", "-c", "exec " + redirections + "; exec \"$@\"", "sh"} + command);
}

void check(const Workshop& at, const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    for (const Streams& streams : states) {
      const Outcome outcome = with_streams(at, c.command, streams.redirections);
      CAPTURE(c.command, streams.redirections, outcome.err);
      const bool lost = c.has_results && c.exit_code == 0;
      const bool ends_as_a_filter = lost && streams.out == Out::broken;
      CHECK(outcome.killed == ends_as_a_filter);
      CHECK(outcome.exit_code == (ends_as_a_filter                   ? 128 + SIGPIPE
                                  : lost && streams.out == Out::full ? 1
                                                                     : c.exit_code));
      if (streams.redirections == ">/dev/full" && lost)
        CHECK(contains(outcome.err, ": standard output could not be written"));
      if (ends_as_a_filter) CHECK_FALSE(contains(outcome.err, "standard output"));
    }
  }
}

TEST_CASE("crisp-train trains whatever its standard streams are, and its log stays a log") {
  const Workshop at;
  const Words train = at.train_command("out", {"--epochs", "1", "--logging-steps", "1", "--overwrite"});
  for (const Streams& streams : states) {
    const Outcome outcome = with_streams(at, train, streams.redirections);
    CAPTURE(streams.redirections, outcome.err);
    CHECK(outcome.exit_code == 0);
    CHECK(at.metrics("out").size() == 13);
  }
  check(at, {{{CRISP_TRAIN, "--help"}, 0, true},
             {{CRISP_TRAIN, "--no-such-option"}, 2},
             {at.train_command("new", {"--data", "nowhere"}), 3}});
}

TEST_CASE("crisp-predict fails when its results are lost, and for no other stream") {
  const Workshop at;
  REQUIRE(at.train("model", {"--epochs", "0"}).exit_code == 0);
  const Words predict{CRISP_PREDICT, "--threads", "1", "--model", "model"};
  check(at, {{predict + Words{"dev.tsv"}, 0, true},
             {{CRISP_PREDICT, "--help"}, 0, true},
             {{CRISP_PREDICT, "--no-such-option"}, 2},
             {predict + Words{"no-such-file"}, 3}});
  const Outcome nothing = with_streams(at, predict, "<&-");
  CHECK(nothing.exit_code == 0);
  CHECK(nothing.out.empty());
  CHECK(nothing.err.empty());
}

TEST_CASE("crisp-bench and crisp-study fail when their results are lost, and for no other stream") {
  const Workshop at;
  at.write("bad.json", "[");
  check(
      at,
      {{{CRISP_BENCH, "machine", "--megabytes", "1", "--threads", "1", "--samples", "3", "--seconds", "0.01"}, 0, true},
       {{CRISP_BENCH, "--help"}, 0, true},
       {{CRISP_BENCH, "machine", "--no-such-option"}, 2},
       {{CRISP_BENCH, "step", "--init", "bad.json", "--data", ".", "--vocab", "vocab.txt"}, 3},
       {{CRISP_STUDY, "crisp", "--show"}, 0, true},
       {{CRISP_STUDY, "--help"}, 0, true},
       {{CRISP_STUDY, "--no-such-option"}, 2},
       {{CRISP_STUDY, "bad.json"}, 3}});
}

TEST_CASE("a study is done and reported whatever its standard streams are") {
  const Studio at;
  for (const auto& [redirections, exit_code] :
       {std::pair<std::string, int>{"<&- >&- 2>&-", 0}, {">/dev/full 2>/dev/full", 1}}) {
    const std::string output = fmt::format("out-{}", exit_code);
    const Outcome outcome = with_streams(at, at.command(output), redirections);
    CAPTURE(redirections);
    CHECK(outcome.exit_code == exit_code);
    CHECK(at.has(output + "/report.html"));
    for (const std::string& run : runs) {
      const std::string directory = output + "/" + run;
      CAPTURE(run, at.read(directory + ".log"));
      CHECK(at.status(directory) == "complete");
      CHECK(at.metrics(directory).size() >= 1);
      CHECK(contains(at.read(directory + ".log"), "dev accuracy"));  // the child's messages are where they belong
    }
  }
}

}  // namespace
}  // namespace crisp::test
