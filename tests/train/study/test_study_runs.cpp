// The runs of a study: what became of them, how they are divided, and how long they take.
#include <fmt/format.h>

#include "train/study/runner.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/error.h"
#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "train/run/run.h"
#include "train/study/estimate.h"
#include "train/study/run_state.h"

namespace crisp {
namespace {

using test::message_of;

// Results with what makes them count.
std::string results_with(const std::string& members) {
  return fmt::format(R"({{"eval_correct": 40, "eval_total": 50, {}}})", members);
}

void write_results(const RunFiles& files, const std::string& text) {
  test::write_file(files.directory + "/all_results.json", text);
}

TEST_CASE("the time of a whole run is that of its start, its training and all its evaluations") {
  // 10 steps of 2 seconds after 3 seconds of starting, an evaluation of 50 sentences in 4; 100 steps an epoch.
  const nlohmann::json results{{"step", 10},
                               {"train_runtime", 20.0},
                               {"startup_seconds", 5.0},
                               {"eval_total", 50},
                               {"settings",
                                {{"batch_size", 4},
                                 {"gradient_accumulation_steps", 2},
                                 {"training_examples", 800},
                                 {"training_tokens", 8000},
                                 {"epochs", 3.0}}}};
  TrainOptions whole;
  whole.epochs = 3;
  whole.batch_size = 4;
  whole.gradient_accumulation_steps = 2;
  TrainOptions measured = whole;
  measured.max_steps = measured.eval_steps = 10;
  const auto seconds = [&](auto&&... changes) {
    TrainOptions wanted = whole;
    (changes(wanted), ...);
    return whole_run_seconds(results, 27, 40, measured, wanted);
  };
  CHECK(seconds() == Approx(3 + 600 + 3 * 4));
  CHECK(seconds([](TrainOptions& w) { w.epochs = 0.5; }) == Approx(3 + 100 + 4));
  CHECK(seconds([](TrainOptions& w) { w.epochs = 0; }) == Approx(3 + 4));
  CHECK(seconds([](TrainOptions& w) { w.eval_steps = 50; }) == Approx(3 + 600 + 6 * 4));
  CHECK(seconds([](TrainOptions& w) { w.eval_train = 100; }) == Approx(3 + 600 + 3 * 4 + 8));
  CHECK(seconds([](TrainOptions& w) { w.eval_train = 10'000; }) == Approx(3 + 600 + 3 * 4 + 64));  // there are 800
  CHECK(seconds([](TrainOptions& w) { w.max_steps = 50; }) == Approx(3 + 100 + 4));
  CHECK(seconds([](TrainOptions& w) { w.max_steps = 50, w.batch_size = 8; }) == Approx(3 + 200 + 4));
  CHECK(whole_run_seconds(results, 27, 40, measured, measured) == Approx(3 + 20 + 4));
  nlohmann::json unknown = results;  // when it started
  unknown.erase("startup_seconds");
  CHECK(whole_run_seconds(unknown, 27, 40, measured, whole) == Approx(7 + 600));
}

TEST_CASE("runs on other data are told apart by the hashes in their results") {
  const test::TempDir dir;
  const RunFiles a = run_files(dir.path(), "a", 0), b = run_files(dir.path(), "b", 0);
  CHECK_FALSE(holds_files(a));
  const auto write = [](const RunFiles& files, const std::string& train, const std::string& dev,
                        const std::string& weights) {
    std::filesystem::create_directories(files.directory);
    test::write_file(files.directory + "/all_results.json",
                     fmt::format(R"({{"settings": {{"train": "T", "dev": "D", "weights": "W",
                                  "training_data_sha256": "{}", "dev_data_sha256": "{}", "initial_weights_sha256": {}}}}})",
                                 train, dev, weights));
  };
  write(a, "1", "2", "\"3\"");
  CHECK(differing_input(b, a).empty());  // no results
  write(b, "1", "2", "\"3\"");
  CHECK(holds_files(b));
  CHECK(differing_input(b, a).empty());
  write(b, "9", "2", "\"3\"");
  CHECK(differing_input(b, a) == "training data T");
  write(b, "1", "9", "\"3\"");
  CHECK(differing_input(b, a) == "dev data D");
  write(b, "1", "2", "\"9\"");
  CHECK(differing_input(b, a) == "weights W");
  write(b, "1", "2", "null");
  CHECK(differing_input(b, a).empty());
}

TEST_CASE("what became of a run is kept beside its results") {
  const test::TempDir dir;
  const RunFiles files = run_files(dir.path(), "arm", 7);
  CHECK(files.directory == dir / "runs/arm/seed-7");
  CHECK(read_state(files).status == RunStatus::missing);
  std::filesystem::create_directories(files.directory);
  write_results(files, results_with(R"("settings": {})"));
  for (const auto status :
       {RunStatus::begun, RunStatus::interrupted, RunStatus::failed, RunStatus::diverged, RunStatus::complete}) {
    write_state(files, {status, 3, "why", 1.5, 2, true});
    const RunState state = read_state(files);
    CHECK(state.status == status);
    CHECK(state.exit_code == 3);
    CHECK(state.message == "why");
    CHECK(state.seconds == 1.5);
    CHECK(state.starts == 2);
    CHECK(state.own);
  }
  for (const char* damaged : {"", "{", "[]", R"({"status": 3, "seconds": "x"})"}) {
    test::write_file(files.status, damaged);
    CHECK(read_state(files).status == RunStatus::missing);
  }
  test::write_file(files.log, "== one\ncrisp-train: old\n== two\nnoise\ncrisp-train: new\nTry this\n");
  CHECK(last_error(files) == "new\nTry this");
  test::write_file(files.log, "== one\ncrisp-train: old\n== two\nnoise\n");
  CHECK(last_error(files).empty());
}

TEST_CASE("a run is complete only with results that can be") {
  const test::TempDir dir;
  const RunFiles files = run_files(dir.path(), "arm", 7);
  const std::string absent = "all_results.json is absent or damaged";
  const auto failed = [&](const std::string& complaint) {
    const RunState state = read_state(files);
    CHECK(state.status == RunStatus::failed);
    CHECK(state.message == complaint);
    CHECK(state.seconds == 3);
    CHECK(read_accuracy(files).complaint == complaint);
    CHECK(read_accuracy(files).total == 0);
  };
  write_state(files, {.status = RunStatus::complete, .message = "", .seconds = 3});
  failed(absent);
  for (const char* text : {"", "{", "[]", R"({"eval_correct": 1, "eval_total": 2})"}) {
    write_results(files, text);
    failed(absent);
  }
  for (const auto& [correct, total] : {std::pair("51", "50"), std::pair("-1", "50"), std::pair("1.5", "50"),
                                       std::pair("40", "50.5"), std::pair("0", "0"), std::pair("null", "50"),
                                       std::pair("\"1\"", "50"), std::pair("18446744073709551615", "50")}) {
    CAPTURE(correct, total);
    write_results(files, fmt::format(R"({{"eval_correct": {}, "eval_total": {}, "settings": {{}}}})", correct, total));
    failed(fmt::format("all_results.json says {} of {} right (eval_correct, eval_total), which is no count", correct,
                       total));
  }
  for (const char* correct : {"0", "50"}) {
    write_results(files, fmt::format(R"({{"eval_correct": {}, "eval_total": 50, "settings": {{}}}})", correct));
    CHECK(read_state(files).status == RunStatus::complete);
    CHECK(read_accuracy(files).complaint.empty());
    CHECK(read_accuracy(files).total == 50);
  }
}

// Arms a0, a1, ... and seeds 0, 1, ...
Study study_of(int64_t arms, int64_t seeds) {
  Study study;
  for (int64_t a = 0; a < arms; ++a) study.arms.push_back({fmt::format("a{}", a), "", {}});
  for (int64_t s = 0; s < seeds; ++s) study.seeds.push_back(static_cast<uint64_t>(s));
  return study;
}

std::vector<PlannedRun> runs_of_shard(const Study& study, int64_t shard, int64_t shards) {
  return planned_runs(study, {.output = "out", .crisp_train = "", .shard = shard, .shards = shards});
}

TEST_CASE("shards divide the runs of a study: whole seeds, as long as there are as many") {
  for (int64_t seeds = 1; seeds <= 9; ++seeds)
    for (int64_t arms = 1; arms <= 5; ++arms)
      for (int64_t shards = 1; shards <= seeds * arms + 3; ++shards) {
        CAPTURE(seeds, arms, shards);
        const Study study = study_of(arms, seeds);
        std::map<std::string, int64_t> shard_of_run;
        std::map<uint64_t, std::set<int64_t>> shards_of_seed;
        std::vector<int64_t> sizes;
        for (int64_t shard = 1; shard <= shards; ++shard) {
          const auto runs = runs_of_shard(study, shard, shards);
          sizes.push_back(std::ssize(runs));
          for (const PlannedRun& run : runs) {
            CHECK(shard_of_run.emplace(run.files.directory, shard).second);
            shards_of_seed[run.seed].insert(shard);
          }
        }
        CHECK(std::ssize(shard_of_run) == seeds * arms);
        const auto [least, most] = std::minmax_element(sizes.begin(), sizes.end());
        if (seeds >= shards) {
          for (const auto& [seed, of_seed] : shards_of_seed) CHECK(of_seed.size() == 1);
          CHECK(*most - *least <= arms);
        } else {
          CHECK(*most - *least <= 1);
        }
        CHECK((*least > 0) == (shards <= seeds * arms));
      }
  // Seeds that are added leave those before them where they were.
  const Study before = study_of(2, 4), after = study_of(2, 8);
  const auto four = runs_of_shard(before, 2, 3), eight = runs_of_shard(after, 2, 3);
  REQUIRE(four.size() == 2);
  REQUIRE(eight.size() == 6);
  for (size_t i = 0; i < four.size(); ++i) CHECK(four[i].files.directory == eight[i].files.directory);
}

TEST_CASE("a run's length follows from its options and crisp-train's defaults") {
  const TrainOptions plain = run_options({{"data", "d"}}), sample = run_options({});
  CHECK(plain.epochs_or_default() == 3);
  CHECK(sample.epochs == 8);
  CHECK(plain.max_steps == 0);
  CHECK(plain.batch_size == 32);
  CHECK(plain.gradient_accumulation_steps == 1);
  CHECK(plain.eval_steps == 0);
  CHECK(plain.eval_train == 0);
  const TrainOptions all = run_options({{"epochs", "0.5"},
                                        {"max-steps", "7"},
                                        {"batch-size", "4"},
                                        {"gradient-accumulation-steps", "2"},
                                        {"eval-steps", "3"},
                                        {"eval-train", "1000"}});
  CHECK(all.epochs == 0.5);
  CHECK(all.max_steps == 7);
  CHECK(all.batch_size == 4);
  CHECK(all.gradient_accumulation_steps == 2);
  CHECK(all.eval_steps == 3);
  CHECK(all.eval_train == 1000);
}

TEST_CASE("a run is one of the bundled sample unless it names weights or training data") {
  for (const char* name : {"weights", "init", "data", "train"})
    CHECK(run_options({{name, "x"}}).epochs_or_default() == default_epochs);
  const std::string name = "x";
  for (std::string TrainOptions::*named :
       {&TrainOptions::weights, &TrainOptions::init, &TrainOptions::data, &TrainOptions::train}) {
    TrainOptions options;
    options.*named = name;
    CHECK_FALSE(take_sample(options, "root"));
  }
  // A dev set of one's own is no choice of a model.
  CHECK(run_options({{"dev", "x"}}).epochs == sample_epochs);
  TrainOptions options;
  options.dev = name;
  CHECK(take_sample(options, "root"));
  CHECK(options.epochs_or_default() == sample_epochs);
}

TEST_CASE("arms without a finished run are estimated by their own length") {
  const test::TempDir dir;
  Study study = study_of(4, 2);
  study.options = {{"data", "d"}, {"epochs", "1"}, {"batch-size", "8"}};
  study.arms[1].options = {{"epochs", "3"}};
  study.arms[2].options = {{"max-steps", "5"}};
  const std::string output = dir.path();
  CHECK(std::isnan(estimate_from_finished(study, output).seconds("a0")));
  // 100 steps of 2 seconds after 3 seconds of starting, and an evaluation in 4.
  const RunFiles files = run_files(output, "a0", 0);
  write_state(files, {.status = RunStatus::complete, .message = "", .seconds = 207});
  write_results(files, results_with(R"("settings": {})"));
  CHECK(estimate_from_finished(study, output).seconds("a1") == 207);  // which does not tell: the mean
  write_results(files, results_with(
                           R"("step": 100, "train_runtime": 200, "train_tokens_per_second": 40, "startup_seconds": 5,
                              "settings": {"training_examples": 800, "training_tokens": 8000})"));
  const Estimate estimate = estimate_from_finished(study, output);
  CHECK(estimate.basis == "from 1 finished run");
  CHECK(estimate.mean == 207);
  CHECK(estimate.seconds("a0") == 207);
  CHECK(estimate.seconds("a1") == Approx(3 + 600 + 3 * 4));
  CHECK(estimate.seconds("a2") == Approx(3 + 10 + 4));
  CHECK(estimate.seconds("a3") == Approx(207));
  // An arm's own run counts more than what others foresee.
  const RunFiles own = run_files(output, "a1", 1);
  write_state(own, {.status = RunStatus::complete, .message = "", .seconds = 900});
  write_results(own, results_with(R"("settings": {})"));
  CHECK(estimate_from_finished(study, output).seconds("a1") == 900);
  CHECK(estimate_from_finished(study, output).seconds("a2") == Approx(3 + 10 + 4));
}

}  // namespace
}  // namespace crisp
