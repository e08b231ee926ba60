// Study files, presets, and what a study's directory remembers.
#include "train/study/study.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/error.h"
#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "train/study/estimate.h"
#include "train/study/run_state.h"
#include "train/study/runner.h"

namespace crisp {
namespace {

using test::contains;
using test::message_of;

const std::string small = R"({
  // a comment
  "name": "small", "description": "two arms", "baseline": "b", "seeds": [7, 3],
  "options": {"epochs": 1, "batch-size": "8"},
  "arms": [
    {"name": "a", "options": {"sparsity": [0.5, 0.8], "sparse-eval": false}},
    {"name": "b", "description": "plain"}
  ]
})";

TEST_CASE("a study file has arms, options and seeds") {
  const Study study = parse_study(small, "f");
  CHECK(study.name == "small");
  CHECK(study.description == "two arms");
  CHECK(study.baseline == "b");
  CHECK(study.seeds == std::vector<uint64_t>{7, 3});
  CHECK(study.options == OptionMap{{"epochs", "1"}, {"batch-size", "8"}});
  REQUIRE(study.arms.size() == 2);
  CHECK(study.arms[0].name == "a");
  CHECK(study.arms[0].options == OptionMap{{"sparsity", "0.5,0.8"}, {"sparse-eval", "false"}});
  CHECK(study.arms[1].description == "plain");
  CHECK(study.options_of(study.arms[0]).size() == 4);

  const Study defaults = parse_study(R"({"seeds": 3, "arms": [{"name": "x", "options": {"epochs": 2}}]})", "f");
  CHECK(defaults.baseline == "x");
  CHECK(defaults.seeds == std::vector<uint64_t>{0, 1, 2});
  CHECK(parse_study(R"({"arms": [{"name": "x"}]})", "f").seeds.empty());
}

TEST_CASE("an arm's options win over the study's") {
  const Study study = parse_study(
      R"({"options": {"epochs": 1, "seeds-per": "1"}, "arms": [{"name": "x", "options": {"epochs": 2}}]})", "f");
  CHECK(study.options_of(study.arms[0]) == OptionMap{{"epochs", "2"}, {"seeds-per", "1"}});
}

TEST_CASE("a study comes back from its own JSON") {
  const Study study = parse_study(small, "f");
  const std::string text = study_json(study).dump();
  CHECK(study_json(parse_study(text, "g")).dump() == text);
}

TEST_CASE("mistakes in a study file are named") {
  const auto [text, message] = GENERATE(table<std::string, std::string>({
      {R"({"arms": [}])", "f: parse error at line 1, column 11"},
      {R"([])", "f: a study is a JSON object"},
      {R"({"arm": []})", "f: there is no key 'arm'; known are name, description, baseline, seeds, options, arms"},
      {R"({"seeds": 2})", "f: 'arms' must be a list of at least one arm"},
      {R"({"arms": []})", "f: 'arms' must be a list of at least one arm"},
      {R"({"arms": [{"options": {}}]})", "f: '' cannot be an arm's name"},
      {R"({"arms": [{"name": "../x"}]})", "f: '../x' cannot be an arm's name"},
      {R"({"arms": [{"name": ".x"}]})", "f: '.x' cannot be an arm's name"},
      {R"({"arms": [{"name": 3}]})", "f: 'name' must be a string, not 3"},
      {R"({"arms": [{"name": "x"}, {"name": "x"}]})", "f: there are two arms 'x'"},
      {R"({"arms": [{"name": "x", "option": {}}]})", "f: arm 'x': there is no key 'option'"},
      {R"({"arms": [{"name": "x", "options": {"lr": 1, "lr": 2}}]})", "f: 'lr' is there twice in one object"},
      {R"({"arms": [{"name": "x", "options": {"lr": 1, "--lr": 2}}]})", "f: arm 'x': option 'lr' is there twice"},
      {R"({"arms": [{"name": "x", "options": {"lr": null}}]})", "f: arm 'x': option 'lr': a value must be a string"},
      {R"({"arms": [{"name": "x", "options": {"lr": [[1]]}}]})", "f: arm 'x': option 'lr': a list within a list"},
      {R"({"arms": [{"name": "x", "options": []}]})", "f: arm 'x': 'options' must be an object"},
      {R"({"baseline": "y", "arms": [{"name": "x"}]})", "f: the baseline 'y' is none of the arms"},
      {R"({"seeds": 0, "arms": [{"name": "x"}]})", "f: 'seeds' must be how many (1 to 100000) or a list"},
      {R"({"seeds": [-1], "arms": [{"name": "x"}]})", "f: 'seeds' must be how many"},
      {R"({"seeds": [1, 1], "arms": [{"name": "x"}]})", "f: a seed is there twice"},
  }));
  CAPTURE(text);
  const std::string complaint = message_of<BadInput>([&, t = text] { parse_study(t, "f"); });
  CAPTURE(complaint);
  CHECK(complaint.starts_with(message));
}

TEST_CASE("seeds on the command line are a number or a list") {
  CHECK(parse_seeds("3") == std::vector<uint64_t>{0, 1, 2});
  CHECK(parse_seeds("5,2") == std::vector<uint64_t>{5, 2});
  CHECK(parse_seeds("7,") == std::vector<uint64_t>{7});
  for (const char* text : {"", "0", "x", "1,,2", "1 2", "-1", ",1", "1,1", "100001"})
    CHECK_THROWS_AS(parse_seeds(text), UsageError);
}

TEST_CASE("presets are study files") {
  for (const std::string& name : study_preset_names()) {
    const Study study = parse_study(study_preset(name, true), name);
    CHECK(study.name == name);
    CHECK(study.baseline == "dense");
    CHECK(study.seeds.size() >= 3);
  }
  CHECK(parse_study(study_preset("crisp", false), "").arms.size() == 4);
  // Four arms more where there are parses.
  const Study without = parse_study(study_preset("breaking-bert", false), "");
  const Study with = parse_study(study_preset("breaking-bert", true), "");
  CHECK(with.arms.size() == without.arms.size() + 4);
  CHECK_THROWS_AS(study_preset("other", false), UsageError);
}

TEST_CASE("a study's directory takes more arms and seeds, and no other options of arms with runs") {
  const test::TempDir dir;
  const std::string output = dir / "out", path = output + "/study.json";
  Study study = parse_study(small, "f");
  record_study(study, output);
  const std::string first = test::read_file(path);
  CHECK(study_json(parse_study(first, path)) == study_json(study));
  record_study(study, output);
  CHECK(test::read_file(path) == first);
  CHECK(test::names_in(output) == std::vector<std::string>{"study.json"});

  Study more = study;
  more.arms.push_back({"c", "", {{"epochs", "2"}}});
  more.arms.erase(more.arms.begin());  // what is there stays
  more.seeds = {3, 9};
  more.options["epochs"] = std::string("1.0");  // the same number
  record_study(more, output);
  const Study both = parse_study(test::read_file(path), path);
  REQUIRE(both.arms.size() == 3);
  CHECK(both.arms[2].name == "c");
  CHECK(both.seeds == std::vector<uint64_t>{7, 3, 9});

  Study other = study;
  other.options["epochs"] = std::string("2");
  other.options.erase("batch-size");
  other.arms[0].options["dropout"] = std::string("0");
  const std::string before = test::read_file(path);
  write_state(run_files(output, "b", 9), {.status = RunState::Status::complete, .message = ""});
  write_state(run_files(output, "a", 7), {.status = RunState::Status::interrupted, .message = ""});
  CHECK(message_of<UsageError>([&] { check_record(other, output); }) ==
        message_of<UsageError>([&] { record_study(other, output); }));
  CHECK(message_of<UsageError>([&] { record_study(other, output); }) ==
        output +
            ": holds this study with other options:\n  --batch-size: 8 there, not set now\n  --epochs: 1 there, 2 now\n"
            "  arm a:\n  --dropout: not set there, 0 now\nThere are runs of a, b. Use the same options, delete " +
            output + "/runs/ARM to begin an arm anew, or choose another --output (arms and seeds may be added)");
  other = study;
  other.name = "large";
  CHECK(contains(message_of<UsageError>([&] { record_study(other, output); }), "holds the study 'small'"));
  CHECK(test::read_file(path) == before);

  // Where no run has begun, or all have failed, a mistake can be mended.
  other = study;
  other.arms.push_back({"c", "", {{"epochs", "3"}}});
  write_state(run_files(output, "c", 7), {.status = RunState::Status::failed, .message = ""});
  check_record(other, output);
  CHECK(test::read_file(path) == before);
  record_study(other, output);
  CHECK(parse_study(test::read_file(path), path).arms[2].options == OptionMap{{"epochs", "3"}});
  std::filesystem::remove_all(output + "/runs");
  other.options = {{"epochs", "5"}};
  record_study(other, output);
  CHECK(parse_study(test::read_file(path), path).options == OptionMap{{"epochs", "5"}});
}

TEST_CASE("arms keep an option that was all arms' and has become some arms' own, and the reverse") {
  const test::TempDir dir;
  const std::string output = dir / "out", path = output + "/study.json";
  const auto recorded = [&] { return parse_study(test::read_file(path), path); };
  const OptionMap off{{"sparse-train", "off"}};
  Study study = parse_study(R"({"name": "s", "seeds": 1, "options": {"epochs": 1, "sparse-train": "off"},
    "arms": [{"name": "a"}, {"name": "b"}]})",
                            "f");
  record_study(study, output);
  for (const char* arm : {"a", "b"})
    write_state(run_files(output, arm, 0), {.status = RunState::Status::complete, .message = ""});

  // An arm that it does not fit comes, and b is not named.
  Study more = study;
  more.options.erase("sparse-train");
  more.arms = {{"a", "", off}, {"c", "", {{"sparse-method", "learned-span"}}}};
  more.baseline = "a";
  check_record(more, output);
  record_study(more, output);
  CHECK(recorded().options == OptionMap{{"epochs", "1"}});
  REQUIRE(recorded().arms.size() == 3);
  CHECK(recorded().arms[0].options == off);
  CHECK(recorded().arms[1].options == off);
  CHECK(recorded().arms[2].options == OptionMap{{"sparse-method", "learned-span"}});

  // All that are named take it again.
  write_state(run_files(output, "c", 0), {.status = RunState::Status::complete, .message = ""});
  const std::string before = test::read_file(path);
  record_study(study, output);
  CHECK(test::read_file(path) == before);
  // Another value is another study.
  study.options["sparse-train"] = std::string("on");
  CHECK(contains(message_of<UsageError>([&] { record_study(study, output); }), "  --sparse-train: off there, on now"));
}

TEST_CASE("arms of breaking-bert that are compared remove the same") {
  const Study study = parse_study(study_preset("breaking-bert", true), "");
  for (const char* method : {"topk", "neighbour", "random", "lexical", "syntax"}) {
    const auto options = [&](const std::string& arm) {
      const auto found = std::find_if(study.arms.begin(), study.arms.end(),
                                      [&](const Study::Arm& a) { return a.name == method + ("-" + arm); });
      REQUIRE(found != study.arms.end());
      return found->options;
    };
    CHECK(options("all").at("sparsity") == "0.8");
    CHECK(options("all-0.4").at("sparsity") == "0.4");  // in all layers: as 0.8 in half of them
    CHECK(options("all-0.4").at("sparse-layers") == "all");
    CHECK(options("early").at("sparsity") == "0.8");
    CHECK(options("late").at("sparse-layers") == "late");
  }
  // Or say that they do not.
  for (const Study::Arm& arm : study.arms)
    CHECK(arm.name.starts_with("degrees-") == contains(arm.description, "compare by effective sparsity"));
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
  const RunLength whole{.epochs = 3, .batch_size = 4, .gradient_accumulation_steps = 2};
  RunLength measured = whole;
  measured.max_steps = measured.eval_steps = 10;
  const auto seconds = [&](auto&&... changes) {
    RunLength wanted = whole;
    (changes(wanted), ...);
    return whole_run_seconds(results, 27, 40, measured, wanted);
  };
  CHECK(seconds() == Approx(3 + 600 + 3 * 4));
  CHECK(seconds([](RunLength& w) { w.epochs = 0.5; }) == Approx(3 + 100 + 4));
  CHECK(seconds([](RunLength& w) { w.epochs = 0; }) == Approx(3 + 4));
  CHECK(seconds([](RunLength& w) { w.eval_steps = 50; }) == Approx(3 + 600 + 6 * 4));
  CHECK(seconds([](RunLength& w) { w.eval_train = 100; }) == Approx(3 + 600 + 3 * 4 + 8));
  CHECK(seconds([](RunLength& w) { w.eval_train = 10'000; }) == Approx(3 + 600 + 3 * 4 + 64));  // there are 800
  CHECK(seconds([](RunLength& w) { w.max_steps = 50; }) == Approx(3 + 100 + 4));
  CHECK(seconds([](RunLength& w) { w.max_steps = 50, w.batch_size = 8; }) == Approx(3 + 200 + 4));
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
                     R"({"settings": {"train": "T", "dev": "D", "weights": "W", "training_data_sha256": ")" + train +
                         R"(", "dev_data_sha256": ")" + dev + R"(", "initial_weights_sha256": )" + weights + "}}");
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
  CHECK(read_state(files).status == RunState::Status::none);
  for (const auto status : {RunState::Status::begun, RunState::Status::interrupted, RunState::Status::failed,
                            RunState::Status::diverged, RunState::Status::complete}) {
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
    CHECK(read_state(files).status == RunState::Status::none);
  }
  test::write_file(files.log, "== one\ncrisp-train: old\n== two\nnoise\ncrisp-train: new\nTry this\n");
  CHECK(last_error(files) == "new\nTry this");
  test::write_file(files.log, "== one\ncrisp-train: old\n== two\nnoise\n");
  CHECK(last_error(files).empty());
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
  const RunLength plain = run_length({{"data", "d"}}), sample = run_length({});
  CHECK(plain.epochs == 3);
  CHECK(sample.epochs == 8);
  CHECK(plain.max_steps == 0);
  CHECK(plain.batch_size == 32);
  CHECK(plain.gradient_accumulation_steps == 1);
  CHECK(plain.eval_steps == 0);
  CHECK(plain.eval_train == 0);
  const RunLength all = run_length({{"epochs", "0.5"},
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
  write_state(files, {.status = RunState::Status::complete, .message = "", .seconds = 207});
  CHECK(estimate_from_finished(study, output).seconds("a1") == 207);  // without results the mean
  test::write_file(files.directory + "/all_results.json",
                   R"({"step": 100, "train_runtime": 200, "train_tokens_per_second": 40, "startup_seconds": 5,
                       "eval_total": 50, "settings": {"training_examples": 800, "training_tokens": 8000}})");
  const Estimate estimate = estimate_from_finished(study, output);
  CHECK(estimate.basis == "from 1 finished run");
  CHECK(estimate.mean == 207);
  CHECK(estimate.seconds("a0") == 207);
  CHECK(estimate.seconds("a1") == Approx(3 + 600 + 3 * 4));
  CHECK(estimate.seconds("a2") == Approx(3 + 10 + 4));
  CHECK(estimate.seconds("a3") == Approx(207));
  // An arm's own run counts more than what others foresee.
  write_state(run_files(output, "a1", 1), {.status = RunState::Status::complete, .message = "", .seconds = 900});
  CHECK(estimate_from_finished(study, output).seconds("a1") == 900);
  CHECK(estimate_from_finished(study, output).seconds("a2") == Approx(3 + 10 + 4));
}

}  // namespace
}  // namespace crisp
