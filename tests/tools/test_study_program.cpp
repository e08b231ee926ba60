// crisp-study as a user starts it: every run once, whatever interrupts it.
#include <fmt/format.h>

#include "engine/backend.h"
#include "engine/cpu/backend.h"
#include "tests/tools/studio.h"

namespace crisp::test {
namespace {

std::string kernels_of(const Workshop& at, const std::string& output) {
  return at.read_json(output + "/all_results.json")["instruction_set"];
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

TEST_CASE("models and checkpoints stay where they are wanted") {
  const Studio at;
  REQUIRE(at.study("models", {"--keep-models", "on"}).exit_code == 0);
  REQUIRE(at.study("checkpoints", {"--keep-checkpoints", "on"}).exit_code == 0);
  for (const std::string& name : runs) {
    CHECK(at.has("models/" + name + "/model.safetensors"));
    CHECK(at.checkpoints("models/" + name).empty());
    CHECK_FALSE(at.has("checkpoints/" + name + "/model.safetensors"));
    CHECK_FALSE(at.checkpoints("checkpoints/" + name).empty());
  }
}

TEST_CASE("a run done by hand is taken over, and nothing of it is deleted") {
  const Studio at;
  const std::string by_hand = "out/runs/dense/seed-0";
  REQUIRE(at.train(by_hand, {"--seed", "0", "--select", "last", "--eval-train", "1000"}).exit_code == 0);
  const std::string results = at.read(by_hand + "/all_results.json");
  const std::vector<std::string> checkpoints = at.checkpoints(by_hand);
  REQUIRE_FALSE(checkpoints.empty());
  for (int start = 0; start < 2; ++start) {
    const Outcome outcome = at.study("out", {"--seeds", fmt::format("{}", start + 1)});
    CAPTURE(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK(at.read(by_hand + "/all_results.json") == results);
    CHECK(at.has(by_hand + "/model.safetensors"));
    CHECK(at.checkpoints(by_hand) == checkpoints);
    CHECK_FALSE(at.has("out/runs/sparse/seed-0/model.safetensors"));
  }
}

TEST_CASE("what a killed runner left of a file or a lock is removed, and is no run done by hand") {
  const Studio at;
  const std::string by_hand = "out/runs/dense/seed-0";
  std::filesystem::create_directories(at / by_hand);
  const Words left{by_hand + "/.study_status.json.tmp-1-0", "out/.study.json.tmp-1-0", "out/.report.html.tmp-1-0",
                   "out/.runs.csv.tmp-1-0"};
  for (const std::string& name : left) at.write(name, "half");
  REQUIRE(at.study("out", {"--seeds", "1"}).exit_code == 0);
  for (const std::string& name : left) CHECK_FALSE(at.has(name));
  CHECK_FALSE(at.has(by_hand + "/model.safetensors"));
  CHECK(at.checkpoints(by_hand).empty());
  at.write(by_hand + ".lock", "");
  REQUIRE(at.study("out", {"--seeds", "1"}).exit_code == 0);
  CHECK_FALSE(at.has(by_hand + ".lock"));
}

TEST_CASE("runs on other data are not counted among those of a study") {
  const Studio at;
  REQUIRE(at.study("out", {"--seeds", "1"}).exit_code == 0);
  const std::string train = at.read("train.tsv");
  at.write("train.tsv", train + "one more\t1\n");
  const Outcome other = at.study("out");
  CAPTURE(other.err);
  CHECK(other.exit_code == 3);
  CHECK(contains(other.err, "crisp-study: dense, seed 1: the training data " + at / "train.tsv" +
                                " (or what belongs to it) has changed since dense, seed 0, was trained\n"));
  CHECK(contains(other.err, "delete out/runs/dense/seed-1, or choose another --output"));
  CHECK(at.status("out/runs/dense/seed-1") == "failed");
  CHECK_FALSE(at.has("out/runs/sparse/seed-1"));
  at.write("train.tsv", train);
  std::filesystem::remove_all(at / "out/runs/dense/seed-1");
  CHECK(at.study("out").exit_code == 0);
  // An arm with data of its own is no mistake.
  at.write("other.tsv", train + "one more\t1\n");
  at.write("arms.json", R"({"seeds": 1, "options": {"init": "config.json", "vocab": "vocab.txt", "epochs": 1},
    "arms": [{"name": "a", "options": {"max-length": 64}}, {"name": "b", "options": {"max-length": 64, "train": "other.tsv"}},
             {"name": "c", "options": {"max-length": 9}}]})");
  const Outcome arms = at.start({CRISP_STUDY, "arms.json", "--data", ".", "--threads", "1", "--output", "arms"});
  CAPTURE(arms.err);
  CHECK(arms.exit_code == 0);
  CHECK(contains(arms.err, "study arms: 3 arms, 1 seed: 3 runs, 0 done already"));
}

TEST_CASE("an error over one run is that run's alone") {
  const Studio at;
  std::filesystem::create_directories(at / "out/runs");
  at.write("out/runs/dense", "no directory");
  const Outcome outcome = at.study("out", {"--jobs", "2", "--threads", "2"});
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(contains(outcome.err, "dense, seed 0: FAILED (exit code 1): "));
  CHECK(at.status("out/runs/sparse/seed-0") == "complete");
  CHECK(at.status("out/runs/sparse/seed-1") == "complete");
}

TEST_CASE("processes of one time try a run that had failed once more, not each of them") {
  const Studio at;
  // Fails, once the file "go" is there.
  at.write("failing", std::string("#!/bin/sh\ncase \"$*\" in *sparse/seed-0*) while ! [ -e go ]; do sleep 0.01; done; "
                                  "exit 1;; esac\nexec ") +
                          CRISP_TRAIN + " \"$@\"\n");
  std::filesystem::permissions(at / "failing", std::filesystem::perms::owner_all);
  const Words words{"--epochs", "1", "--crisp-train", "./failing"};
  at.write("go", "");
  REQUIRE(at.study("out", words).exit_code == 1);
  std::filesystem::remove(at / "go");
  Process a(Studio::command("out", words), at.here());
  REQUIRE(a.wait_for_error("sparse, seed 0: started"));
  Process b(Studio::command("out", words), at.here());
  REQUIRE(b.wait_for_error("1 run is in the hands of other processes: waiting"));
  at.write("go", "");
  CHECK(a.wait().exit_code == 1);
  const Outcome of_b = b.wait();
  CHECK(of_b.exit_code == 1);
  CHECK(contains(of_b.err, "sparse, seed 0: FAILED"));
  CHECK(at.starts("out") == std::vector<size_t>{1, 1, 2, 1});
}

TEST_CASE("processes that share a directory do every run once") {
  const Studio at;
  REQUIRE(at.study("alone").exit_code == 0);
  {
    Process a(Studio::command("out"), at.here()),
        b(Studio::command("out", {"--jobs", "2", "--threads", "2"}), at.here());
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
  CHECK_FALSE(contains(first.err, "note: "));
  CHECK(at.starts("shards") == std::vector<size_t>{1, 0, 1, 0});  // both arms of the first seed
  CHECK(at.study("shards", {"--shard", "2/2"}).exit_code == 0);
  CHECK(at.starts("shards") == std::vector<size_t>{1, 1, 1, 1});
}

TEST_CASE("a run that diverges is recorded and left alone, one that fails is tried again") {
  const Studio at;
  at.write("study.json", R"({
    "seeds": 1, "options": {"init": "config.json", "vocab": "vocab.txt", "max-length": 64, "epochs": 1},
    "arms": [{"name": "dense"}, {"name": "wild", "options": {"lr": 1e30, "warmup-ratio": 0}},
             {"name": "broken", "options": {"train": "broken.tsv"}}]
  })");
  at.write("broken.tsv", "sentence\tlabel\na film\tgood\n");
  const Outcome outcome = at.study("out");
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(contains(outcome.err, "wild, seed 0: DIVERGED (exit code 4): the loss is nan at step 2; the first tensor"));
  CHECK(contains(outcome.err, "broken.tsv has words for labels, "));
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
  at.write("broken.tsv", at.read("train.tsv"));
  CHECK(at.study("out").exit_code == 0);
  CHECK(at.status("out/runs/broken/seed-0") == "complete");
}

TEST_CASE("more shards than seeds part a seed's arms, and say so") {
  const Studio at;
  const Words words{"--seeds", "1", "--epochs", "1"};
  const Outcome first = at.study("out", words + Words{"--shard", "1/2"});
  CAPTURE(first.err);
  CHECK(first.exit_code == 0);
  CHECK(contains(first.err, "note: 2 shards for 1 seed: arms of a seed are made on different machines"));
  CHECK(at.starts("out") == std::vector<size_t>{1, 0, 0, 0});
  CHECK(at.study("out", words + Words{"--shard", "2/2"}).exit_code == 0);
  CHECK(at.starts("out") == std::vector<size_t>{1, 0, 1, 0});
}

TEST_CASE("a dry run estimates each arm by its own options, and leaves OUTPUT alone") {
  const Studio at;
  at.write("study.json", R"({"seeds": 1, "options": {"init": "config.json", "vocab": "vocab.txt", "max-length": 64},
    "arms": [{"name": "short", "options": {"max-steps": 5}}, {"name": "long", "options": {"max-steps": 1000000000}}]})");
  std::filesystem::create_directory(at / "out");
  const auto before = identity(at / "out");
  const Outcome dry = at.study("out", {"--dry-run"});
  CAPTURE(dry.out, dry.err);
  REQUIRE(dry.exit_code == 0);
  REQUIRE(lines_of(dry.out).size() == 3);
  CHECK_FALSE(contains(lines_of(dry.out)[0], " h "));
  CHECK(contains(lines_of(dry.out)[1], " h "));  // a billion steps
  CHECK(identity(at / "out") == before);
}

TEST_CASE("a run that goes on with other kernels says so") {
  const Studio at;
  const Words words{"--epochs", "1"};
  ProcessOptions generic;
  generic.environment.emplace_back("CRISP_ISA=generic");
  REQUIRE(at.train("out", words, generic).exit_code == 0);
  const auto resumed = [&](const ProcessOptions& options) {
    std::filesystem::remove(at / "out/all_results.json");  // as if it had died just before the end
    return at.train("out", words + Words{"--resume"}, options).err;
  };
  const std::string same = resumed(generic), other = resumed({});
  CAPTURE(same, other);
  CHECK(contains(same, "resuming from "));
  CHECK_FALSE(contains(same, "kernels, and"));
  const std::string now = kernels_of(at, "out");
  if (now == "generic") CRISP_SKIP("there are no other kernels than the generic ones");
  CHECK(contains(other, "the checkpoint was written with generic kernels, and " + now +
                            " ones go on: the last bits may differ from those of an uninterrupted run\n"));
}

TEST_CASE("a run's results and its checkpoints say with one word which kernels computed") {
  const Studio at;
  struct Case {
    const char *precision, *isa;
    std::string kernels;
  };
  const std::string best = cpu_instruction_set(), unit = cpu_bf16_unit();
  std::vector<Case> cases{{"f32", "", amx_usable() ? "avx512+amx" : best},
                          {"strict-f32", "", best},
                          {"f64", "", best},
                          {"f32", "generic", "generic"}};
  if (!unit.empty()) cases.push_back({"bf16", "", best + "+" + unit});
  for (const Case& c : cases) {
    CAPTURE(c.precision, c.isa);
    ProcessOptions options;
    if (*c.isa) options.environment.push_back(std::string("CRISP_ISA=") + c.isa);
    const Words words{"--max-steps", "2", "--save-steps", "1", "--precision", c.precision, "--overwrite"};
    REQUIRE(at.train("out", words, options).exit_code == 0);
    CHECK(kernels_of(at, "out") == c.kernels);
    const std::vector<std::string> checkpoints = at.checkpoints("out");
    REQUIRE(!checkpoints.empty());
    CHECK(at.read_json("out/" + checkpoints[0] + "/trainer_state.json")["instruction_set"] == c.kernels);
  }
}

}  // namespace
}  // namespace crisp::test
