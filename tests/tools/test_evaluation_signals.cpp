// Signals that come while a run evaluates: it is cut, and done again by the run that goes on.
#include <csignal>

#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

// A line of progress a sentence: the pipe takes about 120 of them, so whoever is told to stop after 20 of 600 has not
// come to the end.
class LongEvaluations : public Workshop {
 public:
  LongEvaluations() {
    for (const char* name : {"train.tsv", "dev.tsv"}) {
      const std::vector<std::string> sample = lines_of(read(name));
      std::string text = sample[0] + "\n";
      for (size_t i = 0; i < 600; ++i) text += sample[1 + i % 40] + "\n";
      write(name, text);
    }
  }
};

const Words long_evaluations{"--batch-size",      "64", "--epochs",     "2",   "--logging-steps",  "1",
                             "--eval-batch-size", "1",  "--eval-train", "600", "--selection-part", "0.4"};
const Words resume{"--resume"};

int64_t evaluations(const Workshop& at, const std::string& output) {
  const std::vector<json> lines = at.metrics(output);
  return std::count_if(lines.begin(), lines.end(), [](const json& line) { return line.contains("eval_loss"); });
}

TEST_CASE("an evaluation that is interrupted is done again by the resumed run, to the same bytes") {
  const LongEvaluations at;
  const Outcome whole = at.train("whole", long_evaluations);
  CAPTURE(whole.err);
  REQUIRE(whole.exit_code == 0);
  REQUIRE(evaluations(at, "whole") == 2);
  struct Cut {
    const char* during;
    int signal;
    int64_t evaluations;  // that metrics.jsonl has then
  };
  // Each goes on from the one before. The evaluations after each of two epochs, on both sets, and at the end the one on
  // training sentences; there the resumed run evaluates the best model first, to write what the one before may not have
  // written.
  const Cut cuts[] = {{"evaluating dev 20/600", SIGTERM, 0},
                      {"evaluating dev 30/600", SIGINT, 0},
                      {"evaluating the part for choosing 20/240", SIGHUP, 0},
                      {"epoch 2.00/2", SIGTERM, 1},
                      {"evaluating dev 20/600", SIGTERM, 1},
                      {"evaluating training sentences 20/360", SIGTERM, 2}};
  Words words = long_evaluations;
  for (const Cut& cut : cuts) {
    CAPTURE(cut.during, cut.signal);
    Process process(at.train_command("cut", words), at.here());
    REQUIRE(process.wait_for_error(cut.during));
    process.signal(cut.signal);
    const Outcome outcome = process.wait();
    CAPTURE(outcome.err);
    CHECK(outcome.exit_code == 128 + cut.signal);
    CHECK(evaluations(at, "cut") == cut.evaluations);
    CHECK(contains(outcome.err, "the checkpoint is in cut; add --resume to go on\n"));
    words = long_evaluations + resume;
  }
  const Outcome last = at.train("cut", words);
  CAPTURE(last.err);
  CHECK(last.exit_code == 0);
  check_same_run(at, "whole", "cut");
}

TEST_CASE("SIGUSR1 saves a checkpoint at once, in training and in an evaluation, and the run goes on") {
  const LongEvaluations at;
  REQUIRE(at.train("whole", long_evaluations).exit_code == 0);
  Words words = long_evaluations;
  for (const std::string during : {"step 3/", "evaluating dev 20/600"}) {
    CAPTURE(during);
    Process process(at.train_command("cut", words), at.here());
    REQUIRE(process.wait_for_error(during));
    process.signal(SIGUSR1);
    REQUIRE(process.wait_for_error("SIGUSR1: the checkpoint of step "));
    process.signal(SIGKILL);
    const Outcome outcome = process.wait();
    CAPTURE(outcome.err);
    CHECK(outcome.killed);
    CHECK(at.checkpoints("cut").size() == 1);
    CHECK(evaluations(at, "cut") == 0);
    words = long_evaluations + resume;
  }
  Process process(at.train_command("cut", words), at.here());
  REQUIRE(process.wait_for_error("evaluating dev 20/600"));
  process.signal(SIGUSR1);
  const Outcome last = process.wait();
  CAPTURE(last.err);
  CHECK(contains(last.err, "resuming from cut/checkpoint-"));
  CHECK(contains(last.err, "SIGUSR1: the checkpoint of step "));
  CHECK(last.exit_code == 0);
  check_same_run(at, "whole", "cut");
}

TEST_CASE("an evaluation of a model as it is can be interrupted, too") {
  const LongEvaluations at;
  const Words as_it_is = long_evaluations + Words{"--epochs", "0"};
  REQUIRE(at.train("whole", as_it_is).exit_code == 0);
  Process process(at.train_command("cut", as_it_is), at.here());
  REQUIRE(process.wait_for_error("evaluating dev 20/600"));
  process.signal(SIGTERM);
  CHECK(process.wait().exit_code == 143);
  CHECK(evaluations(at, "cut") == 0);
  const Outcome resumed = at.train("cut", as_it_is + resume + Words{"--keep-checkpoints", "off"});
  CAPTURE(resumed.err);
  CHECK(resumed.exit_code == 0);
  check_same_run(at, "whole", "cut");
}

}  // namespace
}  // namespace crisp::test
