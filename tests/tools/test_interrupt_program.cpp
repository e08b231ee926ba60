// Runs that are cut off in every way, and then go on as if nothing had happened.
#include <csignal>
#include <random>

#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

// A line per step. About 60 of them fit into the pipe, so a run that is told to stop after N lines stops before line
// N + 70 or so of its 300.
const Words long_run{"--epochs", "25", "--logging-steps", "1", "--eval-steps", "40", "--sparsity", "0.8"};
const Words accumulating{"--epochs",        "50", "--batch-size", "4",  "--gradient-accumulation-steps", "4",
                         "--logging-steps", "1",  "--eval-steps", "100"};
const Words resume{"--resume"};
const std::string line_of_a_step = "tokens/s";

Outcome stop(const Workshop& at, const std::string& output, const Words& words, int lines, int number,
             useconds_t pause = 0) {
  Process process(at.train_command(output, words), at.here());
  REQUIRE(process.wait_for_error(line_of_a_step, lines));
  ::usleep(pause);
  process.signal(number);
  return process.wait();
}

TEST_CASE("Ctrl-C and SIGTERM save a checkpoint from which the run goes on to the same bytes") {
  const Workshop at;
  const Outcome whole = at.train("whole", long_run);
  REQUIRE(whole.exit_code == 0);

  const Outcome first = stop(at, "cut", long_run, 25, SIGINT);
  CAPTURE(first.err);
  CHECK(first.exit_code == 130);
  CHECK_FALSE(first.killed);
  CHECK(contains(first.err, "interrupted: saving a checkpoint"));
  CHECK(contains(first.err, "of 300; the checkpoint is in cut; add --resume to go on\n"));
  REQUIRE(at.checkpoints("cut").size() >= 1);
  // A checkpoint is a model, too.
  CHECK(at.predict({"--model", "cut/" + at.checkpoints("cut").front(), "dev.tsv"}).exit_code == 0);

  const Outcome second = stop(at, "cut", long_run + resume, 60, SIGTERM);
  CAPTURE(second.err);
  CHECK(second.exit_code == 143);
  CHECK_FALSE(second.killed);
  CHECK(contains(second.err, "resuming from cut/checkpoint-"));

  const Outcome last = at.train("cut", long_run + resume + Words{"--threads", "2"});
  CAPTURE(last.err);
  CHECK(last.exit_code == 0);
  check_same_run(at, "whole", "cut");
}

TEST_CASE("an interruption within a gradient accumulation loses nothing") {
  const Workshop at;
  REQUIRE(at.train("whole", accumulating).exit_code == 0);
  int within = 0;
  std::mt19937 random(1);
  // A signal lands between the micro-steps of a step about three times out of four.
  for (int i = 0; i < 4 || (i < 20 && within == 0); ++i) {
    const Outcome outcome = stop(at, "cut", accumulating + (i > 0 ? resume : Words{}), 2, SIGINT, random() % 20'000);
    if (outcome.exit_code == 0) break;
    CAPTURE(i, outcome.err);
    REQUIRE(outcome.exit_code == 130);
    int64_t newest = -1, accumulated = 0;
    for (const std::string& name : at.checkpoints("cut")) {
      const json state = at.read_json("cut/" + name + "/trainer_state.json");
      if (state["step"] > newest) newest = state["step"], accumulated = state["accumulated"];
    }
    within += accumulated > 0;
  }
  CHECK(within > 0);
  REQUIRE(at.train("cut", accumulating + resume).exit_code == 0);
  check_same_run(at, "whole", "cut");
}

TEST_CASE("a run that is killed again and again ends with the same bytes") {
  const Workshop at;
  const Words words = long_run + Words{"--save-steps", "15"};
  REQUIRE(at.train("whole", words).exit_code == 0);
  std::mt19937 random(1);
  int kills = 0;
  for (int i = 0; i < 5; ++i) {
    Process process(at.train_command("cut", words + resume), at.here());
    if (!process.wait_for_error(line_of_a_step, 5 + static_cast<int>(random() % 30))) break;
    ::usleep(random() % 20'000);
    process.signal(SIGKILL);
    kills += process.wait().killed;
  }
  CHECK(kills >= 2);
  const Outcome last = at.train("cut", words + resume);
  CAPTURE(last.err);
  CHECK(last.exit_code == 0);
  check_same_run(at, "whole", "cut");
  for (const std::string& name : names_in(at / "cut")) CHECK_FALSE(name.starts_with('.'));  // nothing half-written
}

TEST_CASE("a run that died between its checkpoint and the best model writes that model when it is resumed") {
  const Workshop at;
  const Words one_epoch{"--epochs", "1"};
  REQUIRE(at.train("whole", one_epoch).exit_code == 0);
  REQUIRE(at.train("cut", one_epoch).exit_code == 0);
  for (const char* name : {"cut/model.safetensors", "cut/dev_predictions.jsonl", "cut/all_results.json"})
    std::filesystem::remove(at / name);
  const Outcome resumed = at.train("cut", one_epoch + resume);
  CAPTURE(resumed.err);
  CHECK(resumed.exit_code == 0);
  check_same_run(at, "whole", "cut");
}

TEST_CASE("a second Ctrl-C loses nothing of what the first promised") {
  const Workshop at;
  REQUIRE(at.train("whole", long_run).exit_code == 0);
  Process process(at.train_command("cut", long_run), at.here());
  REQUIRE(process.wait_for_error(line_of_a_step, 3));
  process.wait_until_stuck();  // so that both come before it has saved
  process.signal(SIGINT);
  process.signal(SIGINT);
  const Outcome outcome = process.wait();
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 130);
  CHECK_FALSE(at.checkpoints("cut").empty());
  CHECK(at.train("cut", long_run + resume).exit_code == 0);
  check_same_run(at, "whole", "cut");
}

TEST_CASE("a run whose progress nobody reads saves and ends when it is told to") {
  const Workshop at;
  Process process(at.train_command("out", long_run + Words{"--eval-steps", "200"}), at.here());
  process.wait_until_stuck();
  REQUIRE(at.checkpoints("out").empty());
  process.signal(SIGTERM);
  while (at.checkpoints("out").empty()) ::usleep(10'000);  // and nothing is read meanwhile
  CHECK(process.wait().exit_code == 143);
}

TEST_CASE("a hangup saves a checkpoint, unless it is ignored") {
  const Workshop at;
  REQUIRE(at.train("whole", long_run).exit_code == 0);
  const Outcome hung_up = stop(at, "cut", long_run, 25, SIGHUP);
  CAPTURE(hung_up.err);
  CHECK(hung_up.exit_code == 129);
  CHECK_FALSE(hung_up.killed);

  Process process(Words{"sh", "-c", "trap '' HUP; exec \"$@\"", "sh"} + at.train_command("cut", long_run + resume),
                  at.here());
  REQUIRE(process.wait_for_error(line_of_a_step, 3));
  process.signal(SIGHUP);
  const Outcome outcome = process.wait();
  CHECK(outcome.exit_code == 0);
  check_same_run(at, "whole", "cut");
}

TEST_CASE("a signal before there is anything to save ends the run at once and leaves nothing") {
  const Workshop at;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    // The pipe is full, so that it waits with its first message before it loads anything.
    Process process({"sh", "-c", "head -c 4096 /dev/zero >&2; exec \"$@\"", "sh", CRISP_TRAIN, "--output", "out"},
                    at.here());
    process.wait_until_stuck();
    process.signal(SIGUSR1);
    process.signal(number);
    const Outcome outcome = process.wait();
    CHECK(outcome.exit_code == 128 + number);
    CHECK_FALSE(contains(outcome.err, "checkpoint"));
    CHECK_FALSE(at.has("out"));
  }
}

TEST_CASE("resuming starts afresh where there is nothing to resume") {
  const Workshop at;
  const Outcome outcome = at.train("out", resume);
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK_FALSE(contains(outcome.err, "resuming"));
  REQUIRE(at.train("plain").exit_code == 0);
  check_same_run(at, "plain", "out");
}

TEST_CASE("a damaged checkpoint is passed over for the one before it") {
  const Workshop at;
  // A rate this small changes no prediction: the first evaluation stays the best, and its checkpoint is kept.
  const Words words = long_run + Words{"--learning-rate", "1e-12"};
  REQUIRE(at.train("whole", words).exit_code == 0);
  REQUIRE(stop(at, "cut", words, 90, SIGINT).exit_code == 130);
  std::string newest;
  int64_t step = -1;
  for (const std::string& name : at.checkpoints("cut"))
    if (std::stoll(name.substr(11)) > step) step = std::stoll(name.substr(11)), newest = name;
  REQUIRE(at.checkpoints("cut").size() == 2);
  std::string bytes = at.read("cut/" + newest + "/optimizer.safetensors");
  bytes[bytes.size() / 2] ^= 1;
  at.write("cut/" + newest + "/optimizer.safetensors", bytes);
  const Outcome outcome = at.train("cut", words + resume);
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(contains(outcome.err,
                 "passing over a damaged checkpoint: cut/" + newest + ": optimizer.safetensors has been altered\n"));
  check_same_run(at, "whole", "cut");
}

TEST_CASE("a disk that fills up costs no checkpoint") {
  const Workshop at;
  REQUIRE(at.train("whole", long_run).exit_code == 0);
  REQUIRE(stop(at, "cut", long_run, 50, SIGINT).exit_code == 130);
  const std::vector<std::string> before = at.checkpoints("cut");
  // The model is larger than that, metrics.jsonl is not.
  const Outcome full = at.train("cut", long_run + resume, {.largest_file = 100'000});
  CAPTURE(full.err);
  CHECK(full.exit_code == 1);
  CHECK_FALSE(full.killed);
  CHECK(contains(full.err, "model.safetensors: cannot be written: File too large"));
  CHECK(at.checkpoints("cut") == before);
  for (const std::string& name : names_in(at / "cut")) CHECK_FALSE(name.starts_with('.'));
  CHECK(at.predict({"--model", "cut", "dev.tsv"}).exit_code == 0);
  REQUIRE(at.train("cut", long_run + resume).exit_code == 0);
  check_same_run(at, "whole", "cut");
}

TEST_CASE("nobody has to read the progress") {
  const Workshop at;
  const Outcome outcome = at.start(Words{"sh", "-c", "\"$@\" 2>&1 | head -n 1; test -f out/all_results.json", "sh"} +
                                   at.train_command("out", long_run));
  CHECK(outcome.exit_code == 0);
}

}  // namespace
}  // namespace crisp::test
