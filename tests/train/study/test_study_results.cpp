#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/train/study/synthetic_study.h"
#include "tests/train/support.h"
#include "train/study/results.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;

// A complete run over as many sentences as `right` has letters: '1' where it is right. Every confidence is 0.9.
void write_exact_run(const std::string& dir, const std::string& arm, uint64_t seed, const std::string& right) {
  const std::string run = test::run_dir(dir, arm, seed);
  std::filesystem::create_directories(run);
  std::string lines;
  int correct = 0;
  for (size_t i = 0; i < right.size(); ++i) {
    const int label = static_cast<int>(i % 2), prediction = right[i] == '1' ? label : 1 - label;
    correct += right[i] == '1';
    std::vector<double> probabilities{0.1, 0.1}, logits{-1.5, -1.5};
    probabilities[static_cast<size_t>(prediction)] = 0.9;
    logits[static_cast<size_t>(prediction)] = 0.25;
    lines += test::prediction_line(fmt::format("sentence {}", i), label, prediction, logits, probabilities);
  }
  test::write_file(run + "/dev_predictions.jsonl", lines);
  test::write_file(run + "/metrics.jsonl", R"({"step":5,"epoch":0.5,"loss":0.7}
{"step":10,"epoch":1.0,"loss":0.5}
{"step":10,"epoch":1.0,"eval_loss":0.4,"eval_accuracy":0.5}
{"step":1)");
  test::write_file(run + "/all_results.json",
                   ordered_json{{"step", 10},
                                {"epoch", 1.0},
                                {"train_runtime", 2.5},
                                {"last_eval_loss", 0.45},
                                {"train_eval_loss", 0.15},
                                {"eval_correct", correct},
                                {"eval_total", right.size()},
                                {"eval_loss", 0.4},
                                {"eval_sparsity", 0.5},
                                {"eval_layer_sparsity", {0.4, 0.6}},
                                {"eval_layer_sparsity_requested", {nullptr, 0.5}},
                                {"eval_attention_entropy", {{1.0, 2.0}, {0.0, 1.5}}},
                                {"eval_attention_normalised_entropy", {{0.5, 1.0}, {nullptr, 0.75}}},
                                {"settings", {{"seed", seed}}}}
                       .dump());
  test::write_status(run, "complete", "");
}

test::SyntheticStudy two_arms() {
  test::SyntheticStudy study;
  study.arms = {{"dense", {{"sparsity", "dense"}}, 0, 0}, {"sparse,half", {{"sparsity", "0.5"}}, 0, 0.5}};
  study.seeds = {3, 5, 7};
  return study;
}

// Differences of 0.1, 0 and 0.1.
void write_two_arms(const std::string& dir) {
  test::write_study_json(dir, two_arms());
  const char* dense[] = {"1111111000", "1111111100", "1111111110"};
  const char* sparse[] = {"1111110011", "1111111100", "1111111111"};
  for (size_t s = 0; s < 3; ++s) {
    write_exact_run(dir, "dense", two_arms().seeds[s], dense[s]);
    write_exact_run(dir, "sparse,half", two_arms().seeds[s], sparse[s]);
  }
}

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST_CASE("a study's runs are read and compared with known numbers") {
  const test::TempDir dir;
  write_two_arms(dir.path());
  const StudyResults study = read_study(dir.path());
  REQUIRE(study.arms.size() == 2);
  CHECK(study.baseline == 0);
  CHECK(study.notes.empty());
  CHECK(study.count(RunStatus::complete) == 6);
  const StudyRun& run = study.arms[1].runs[0];
  CHECK(run.seed == 3);
  CHECK(run.correct == 8);
  CHECK(run.total == 10);
  CHECK(run.accuracy() == 0.8);
  CHECK(run.gap() == Approx(0.3));  // of the last weights, whatever evaluation is reported
  CHECK(run.seconds_per_step() == 0.25);
  CHECK(run.calibration == Approx(0.1));   // 0.9 sure, 0.8 right
  CHECK(run.training_losses.size() == 2);  // the half line is passed over
  CHECK(run.dev_losses.size() == 1);
  REQUIRE(run.layers.size() == 2);
  CHECK(std::isnan(run.layers[0].requested));
  CHECK(run.layers[1].requested == 0.5);
  CHECK(std::isnan(run.layers[1].normalised[0]));
  CHECK(run.layers[1].normalised[1] == 0.75);

  REQUIRE(study.comparisons.size() == 1);
  const ArmComparison& c = study.comparisons[0];
  CHECK(c.arm == 1);
  CHECK(c.seeds == std::vector<uint64_t>{3, 5, 7});
  CHECK(c.accuracy.mean == Approx(0.2 / 3));
  CHECK(c.accuracy.sd == Approx(0.1 / std::sqrt(3.0)));
  CHECK(c.accuracy.p_value == Approx(0.18350341907));  // t = 2 with 2 degrees of freedom
  CHECK(c.adjusted_p == c.accuracy.p_value);           // of one arm
  CHECK(c.accuracy.t_interval.low == Approx(0.2 / 3 - 4.30265272991 / 30));
  CHECK(c.detectable > 0.1);
  CHECK(c.detectable_corrected == c.detectable);  // nothing to correct for
  CHECK(c.by_example);
  REQUIRE(c.mcnemar.size() == 3);
  CHECK(c.mcnemar[0].only_first == 1);
  CHECK(c.mcnemar[0].only_second == 2);
  CHECK(c.mcnemar[0].p_value == 1);
  CHECK(c.pooled.only_first == 1);
  CHECK(c.pooled.only_second == 3);
  CHECK(c.two_level.low <= c.accuracy.mean);
  CHECK(c.two_level.high >= c.accuracy.mean);
}

TEST_CASE("results.json, runs.csv and predictions.csv hold the same numbers") {
  const test::TempDir dir;
  write_two_arms(dir.path());
  test::change_results(
      dir.path(), "dense", 3,
      {{"eval_flops", {{"total", 99.5}, {"attention", 7.5}, {"attention_dense", 9.5}, {"attention_scored", 8.5}}}});
  const StudyResults study = read_study(dir.path());
  write_study_files(dir.path(), study);
  const ordered_json json = ordered_json::parse(test::read_file(dir / "results.json"));
  CHECK(json["baseline"] == "dense");
  CHECK(json["arms"][1]["name"] == "sparse,half");
  CHECK(json["arms"][1]["runs"][2]["correct"] == 10);
  CHECK(json["arms"][1]["accuracy"]["mean"].get<double>() == Approx(2.6 / 3));
  CHECK(json["arms"][0]["count"]["complete"] == 3);
  CHECK(json["arms"][0]["runs"][0]["layer_sparsity_requested"][0].is_null());
  CHECK(json["comparisons"][0]["accuracy"]["mean"].get<double>() == study.comparisons[0].accuracy.mean);
  CHECK(json["comparisons"][0]["detectable_with_80_percent_corrected"].get<double>() ==
        study.comparisons[0].detectable_corrected);
  CHECK(json["comparisons"][0]["mcnemar_pooled"]["only_arm_right"] == 3);
  CHECK(json["comparisons"][0]["mcnemar"][1]["seed"] == 5);

  const auto runs = lines_of(dir / "runs.csv");
  REQUIRE(runs.size() == 7);
  CHECK(runs[0].starts_with("arm,seed,status,correct,total,accuracy,loss,ece,"));
  CHECK(test::contains(runs[0], ",flops,flops_attention,flops_attention_dense,flops_attention_scored,steps,"));
  CHECK(runs[1].starts_with("dense,3,complete,7,10,0.7,0.4,"));
  CHECK(test::contains(runs[1], ",99.5,7.5,9.5,8.5,10,"));
  CHECK(runs[4].starts_with("\"sparse,half\",3,complete,8,10,0.8,0.4,"));

  const auto predictions = lines_of(dir / "predictions.csv");
  REQUIRE(predictions.size() == 61);
  CHECK(predictions[0] == "arm,seed,example,label,prediction,correct,logit_0,logit_1");
  CHECK(predictions[1] == "dense,3,0,0,0,1,0.25,-1.5");
  CHECK(predictions[10] == "dense,3,9,1,0,0,0.25,-1.5");
}

TEST_CASE("dev losses are compared at the epochs that all paired runs have evaluated") {
  const test::TempDir dir;
  write_two_arms(dir.path());
  // The arm takes two steps where the baseline takes one, and has an evaluation of its own.
  const double gains[] = {0.1, 0.2, 0.3};
  for (size_t s = 0; s < 3; ++s) {
    const uint64_t seed = two_arms().seeds[s];
    test::write_file(test::run_dir(dir.path(), "dense", seed) + "/metrics.jsonl",
                     R"({"step":5,"epoch":1.0,"eval_loss":7}
{"step":5,"epoch":1.0,"eval_loss":0.5}
{"step":10,"epoch":2.0,"eval_loss":0.4})");
    test::write_file(test::run_dir(dir.path(), "sparse,half", seed) + "/metrics.jsonl",
                     fmt::format(R"({{"step":10,"epoch":1.0,"eval_loss":{}}}
{{"step":15,"epoch":1.5,"eval_loss":9}}
{{"step":20,"epoch":2.0,"eval_loss":{}}})",
                                 0.5 + gains[s], 0.4 - gains[s]));
  }
  const StudyResults study = read_study(dir.path());
  const auto& matched = study.comparisons[0].matched_losses;
  REQUIRE(matched.size() == 2);
  CHECK(matched[0].epoch == 1);
  CHECK(matched[0].loss.n == 3);
  CHECK(matched[0].loss.mean == Approx(0.2));
  CHECK(matched[0].loss.sd == Approx(0.1));
  CHECK(matched[0].loss.t_interval.low == Approx(0.2 - 4.30265272991 * 0.1 / std::sqrt(3.0)));
  CHECK(matched[1].epoch == 2);
  CHECK(matched[1].loss.mean == Approx(-0.2));
  CHECK(study.comparisons[0].loss.mean == 0);  // of the evaluations reported

  write_study_files(dir.path(), study);
  const auto json = ordered_json::parse(test::read_file(dir / "results.json"))["comparisons"][0]["matched_losses"];
  REQUIRE(json.size() == 2);
  CHECK(json[1]["epoch"] == 2);
  CHECK(json[1]["mean"].get<double>() == Approx(-0.2));

  // One run that lacks an evaluation takes that epoch from the comparison.
  test::write_file(test::run_dir(dir.path(), "dense", 5) + "/metrics.jsonl",
                   R"({"step":10,"epoch":2.0,"eval_loss":0.4})");
  CHECK(read_study(dir.path()).comparisons[0].matched_losses.size() == 1);
}

TEST_CASE("the p-values of several arms are corrected together, an undetermined one counted") {
  const test::TempDir dir;
  test::SyntheticStudy file = two_arms();
  file.arms.clear();
  for (const char* name : {"dense", "a", "b", "c"}) file.arms.push_back({name, ordered_json::object(), 0, 0});
  test::write_study_json(dir.path(), file);
  const std::string answers[][3] = {{"1111100000", "1111110000", "1111111000"},   // dense: 5, 6, 7
                                    {"1111111000", "1111111110", "1111111111"},   // a: 2, 3, 3 more
                                    {"1111110000", "1111111100", "1111111110"},   // b: 1, 2, 2 more
                                    {"1111111000", "1111111100", "1111111110"}};  // c: 2 more with each
  for (size_t i = 0; i < 4; ++i)
    for (size_t s = 0; s < 3; ++s) write_exact_run(dir.path(), file.arms[i].name, file.seeds[s], answers[i][s]);
  const StudyResults study = read_study(dir.path());
  const auto& c = study.comparisons;
  REQUIRE(c.size() == 3);
  REQUIRE(c[0].accuracy.p_value == Approx(0.01526806));  // t = 8 and t = 5 with 2 degrees of freedom
  REQUIRE(c[1].accuracy.p_value == Approx(0.03774955));
  CHECK(std::isnan(c[2].accuracy.p_value));
  CHECK(c[0].adjusted_p == Approx(3 * c[0].accuracy.p_value));
  CHECK(c[1].adjusted_p == Approx(2 * c[1].accuracy.p_value));
  CHECK(std::isnan(c[2].adjusted_p));
  CHECK(std::isnan(c[2].detectable));  // no spread
  CHECK(c[0].detectable > 0);
  CHECK(c[0].detectable_corrected == detectable_difference(3, c[0].accuracy.sd, 0.8, 0.05 / 3));
  CHECK(std::isnan(c[2].detectable_corrected));
}

TEST_CASE("runs on different data are told apart by the hashes in their settings") {
  const test::TempDir dir;
  test::SyntheticStudy file = two_arms();
  write_two_arms(dir.path());
  const auto notes = [&] { return read_study(dir.path()).notes; };
  const auto set_all = [&](const ordered_json& settings) {
    for (const auto& arm : file.arms)
      for (const uint64_t seed : file.seeds) test::change_settings(dir.path(), arm.name, seed, settings);
  };
  set_all({{"training_data_sha256", "t"}, {"dev_data_sha256", "d"}, {"initial_weights_sha256", "w"}});
  CHECK(notes().empty());
  SECTION("within an arm") {
    const std::string key = GENERATE("training_data_sha256", "dev_data_sha256", "initial_weights_sha256");
    test::change_settings(dir.path(), "sparse,half", 5, {{key, "other"}});
    REQUIRE(notes().size() == 1);
    CHECK(test::contains(notes()[0], "sparse,half: its runs had different"));
    CHECK(test::contains(notes()[0], "settings." + key));
    write_study_files(dir.path(), read_study(dir.path()));
    CHECK(ordered_json::parse(test::read_file(dir / "results.json"))["notes"] == ordered_json(notes()));
  }
  SECTION("between arms") {
    for (const uint64_t seed : file.seeds)
      test::change_settings(dir.path(), "sparse,half", seed, {{"initial_weights_sha256", nullptr}});
    REQUIRE(notes().size() == 1);
    CHECK(test::contains(notes()[0], "sparse,half and dense had different initial weights"));
    file.arms[1].options["weights"] = "another";  // as asked for
    test::write_study_json(dir.path(), file);
    CHECK(notes().empty());
  }
  SECTION("what a seed carves, and what holds parses, is its own") {
    set_all({{"selection_part", 0.1}});
    for (const auto& arm : file.arms)
      for (const uint64_t seed : file.seeds)
        test::change_settings(dir.path(), arm.name, seed, {{"training_data_sha256", fmt::format("of {}", seed)}});
    CHECK(notes().empty());
    for (const uint64_t seed : file.seeds)
      test::change_settings(dir.path(), "sparse,half", seed,
                            {{"training_data_sha256", fmt::format("parsed {}", seed)}, {"parses", "train.conllu"}});
    CHECK(notes().empty());
    test::change_settings(dir.path(), "sparse,half", 5, {{"parses", ""}});
    CHECK(notes().size() == 1);
  }
}

TEST_CASE("runs of one seed that were made with different kernels are told") {
  const test::TempDir dir;
  write_two_arms(dir.path());
  for (const auto& arm : two_arms().arms)
    for (const uint64_t seed : two_arms().seeds)
      test::change_results(dir.path(), arm.name, seed, {{"instruction_set", seed == 3 ? "generic" : "avx2"}});
  CHECK(read_study(dir.path()).notes.empty());  // what is compared has the same ones
  for (const uint64_t seed : {5, 7})
    test::change_results(dir.path(), "sparse,half", seed, {{"instruction_set", "avx512"}});
  const StudyResults study = read_study(dir.path());
  REQUIRE(study.notes.size() == 1);
  CHECK(test::contains(study.notes[0], "different kernels (avx2, avx512; instruction_set of all_results.json)"));
  CHECK(test::contains(study.notes[0], "sparse,half (seeds 5, 7), each beside dense."));
  write_study_files(dir.path(), study);
  CHECK(ordered_json::parse(test::read_file(dir / "results.json"))["notes"] == ordered_json(study.notes));
}

TEST_CASE("runs that have diverged, failed or not ended keep their place and leave the comparison") {
  const test::TempDir dir;
  write_two_arms(dir.path());
  test::diverge(dir.path(), "sparse,half", 3);
  test::write_status(test::run_dir(dir.path(), "dense", 5), "failed", "no space left on device");
  SECTION("not begun") {
    std::filesystem::remove_all(test::run_dir(dir.path(), "sparse,half", 7));
    const StudyResults study = read_study(dir.path());
    CHECK(study.arms[1].runs[0].status == RunStatus::diverged);
    CHECK_FALSE(study.arms[1].runs[0].training_losses.empty());
    CHECK(study.arms[0].runs[1].status == RunStatus::failed);
    CHECK(study.arms[0].runs[1].message == "no space left on device");
    CHECK(std::isnan(study.arms[0].runs[1].accuracy()));
    CHECK(study.arms[1].runs[2].status == RunStatus::missing);
    CHECK(study.arms[1].runs[2].message == "not begun");
    CHECK(study.comparisons[0].seeds.empty());
    CHECK(std::isnan(study.comparisons[0].accuracy.mean));
    CHECK_FALSE(study.comparisons[0].by_example);
    write_study_files(dir.path(), study);
    const auto runs = lines_of(dir / "runs.csv");
    CHECK(runs[2] == "dense,5,failed,,,,,,,,,,,,,,,,,,,,,,no space left on device");
    CHECK(lines_of(dir / "predictions.csv").size() == 31);
    CHECK(ordered_json::parse(test::read_file(dir / "results.json"))["comparisons"][0]["accuracy"]["mean"].is_null());
  }
  SECTION("not ended") {
    const std::string run = test::run_dir(dir.path(), "sparse,half", 7);
    std::filesystem::remove(run + "/all_results.json");
    test::write_status(run, "begun", "");
    CHECK(read_study(dir.path()).arms[1].runs[2].status == RunStatus::missing);
    test::write_status(run, "complete", "");
    CHECK(read_study(dir.path()).arms[1].runs[2].status == RunStatus::failed);
  }
  SECTION("one pair is left") {
    const StudyResults study = read_study(dir.path());
    CHECK(study.comparisons[0].seeds == std::vector<uint64_t>{7});
    CHECK(study.comparisons[0].accuracy.mean == Approx(0.1));
    CHECK(std::isnan(study.comparisons[0].accuracy.p_value));
    CHECK(study.comparisons[0].by_example);
    CHECK(std::isnan(study.comparisons[0].two_level.low));  // over sentences alone it would be no such interval
  }
}

TEST_CASE("what is odd about a run's files is told, and the rest is used") {
  const test::TempDir dir;
  write_two_arms(dir.path());
  const std::string run = test::run_dir(dir.path(), "sparse,half", 5);
  SECTION("no predictions") {
    std::filesystem::remove(run + "/dev_predictions.jsonl");
    const StudyResults study = read_study(dir.path());
    CHECK(study.arms[1].runs[1].complete());
    CHECK(std::isnan(study.arms[1].runs[1].calibration));
    CHECK(study.comparisons[0].accuracy.n == 3);
    CHECK_FALSE(study.comparisons[0].by_example);
    REQUIRE(study.notes.size() == 1);
    CHECK(test::contains(study.notes[0], "sparse,half, seed 5: dev_predictions.jsonl is absent"));
  }
  SECTION("damaged predictions") {
    test::write_file(run + "/dev_predictions.jsonl", "{\"label\": 1\nnonsense\n");
    CHECK_FALSE(read_study(dir.path()).comparisons[0].by_example);
  }
  SECTION("predictions that are no numbers") {
    test::write_file(run + "/dev_predictions.jsonl", R"({"label":"x","prediction":7,"probabilities":[null,"a"]})");
    const StudyResults study = read_study(dir.path());
    CHECK_FALSE(study.comparisons[0].by_example);
    CHECK(std::isnan(study.arms[1].runs[1].calibration));
  }
  SECTION("another dev set") {
    write_exact_run(dir.path(), "sparse,half", 5, "11111");
    const StudyResults study = read_study(dir.path());
    CHECK_FALSE(study.comparisons[0].by_example);
    CHECK(test::contains(study.notes.at(0), "its dev set differs"));
  }
  SECTION("counts that disagree") {
    ordered_json json = ordered_json::parse(test::read_file(run + "/all_results.json"));
    json["eval_correct"] = 9;
    test::write_file(run + "/all_results.json", json.dump());
    const StudyResults study = read_study(dir.path());
    CHECK(test::contains(study.notes.at(0), "all_results.json has 9 of 10 right, dev_predictions.jsonl 8 of 10"));
  }
  SECTION("settings of a method that nobody knows") {
    test::change_settings(dir.path(), "sparse,half", 5, {{"sparse_method", "x"}});
    const StudyResults study = read_study(dir.path());
    CHECK(study.arms[1].runs[1].complete());
    CHECK(test::contains(study.notes.at(0), "sparse,half, seed 5: settings of all_results.json: \"sparse_method\" is"));
  }
  SECTION("results of another shape") {
    ordered_json json = ordered_json::parse(test::read_file(run + "/all_results.json"));
    for (const char* key : {"eval_attention_entropy", "eval_layer_sparsity_requested", "eval_flops", "threads"})
      json[key] = {{"a", 1}};
    json["eval_layer_sparsity"] = {0.1, 0.2};
    json["eval_loss"] = "x";
    test::write_file(run + "/all_results.json", json.dump());
    CHECK(std::isnan(read_study(dir.path()).arms[1].runs[1].loss));
  }
}

TEST_CASE("a study.json that cannot be used is an error that names it") {
  const test::TempDir dir;
  const auto message = [&] { return test::message_of<BadInput>([&] { read_study(dir.path()); }); };
  CHECK(test::contains(message(), dir / "study.json"));
  for (const char* text : {"[]", "{", R"({"seeds":[1],"arms":[{"name":"../out"}]})", R"({"arms":[{"name":"a"}]})",
                           R"({"seeds":[1],"arms":[]})", R"({"seeds":[1],"baseline":"b","arms":[{"name":"a"}]})"}) {
    INFO(text);
    test::write_file(dir / "study.json", text);
    CHECK(test::contains(message(), dir / "study.json"));
  }
  test::write_file(dir / "study.json", R"({"seeds":[1],"arms":[{"name":"a"}]})");
  CHECK(read_study(dir.path()).count(RunStatus::missing) == 1);
}

}  // namespace
}  // namespace crisp
