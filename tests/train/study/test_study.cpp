// Study files, presets, and what a study's directory remembers.
#include "train/study/study.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "tests/support/catch.h"
#include "tests/train/support.h"
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

// A run that is complete, as far as the study's directory is concerned.
void complete_run(const RunFiles& files) {
  write_state(files, {.status = RunStatus::complete, .message = ""});
  test::write_file(files.directory + "/all_results.json", R"({"eval_correct": 1, "eval_total": 2, "settings": {}})");
}

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
      {R"({"arms": [}])", "f:1:11: unexpected \"}\""},
      {R"([])", "f: expected a JSON object, not []"},
      {R"({"arm": []})", "f: there is no key \"arm\"; known are name, description, baseline, seeds, options, arms"},
      {R"({"seeds": 2})", "f: \"arms\" must be a list of at least one arm"},
      {R"({"arms": []})", "f: \"arms\" must be a list of at least one arm"},
      {R"({"arms": [{"options": {}}]})", "f: \"\" cannot be an arm's name"},
      {R"({"arms": [{"name": "../x"}]})", "f: \"../x\" cannot be an arm's name"},
      {R"({"arms": [{"name": ".x"}]})", "f: \".x\" cannot be an arm's name"},
      {R"({"arms": [{"name": 3}]})", "f: an arm: \"name\" is 3; it must be a string"},
      {R"({"arms": [{"name": "x"}, {"name": "x"}]})", "f: there are two arms 'x'"},
      {R"({"arms": [{"name": "x", "option": {}}]})", "f: arm x: there is no key \"option\""},
      {R"({"arms": [{"name": "x", "options": {"lr": 1, "lr": 2}}]})", "f:1:46: \"lr\" is there twice in one object"},
      {R"({"arms": [{"name": "x", "options": {"lr": 1, "--lr": 2}}]})", "f: arm x: option \"lr\" is there twice"},
      {R"({"options": {"----epochs": 2}, "arms": [{"name": "x"}]})", "f: \"----epochs\" is no option's name"},
      {R"({"arms": [{"name": "x", "options": {"--": 2}}]})", "f: arm x: \"--\" is no option's name"},
      {R"({"arms": [{"name": "x", "options": {"": 2}}]})", "f: arm x: \"\" is no option's name"},
      {R"({"arms": [{"name": "x", "options": {"lr": null}}]})", "f: arm x: option \"lr\": a value must be a string"},
      {R"({"arms": [{"name": "x", "options": {"lr": [[1]]}}]})", "f: arm x: option \"lr\": a list within a list"},
      {R"({"arms": [{"name": "x", "options": []}]})", "f: arm x: \"options\" is []; it must be an object"},
      {R"({"baseline": "y", "arms": [{"name": "x"}]})", "f: the baseline \"y\" is none of the arms"},
      {R"({"seeds": 0, "arms": [{"name": "x"}]})", "f: \"seeds\" is 0; it must be how many (1 to 100000) or a list"},
      {R"({"seeds": [-1], "arms": [{"name": "x"}]})", "f: \"seeds\" is [-1]; it must be how many"},
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
  complete_run(run_files(output, "b", 9));
  write_state(run_files(output, "a", 7), {.status = RunStatus::interrupted, .message = ""});
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
  write_state(run_files(output, "c", 7), {.status = RunStatus::failed, .message = ""});
  check_record(other, output);
  CHECK(test::read_file(path) == before);
  record_study(other, output);
  CHECK(parse_study(test::read_file(path), path).arms[2].options == OptionMap{{"epochs", "3"}});
  std::filesystem::remove_all(output + "/runs");
  other.options = {{"epochs", "5"}};
  record_study(other, output);
  CHECK(parse_study(test::read_file(path), path).options == OptionMap{{"epochs", "5"}});
}

TEST_CASE("a study's directory is no file, nor in one") {
  const test::TempDir dir;
  test::write_file(dir / "file", "");
  const Study study = parse_study(small, "f");
  for (const std::string& output : {dir / "file", dir / "file/", dir / "file/below"}) {
    const std::string complaint = output + ": cannot be created: Not a directory";
    CHECK(message_of<Error>([&] { check_record(study, output); }) == complaint);
    CHECK(message_of<Error>([&] { record_study(study, output); }) == complaint);
  }
  check_record(study, dir / "new/below");
  CHECK(test::names_in(dir.path()) == std::vector<std::string>{"file"});
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
  for (const char* arm : {"a", "b"}) complete_run(run_files(output, arm, 0));

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
  complete_run(run_files(output, "c", 0));
  const std::string before = test::read_file(path);
  record_study(study, output);
  CHECK(test::read_file(path) == before);
  // Another value is another study.
  study.options["sparse-train"] = std::string("on");
  CHECK(contains(message_of<UsageError>([&] { record_study(study, output); }), "  --sparse-train: off there, on now"));
}

TEST_CASE("options are compared by what their values mean") {
  for (const auto& [a, b] :
       {std::pair("0.003", "3e-3"), std::pair("0.5,0.6", "0.50,0.6"), std::pair("1", "1.0"), std::pair("off", "false"),
        std::pair("true", "on"), std::pair("yes", "1"), std::pair("cls,sep", "cls,sep"), std::pair("", "")}) {
    CAPTURE(a, b);
    CHECK(same_value(a, b));
    CHECK(same_value(b, a));
  }
  for (const auto& [a, b] :
       {std::pair("0.5,0.6", "0.5,0.7"), std::pair("0.5", "0.5,0.5"), std::pair("off", "on"), std::pair("false", "1"),
        std::pair("dense", "0"), std::pair("on", "onx"), std::pair("0.5", "0.5x"), std::pair("", "0")}) {
    CAPTURE(a, b);
    CHECK_FALSE(same_value(a, b));
    CHECK_FALSE(same_value(b, a));
  }
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

}  // namespace
}  // namespace crisp
