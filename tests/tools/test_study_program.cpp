// crisp-study as a user starts it: every run once, whatever interrupts it.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

const Words runs{"runs/dense/seed-0", "runs/dense/seed-1", "runs/sparse/seed-0", "runs/sparse/seed-1"};

class Studio : public Workshop {
 public:
  Studio() {
    write("study.json", R"({
      "seeds": 2, // a comment
      "options": {"init": "config.json", "vocab": "vocab.txt", "max-length": 64, "batch-size": 8, "lr": 0.003},
      "arms": [{"name": "dense"}, {"name": "sparse", "options": {"sparsity": 0.8}}]
    })");
  }

  static Words command(const std::string& output, const Words& more = {}) {
    return Words{CRISP_STUDY, "study.json", "--data", ".", "--threads", "1", "--output", output} + more;
  }
  Outcome study(const std::string& output, const Words& more = {}) const { return start(command(output, more)); }

  /// How often each run was started.
  std::vector<size_t> starts(const std::string& output) const {
    std::vector<size_t> counts;
    for (const std::string& run : runs) {
      const std::vector<std::string> lines = lines_of(read(output + "/" + run + ".log"));
      counts.push_back(static_cast<size_t>(
          std::count_if(lines.begin(), lines.end(), [](const auto& line) { return line.starts_with("== "); })));
    }
    return counts;
  }
  std::string status(const std::string& run) const { return read_json(run + "/study_status.json")["status"]; }
};

// What tells whether a file has been written again.
std::pair<ino_t, int64_t> identity(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return {status.st_ino, status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
}

// The results but for what a clock decides.
void check_same_results(const Studio& at, const std::string& a, const std::string& b) {
  for (const std::string& run : runs) {
    CAPTURE(run);
    const std::string in_a = a + "/" + run, in_b = b + "/" + run;
    CHECK(at.read(in_a + "/dev_predictions.jsonl") == at.read(in_b + "/dev_predictions.jsonl"));
    CHECK(at.timeless_metrics(in_a) == at.timeless_metrics(in_b));
  }
}

TEST_CASE("a study trains every arm with every seed, and never twice") {
  const Studio at;
  const Outcome outcome = at.study("out");
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(contains(outcome.err, "study study: 2 arms, 2 seeds: 4 runs, 0 done already; in out\n"));
  CHECK(contains(outcome.err, "run 4 of 4: sparse, seed 1: "));
  CHECK(outcome.out.starts_with("dense "));
  CHECK(outcome.out.ends_with("out/report.html, results.json, runs.csv\n"));
  CHECK(at.has("out/report.html"));
  CHECK(lines_of(at.read("out/runs.csv")).size() == 5);
  std::vector<std::pair<ino_t, int64_t>> files;
  for (const std::string& run : runs) {
    CAPTURE(run);
    const std::string directory = "out/" + run;
    CHECK(at.status(directory) == "complete");
    CHECK_FALSE(at.has(directory + "/model.safetensors"));
    CHECK(at.checkpoints(directory).empty());
    CHECK_FALSE(at.has(directory + ".lock"));
    const json results = at.read_json(directory + "/all_results.json");
    CHECK(results["settings"]["select"] == "last");
    CHECK(results["train_eval_total"] == 96);
    CHECK(at.read(directory + "/dev_predictions.jsonl").size() > 0);
    for (const char* name : {"/all_results.json", "/metrics.jsonl", "/study_status.json"})
      files.push_back(identity(at / (directory + name)));
  }
  // The same as crisp-train alone.
  REQUIRE(at.train("alone", {"--seed", "1", "--sparsity", "0.8", "--select", "last"}).exit_code == 0);
  CHECK(at.read("alone/dev_predictions.jsonl") == at.read("out/runs/sparse/seed-1/dev_predictions.jsonl"));

  const Outcome again = at.study("out");
  CHECK(again.exit_code == 0);
  CHECK(contains(again.err, "4 runs, 4 done already; in out\n"));
  CHECK(again.out == outcome.out);
  std::vector<std::pair<ino_t, int64_t>> files_again;
  for (const std::string& run : runs)
    for (const char* name : {"/all_results.json", "/metrics.jsonl", "/study_status.json"})
      files_again.push_back(identity(at / ("out/" + run + name)));
  CHECK(files == files_again);
  CHECK(at.starts("out") == std::vector<size_t>{1, 1, 1, 1});

  // From the file that it wrote itself, from elsewhere, with another seed.
  std::filesystem::create_directory(at / "elsewhere");
  ProcessOptions elsewhere;
  elsewhere.working_directory = at / "elsewhere";
  const Outcome more = run({CRISP_STUDY, "../out/study.json", "--output", "../out", "--seeds", "3"}, elsewhere);
  CAPTURE(more.err);
  CHECK(more.exit_code == 0);
  CHECK(contains(more.err, "6 runs, 4 done already"));
  CHECK(at.status("out/runs/sparse/seed-2") == "complete");
  CHECK(at.starts("out") == std::vector<size_t>{1, 1, 1, 1});
}

TEST_CASE("models stay where they are wanted, and a run done by hand is taken over") {
  const Studio at;
  REQUIRE(at.train("out/runs/dense/seed-0",
                   {"--seed", "0", "--select", "last", "--eval-train", "1000", "--keep-checkpoints", "off"})
              .exit_code == 0);
  const std::string results = at.read("out/runs/dense/seed-0/all_results.json");
  const Outcome outcome = at.study("out", {"--keep-models", "on"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(at.read("out/runs/dense/seed-0/all_results.json") == results);
  for (const std::string& name : runs) CHECK(at.has("out/" + name + "/model.safetensors"));
}

TEST_CASE("processes that share a directory do every run once") {
  const Studio at;
  REQUIRE(at.study("alone").exit_code == 0);
  {
    Process a(Studio::command("out"), at.here()), b(Studio::command("out", {"--jobs", "2"}), at.here());
    const Outcome of_b = b.wait(), of_a = a.wait();
    CAPTURE(of_a.err, of_b.err);
    CHECK(of_a.exit_code == 0);
    CHECK(of_b.exit_code == 0);
    CHECK(of_a.out == of_b.out);  // each waits for the other's runs
  }
  CHECK(at.starts("out") == std::vector<size_t>{1, 1, 1, 1});
  check_same_results(at, "alone", "out");

  // Shards divide them.
  const Outcome first = at.study("shards", {"--shard", "1/2"});
  CAPTURE(first.err);
  CHECK(first.exit_code == 0);
  CHECK(contains(first.err, "2 runs of shard 1/2, 0 done already"));
  CHECK_FALSE(at.has("shards/runs/sparse/seed-0.log"));
  CHECK(at.study("shards", {"--shard", "2/2"}).exit_code == 0);
  CHECK(at.starts("shards") == std::vector<size_t>{1, 1, 1, 1});
}

// Lets one run write its progress into a pipe that nobody reads, so that it stops in the middle, whatever the machine's
// speed, until drain() is called.
class Dam {
 public:
  explicit Dam(const Studio& at) : path_(at / "dam") {
    REQUIRE(::mkfifo(path_.c_str(), 0600) == 0);
    fd_ = ::open(path_.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    REQUIRE(fd_ >= 0);
    (void)::fcntl(fd_, F_SETPIPE_SZ, 4096);
    // The first start of sparse, seed 0.
    at.write("dammed",
             std::string("#!/bin/sh\ncase \"$*\" in *sparse/seed-0*) if mkdir once 2> /dev/null; then exec ") +
                 CRISP_TRAIN + " \"$@\" 2> dam; fi;; esac\nexec " + CRISP_TRAIN + " \"$@\"\n");
    std::filesystem::permissions(at / "dammed", std::filesystem::perms::owner_all);
  }
  ~Dam() {
    open_ = false;
    if (reader_.joinable()) reader_.join();
    ::close(fd_);
  }
  void wait_until_full() const {
    for (int before = -1;;) {
      int waiting = 0;
      ::ioctl(fd_, FIONREAD, &waiting);
      if (waiting > 4096 - 200 && waiting == before) return;
      before = waiting;
      ::usleep(10'000);
    }
  }
  void drain() {
    reader_ = std::thread([this] {
      char buffer[4096];
      while (open_) {
        struct pollfd ready {
          fd_, POLLIN, 0
        };
        if (::poll(&ready, 1, 10) > 0 && ::read(fd_, buffer, sizeof buffer) < 0) return;
      }
    });
  }

 private:
  std::string path_;
  int fd_ = -1;
  std::atomic<bool> open_{true};
  std::thread reader_;
};

const Words long_runs{"--epochs", "12", "--logging-steps", "1", "--eval-steps", "40"};

TEST_CASE("a study that is interrupted goes on where it stopped, to the same results") {
  const int number = GENERATE(SIGINT, SIGTERM);
  const Studio at;
  REQUIRE(at.study("whole", long_runs).exit_code == 0);
  Dam dam(at);
  const Words dammed = long_runs + Words{"--crisp-train", "./dammed"};
  {
    Process process(Studio::command("cut", dammed), at.here());
    REQUIRE(process.wait_for_error("sparse, seed 0: started"));
    dam.wait_until_full();
    process.signal(number);
    REQUIRE(process.wait_for_error("waiting for 1 run to save a checkpoint"));
    dam.drain();
    const Outcome outcome = process.wait();
    CAPTURE(outcome.err);
    CHECK(outcome.exit_code == 128 + number);
    CHECK(contains(outcome.err, "1 of 4 runs are done; start again to go on\n"));
  }
  CHECK(at.status("cut/runs/dense/seed-0") == "complete");
  CHECK(at.status("cut/runs/sparse/seed-0") == "interrupted");
  CHECK_FALSE(at.checkpoints("cut/runs/sparse/seed-0").empty());
  const auto before = identity(at / "cut/runs/dense/seed-0/all_results.json");

  const Outcome rest = at.study("cut", dammed);
  CAPTURE(rest.err);
  CHECK(rest.exit_code == 0);
  CHECK(contains(at.read("cut/runs/sparse/seed-0.log"), "resuming from "));
  CHECK(identity(at / "cut/runs/dense/seed-0/all_results.json") == before);
  CHECK(at.starts("cut") == std::vector<size_t>{1, 1, 2, 1});
  check_same_results(at, "whole", "cut");
}

TEST_CASE("the runs of a study that was killed are taken up by another") {
  const Studio at;
  REQUIRE(at.study("whole", long_runs).exit_code == 0);
  Dam dam(at);
  const Words dammed = long_runs + Words{"--crisp-train", "./dammed"};
  Process first(Studio::command("cut", dammed), at.here());
  REQUIRE(first.wait_for_error("sparse, seed 0: started"));
  dam.wait_until_full();
  Process second(Studio::command("cut", dammed), at.here());
  REQUIRE(second.wait_for_error("1 run is in the hands of other processes: waiting"));
  first.signal(SIGKILL);  // its child is asked to save and end, and keeps the lock until it has
  dam.drain();
  const Outcome outcome = second.wait();
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(at.starts("cut") == std::vector<size_t>{1, 1, 2, 1});
  check_same_results(at, "whole", "cut");
}

TEST_CASE("a run that diverges is recorded and left alone, one that fails is tried again") {
  const Studio at;
  at.write("study.json", R"({
    "seeds": 1, "options": {"init": "config.json", "vocab": "vocab.txt", "max-length": 64, "epochs": 1},
    "arms": [{"name": "dense"}, {"name": "wild", "options": {"lr": 1e30, "warmup-ratio": 0}},
             {"name": "broken", "options": {"train": "nowhere.tsv"}}]
  })");
  const Outcome outcome = at.study("out");
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(contains(outcome.err, "wild, seed 0: DIVERGED (exit code 4): the loss is nan at step 2; the first tensor"));
  CHECK(contains(outcome.err, "nowhere.tsv: cannot be opened"));
  CHECK(contains(outcome.out, "diverged  mean -"));
  const json wild = at.read_json("out/runs/wild/seed-0/study_status.json");
  CHECK(wild["status"] == "diverged");
  CHECK(wild["exit_code"] == 4);
  CHECK(at.has("out/runs/wild/seed-0/metrics.jsonl"));
  CHECK(at.status("out/runs/broken/seed-0") == "failed");

  const Outcome again = at.study("out");
  CHECK(again.exit_code == 1);
  CHECK_FALSE(contains(again.err, "wild"));
  CHECK(contains(again.err, "run 3 of 3: broken, seed 0: FAILED"));
  at.write("nowhere.tsv", at.read("train.tsv"));
  CHECK(at.study("out").exit_code == 0);
  CHECK(at.status("out/runs/broken/seed-0") == "complete");
}

TEST_CASE("a dry run lists the runs with an estimate, and does none") {
  const Studio at;
  const Outcome dry = at.study("out", {"--dry-run", "--jobs", "2"});
  CAPTURE(dry.err);
  REQUIRE(dry.exit_code == 0);
  CHECK(contains(dry.err, "no run is finished: measuring a few steps\n"));
  const std::vector<std::string> lines = lines_of(dry.out);
  REQUIRE(lines.size() == 5);
  CHECK(contains(lines[1], "sparse"));
  CHECK(contains(lines[1], "missing"));
  CHECK(contains(lines[4], "4 runs, 4 to do: about "));
  CHECK(contains(lines[4], "with 2 at a time (from 20 steps of the arm dense, measured now)"));
  CHECK_FALSE(at.has("out"));

  REQUIRE(at.study("out", {"--report"}).exit_code == 0);  // before there is anything to tell
  CHECK(at.has("out/report.html"));
  CHECK_FALSE(at.has("out/runs"));
  REQUIRE(at.study("out", {"--seeds", "1"}).exit_code == 0);
  const Outcome after = at.study("out", {"--dry-run"});
  CHECK(after.err.empty());
  CHECK(contains(after.out, "complete"));
  CHECK(contains(after.out, "4 runs, 2 to do: about "));
  CHECK(contains(after.out, "(from 2 finished runs)"));
  for (const std::string& name : names_in(at / ".")) CHECK_FALSE(name.starts_with('.'));
}

TEST_CASE("what crisp-study refuses, before anything runs") {
  const Studio at;
  const auto refused = [&](const Words& words, int exit_code, const std::string& message) {
    const Outcome outcome = at.start(Words{CRISP_STUDY} + words);
    CAPTURE(words, outcome.err);
    CHECK(outcome.exit_code == exit_code);
    CHECK(contains(outcome.err, "crisp-study: " + message));
    CHECK_FALSE(at.has("study"));
  };
  refused({}, 2, "which study? One of crisp, breaking-bert, or a file");
  refused({"nope"}, 3, "nope: cannot be read; a study is a file or one of crisp, breaking-bert");
  refused({"crisp", "--sparsty", "0.8"}, 2, "there is no option --sparsty; did you mean --sparsity?");
  refused({"crisp", "--sparsity", "0.5"}, 2, "--sparsity: every arm of crisp sets it itself");
  refused({"crisp", "--seed", "5"}, 2, "--seed: a study has several; give --seeds");
  refused({"crisp", "--seeds", "0"}, 2, "--seeds: 0 seeds");
  refused({"crisp", "--overwrite"}, 2, "--overwrite: a study is never overwritten");
  refused({"crisp", "--crisp-train", "vocab.txt"}, 2, "vocab.txt: is no program");
  refused({"crisp", "--data", "."}, 2, "no weights for the arm dense: give --weights FILE|DIR, or --init");
  refused({"crisp", "--init", "config.json"}, 2, "no data for the arm dense: give --data DIR");
  refused({"crisp", "--data", "nowhere", "--init", "config.json"}, 3, "");
  refused({"crisp", "--data", ".", "--weights", "nowhere"}, 3, "");
  for (const char* shard : {"0/2", "3/2", "x", "1", "1/2x", "/2", "1/"})
    refused({"crisp", "--shard", shard}, 2, fmt::format("--shard: must be I/N with I from 1 to N, not '{}'", shard));
  const auto file = [&](const std::string& options, const std::string& message) {
    at.write("bad.json", R"({"seeds": 1, "arms": [{"name": "a", "options": )" + options + "}]}");
    refused({"bad.json"}, 3, "bad.json: arm 'a': " + message);
  };
  file(R"({"sparsty": 0.8})", "there is no option --sparsty; did you mean --sparsity?");
  file(R"({"sparsity": 1.5})", "--sparsity: must be numbers from 0 to below 1");
  file(R"({"lr": 1, "learning_rate": 2})", "--learning-rate is there under two names");
  file(R"({"seed": 1})", "--seed is not for a study's file to say; \"seeds\" is");
  file(R"({"output_dir": "x"})", "--output is not for a study's file to say");
  file(R"({"weights": "a", "init": "b"})", "--weights: excludes --init");

  REQUIRE(at.study("out", {"--epochs", "0"}).exit_code == 0);
  const Outcome other = at.study("out", {"--epochs", "1"});
  CHECK(other.exit_code == 2);
  CHECK(contains(other.err, "crisp-study: out: holds this study with other options:\n  --epochs: 0 there, 1 now\n"));
}

TEST_CASE("a preset can be shown and used as a file") {
  const Studio at;
  const Outcome shown = at.start({CRISP_STUDY, "crisp", "--show"});
  REQUIRE(shown.exit_code == 0);
  at.write("mine.json", shown.out);
  const Words more{"--init", "config.json", "--data", ".",        "--vocab", "vocab.txt", "--max-length",
                   "64",     "--seeds",     "1",      "--epochs", "1",       "--threads", "1"};
  const Outcome outcome = at.start(Words{CRISP_STUDY, "mine.json"} + more);
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(at.status("study/runs/aggressive/seed-0") == "complete");
  const Outcome preset = at.start(Words{CRISP_STUDY, "crisp"} + more);
  CHECK(preset.exit_code == 0);
  CHECK(contains(preset.err, "4 runs, 4 done already"));
  CHECK(at.start({CRISP_STUDY, "breaking-bert", "--show"}).exit_code == 0);
}

}  // namespace
}  // namespace crisp::test
