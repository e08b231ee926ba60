// What the report says of runs that are no plain ones: of different lengths, damaged, blown up, or too few.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/train/study/report_checks.h"
#include "tests/train/study/synthetic_study.h"
#include "tests/train/support.h"
#include "train/study/report_sections.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;
using test::check_self_contained;
using test::contains;
using test::report_of;
using test::section;

// The coordinates of the baseline's curve.
std::string baseline_curve(const std::string& html) {
  const std::string start = "<polyline class=\"curve c0\" points=\"";
  const size_t at = html.find(start);
  return at == std::string::npos
             ? ""
             : html.substr(at + start.size(), html.find('"', at + start.size()) - at - start.size());
}

// A complete run that lost `loss` at each of its steps.
StudyRun steady_run(int64_t steps, double loss) {
  StudyRun run;
  run.status = RunStatus::complete;
  run.steps = steps;
  for (int64_t step = 1; step <= steps; ++step)
    run.training_losses.push_back({step, static_cast<double>(step) / 100, loss});
  return run;
}

TEST_CASE("runs of different lengths have a mean curve up to the end of the first") {
  StudyResults study;
  study.seeds = {0, 1};
  study.arms.resize(1);
  StudyArm& arm = study.arms[0];
  arm.name = "dense";
  arm.runs = {steady_run(200, 1), steady_run(300, 3)};
  std::string html = report::loss_curves(study);
  const std::string mean = baseline_curve(html);
  CHECK(std::count(mean.begin(), mean.end(), ',') == 120);  // each step is common; thinned afterwards
  CHECK(mean.starts_with("5.0,500.0 "));                    // epoch 0.01 of 2, a loss of 2 between 1 and 3
  CHECK(mean.ends_with(" 1000.0,500.0 "));
  CHECK(contains(html,
                 "The line of an arm whose runs ended at different steps ends with the first of them: dense "
                 "(200 to 300 steps)."));
  arm.runs[0].steps = 300;
  CHECK_FALSE(contains(report::loss_curves(study), "ended at different steps"));

  // A run whose metrics are damaged has no part in the curve while there are others.
  arm.runs[0] = steady_run(200, 1);
  arm.runs[1] = steady_run(200, 3);
  arm.runs[1].training_losses.resize(5);
  arm.runs[1].whole_curves = false;
  std::string curve = baseline_curve(report::loss_curves(study));
  CHECK(std::count(curve.begin(), curve.end(), ',') == 120);
  arm.runs[0].whole_curves = false;
  curve = baseline_curve(report::loss_curves(study));
  CHECK(std::count(curve.begin(), curve.end(), ',') == 5);
  arm.runs[1].training_losses.clear();
  curve = baseline_curve(report::loss_curves(study));
  CHECK(std::count(curve.begin(), curve.end(), ',') == 120);
}

TEST_CASE("a run whose metrics are damaged is named") {
  const test::TempDir dir;
  test::SyntheticStudy study = test::crisp_study();
  study.arms.resize(2);
  study.seeds = {0, 1};
  test::write_study(dir.path(), study);
  const std::string path = test::run_dir(dir.path(), "uniform", 1) + "/metrics.jsonl", whole = test::read_file(path);
  const auto note = [&] {
    const StudyResults results = read_study(dir.path());
    CHECK(results.notes.size() <= 1);
    CHECK(results.arms[1].runs[1].whole_curves == results.notes.empty());
    return results.notes.empty() ? "" : results.notes[0];
  };
  CHECK(note().empty());
  test::write_file(path, whole + "{\"step\": 21");  // a last line cut short is what an interruption leaves
  CHECK(note().empty());
  test::write_file(path, "{\"step\": 50, \"lo\n\x01\n" + whole);
  CHECK(note() ==
        "uniform, seed 1: metrics.jsonl has 2 damaged lines, so the arm's loss curves are those of its other runs, if "
        "it has any.");
  check_self_contained(report_of(dir.path()));
  test::write_file(path, whole.substr(0, whole.find("{\"step\":550,")));
  CHECK(contains(note(), "uniform, seed 1: metrics.jsonl ends at step 500 of 2105, so"));
  std::filesystem::remove(path);
  CHECK(contains(note(), "uniform, seed 1: metrics.jsonl is absent or has no step, so"));
}

TEST_CASE("counts that cannot be make a run a failed one") {
  const test::TempDir dir;
  test::SyntheticStudy study = test::crisp_study();
  study.arms.resize(2);
  study.seeds = {0, 1};
  test::write_study(dir.path(), study);
  const std::pair<ordered_json, std::string> table[] = {{{{"eval_correct", 5000}}, "5000 of 872"},
                                                        {{{"eval_correct", -1}}, "-1 of 872"},
                                                        {{{"eval_correct", 435.5}}, "435.5 of 872"},
                                                        {{{"eval_correct", "x"}}, "\"x\" of 872"},
                                                        {{{"eval_correct", 3}, {"eval_total", 5.5}}, "3 of 5.5"}};
  for (const auto& [changes, words] : table) {
    CAPTURE(words);
    test::change_results(dir.path(), "uniform", 0, {{"eval_correct", 700}, {"eval_total", 872}});
    CHECK(read_study(dir.path()).arms[1].runs[0].complete());
    test::change_results(dir.path(), "uniform", 0, changes);
    const StudyResults results = read_study(dir.path());
    CHECK(results.arms[1].runs[0].status == RunStatus::failed);
    CHECK(results.comparisons[0].seeds == std::vector<uint64_t>{1});
    REQUIRE(results.notes.size() == 1);
    CHECK(results.notes[0] == "uniform, seed 0: all_results.json says " + words +
                                  " right (eval_correct, eval_total), which is no count, so the run counts as failed.");
  }
}

TEST_CASE("a result of the wrong type makes a run a failed one") {
  const test::TempDir dir;
  test::SyntheticStudy study = test::crisp_study();
  study.arms.resize(2);
  study.seeds = {0, 1};
  test::write_study(dir.path(), study);
  const std::pair<ordered_json, std::string> table[] = {
      {{{"train_loss", "0.3"}}, R"("train_loss" is "0.3"; it must be a finite number)"},
      {{{"step", 1.5}}, R"("step" is 1.5; it must be a whole number from)"},
      {{{"eval_layer_sparsity", {0.5, "\x1b[31m"}}},
       R"("eval_layer_sparsity" is [0.5, "\u001b[31m"]; it must be a list)"},
      {{{"eval_flops", 3}}, R"("eval_flops" is 3; it must be an object)"}};
  for (const auto& [changes, words] : table) {
    CAPTURE(words);
    test::write_run(dir.path(), study, study.arms[1], 0);
    CHECK(read_study(dir.path()).arms[1].runs[0].complete());
    test::change_results(dir.path(), "uniform", 0, changes);
    const StudyResults results = read_study(dir.path());
    CHECK(results.arms[1].runs[0].status == RunStatus::failed);
    CHECK(results.arms[1].runs[0].total == 0);  // nothing is taken from such a file
    REQUIRE(results.notes.size() == 1);
    CHECK(results.notes[0].starts_with("uniform, seed 0: all_results.json: " + words));
    CHECK(results.notes[0].ends_with(", so the run counts as failed."));
    check_self_contained(report_of(dir.path()));
  }
}

TEST_CASE("the summary says where dev sentences decide how long runs train, and that lengths differ") {
  const test::TempDir dir;
  test::SyntheticStudy study = test::crisp_study();
  study.evaluations = 3;
  test::write_study(dir.path(), study);
  const auto set = [&](const std::string& arm, const ordered_json& settings) {
    for (const uint64_t seed : study.seeds) test::change_settings(dir.path(), arm, seed, settings);
  };
  const char* decide = "these sentences decide how long they train, which makes these accuracies optimistic";
  std::string html = report_of(dir.path());
  CHECK_FALSE(contains(html, decide));
  CHECK_FALSE(contains(html, "ended at different steps"));
  set("light", {{"early_stopping_patience", 2}});
  test::change_results(dir.path(), "light", 1, {{"step", 1000}});
  html = report_of(dir.path());
  check_self_contained(html);
  CHECK(contains(html, "The runs of light end when their accuracy on the same dev sentences has not risen"));
  CHECK(contains(html, std::string(decide) + ", and favours them over the other arms."));
  CHECK(contains(html, "Runs of one arm ended at different steps: light (1,000 to 2,105 steps)."));
  for (const auto& arm : study.arms) set(arm.name, {{"early_stopping_patience", 2}});
  html = report_of(dir.path());
  CHECK(contains(html, "All runs end when their accuracy on the same dev sentences has not risen"));
  CHECK(contains(html, std::string(decide) + "."));
  for (const auto& arm : study.arms) set(arm.name, {{"selection_part", 0.1}});
  CHECK_FALSE(contains(report_of(dir.path()), decide));
}

TEST_CASE("a run that blew up to a finite loss is named, and leaves the charts to the others") {
  const test::TempDir dir;
  const test::SyntheticStudy study = test::crisp_study();
  test::write_study(dir.path(), study);
  CHECK_FALSE(contains(report_of(dir.path()), "Blown up"));
  CHECK_FALSE(contains(report_of(dir.path()), "Outside the scale"));
  test::change_results(dir.path(), "aggressive", 2, {{"eval_loss", 1.5e16}, {"last_eval_loss", 1.5e16}});
  std::string metrics;
  for (int step = 50; step <= 2100; step += 50)
    metrics += ordered_json{{"step", step}, {"epoch", step / 2105.0}, {"loss", step < 1000 ? 0.6 : 1e16}}.dump() + "\n";
  metrics += ordered_json{{"step", 2105}, {"epoch", 1.0}, {"eval_loss", 1.5e16}}.dump() + "\n";
  test::write_file(test::run_dir(dir.path(), "aggressive", 2) + "/metrics.jsonl", metrics);
  const std::string html = report_of(dir.path());
  check_self_contained(html);
  CHECK(contains(html,
                 "<strong>Blown up</strong>, though every loss stayed finite: a final dev loss of more than 5 times "
                 "0.69, that of even probabilities, in 1\u00A0run: aggressive, seed 2 (1.5e16)."));
  CHECK_FALSE(contains(html, "00000000"));
  CHECK(contains(section(html, "loss"), "Outside the scale, at its edge: aggressive (up to 1e16)."));
  CHECK(contains(section(html, "loss"), "<path class=\"mark c3\""));
  CHECK_FALSE(contains(section(html, "loss"), "e15</text>"));
  CHECK(contains(section(html, "generalisation"), "Outside the scale, at its edge: aggressive, seed 2: 1.5e16."));
  CHECK(contains(section(html, "generalisation"), "<path class=\"dot\""));
  CHECK_FALSE(contains(section(html, "generalisation"), "e15</text>"));
}

TEST_CASE("the difference that would be seen is stated for one comparison, and at the strictest level of several") {
  const test::TempDir dir;
  test::write_study(dir.path(), test::crisp_study());
  StudyResults results = read_study(dir.path());
  const auto set = [&](size_t i, double single, double corrected) {
    results.comparisons[i].detectable = single;
    results.comparisons[i].detectable_corrected = corrected;
  };
  set(0, 0.0109, 0.0205), set(1, 0.032, 0.05), set(2, 0.02, 0.03);
  std::string html = study_report_html(results);
  CHECK(
      contains(html,
               "With 4\u00A0seeds and the spread between them, the true difference that would be seen in 80\u00A0% of "
               "such studies is 1.09 to 3.20 points in one comparison at 5\u00A0%, and 2.05 to 5.00 points at "
               "1.67\u00A0%, which Holm’s correction for 3 comparisons asks of the smallest p."));
  CHECK(contains(section(html, "differences"), "<td>1.09</td><td>2.05</td>"));
  set(1, 0.5, 1.96);
  html = study_report_html(results);
  CHECK(contains(html, "2.05 points to more than any possible difference, depending on the arm, at 1.67\u00A0%"));
  CHECK(contains(section(html, "differences"), "<td>50.00</td><td>&gt;\u00A0100</td>"));
  CHECK_FALSE(contains(html, "196.00"));
}

TEST_CASE("intervals are shown within what is possible") {
  const test::TempDir dir;
  test::SyntheticStudy study = test::crisp_study();
  study.arms.resize(2);
  {
    const test::TempDir whole;
    test::write_study(whole.path(), study);
    CHECK_FALSE(contains(report_of(whole.path()), "is cut at"));
  }
  study.seeds = {0, 1};
  test::write_study(dir.path(), study);
  test::change_results(dir.path(), "uniform", 0, {{"eval_correct", 436}});
  test::change_results(dir.path(), "uniform", 1, {{"eval_correct", 866}});
  const std::string html = report_of(dir.path());
  check_self_contained(html);
  CHECK(contains(section(html, "accuracy"), "<td>0.00\u00A0% to 100.00\u00A0%</td>"));
  CHECK(contains(section(html, "accuracy"), "It is cut at 0 and 100\u00A0%."));
  const std::string cut = "−100.00\u00A0to\u00A0+100.00";
  CHECK(contains(section(html, "differences"), "<td>" + cut + "</td>"));
  CHECK(contains(section(html, "differences"), "It is cut at 100 points either way"));
  CHECK(contains(html, "95\u00A0% interval " + cut + " over 2\u00A0seeds"));
  CHECK(contains(html, "is more than any possible difference in one comparison at 5\u00A0%. A smaller one"));
  const auto json = ordered_json::parse(test::read_file(dir / "results.json"))["comparisons"][0];
  CHECK(json["accuracy"]["t_interval_95"][1].get<double>() > 1);
  CHECK(json["detectable_with_80_percent"].get<double>() > 1);
}

}  // namespace
}  // namespace crisp
