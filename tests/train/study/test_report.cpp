#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/train/study/report_checks.h"
#include "tests/train/study/synthetic_study.h"
#include "tests/train/support.h"
#include "train/page/charts.h"
#include "train/page/html.h"
#include "train/study/report.h"
#include "train/study/report_sections.h"

namespace crisp {
namespace {

using test::check_self_contained;
using test::contains;
using test::fault;
using test::report_of;

TEST_CASE("reports of one, four and twenty arms are well-formed and need nothing from outside") {
  const test::TempDir dir;
  test::SyntheticStudy study = test::crisp_study();
  SECTION("four arms") {
    test::write_study(dir.path(), study);
    const std::string html = report_of(dir.path());
    check_self_contained(html);
    for (const char* part : {"4\u00A0arms with 4\u00A0seeds each: 16\u00A0runs, all complete",
                             "<strong>aggressive</strong> minus dense: ", "class=\"thin two\"", "of 872", "Holm",
                             "McNemar", "20\u00A0% per layer", "Choices that are ours",
                             "crisp-train --data sst2 --epochs 1 --sparsity dense --weights minilm"})
      CHECK(contains(html, part));
    CHECK(html == study_report_html(read_study(dir.path())));  // the same each time
  }
  SECTION("one arm, one seed") {
    study.arms.resize(1);
    study.seeds = {42};
    test::write_study(dir.path(), study);
    const std::string html = report_of(dir.path());
    check_self_contained(html);
    CHECK(contains(html, "There is only one arm, so there is nothing to compare it with."));
    CHECK_FALSE(contains(html, "id=\"differences\""));
  }
  SECTION("four arms, one seed") {
    study.seeds = {42};
    test::write_study(dir.path(), study);
    const std::string html = report_of(dir.path());
    check_self_contained(html);
    CHECK(contains(html, "with one seed: how much of it is chance can’t be told"));
    CHECK_FALSE(contains(html, "no difference shown"));
    CHECK(contains(html, "A dot is a seed. One pair of runs has no interval over seeds.</figcaption>"));
    CHECK_FALSE(contains(html, "class=\"thin two\""));
    const auto json = nlohmann::ordered_json::parse(test::read_file(dir / "results.json"))["comparisons"][0];
    CHECK(json["two_level_bootstrap_95"][0].is_null());
    CHECK(json.contains("mcnemar_pooled"));
  }
  SECTION("twenty arms, a run that diverged, one that is missing") {
    study = test::large_study();
    test::write_study(dir.path(), study);
    test::diverge(dir.path(), "random-k-all", 1);
    std::filesystem::remove_all(test::run_dir(dir.path(), "syntax-late", 2));
    const std::string html = report_of(dir.path());
    check_self_contained(html);
    CHECK(contains(html, "of which 58 complete, 1 diverged, 1 missing"));
    CHECK(contains(html, "1 diverged</span>"));
    CHECK(contains(html, "the loss is not finite after step 917 (layer.3.ffn.lin1 &lt;weight&gt;)"));
    CHECK(contains(html, "rising linearly") == false);  // presets that no arm uses
    CHECK(contains(html, "BigBird’s mix"));
  }
  SECTION("nothing has run yet") {
    test::write_study_json(dir.path(), study);
    const std::string html = report_of(dir.path());
    check_self_contained(html);
    CHECK(contains(html, "of which 0 complete, 16 missing"));
    CHECK(contains(html, "has no complete run yet"));
  }
  SECTION("all of the baseline diverged") {
    test::write_study(dir.path(), study);
    for (const uint64_t seed : study.seeds) test::diverge(dir.path(), "dense", seed);
    const std::string html = report_of(dir.path());
    check_self_contained(html);
    CHECK(contains(html, "no seed is complete in both, so they can’t be compared"));
    CHECK(contains(html, "there is nothing to compare yet"));
  }
}

TEST_CASE("text from outside cannot become markup") {
  const test::TempDir dir;
  test::SyntheticStudy study = test::crisp_study();
  study.name = "a <b> & \"c\"";
  study.description = "</p><script>alert('x')</script>\x01";
  study.arms.resize(2);
  study.arms[1].options = {{"data", "it's <here> https"}};
  test::write_study(dir.path(), study);
  StudyResults results = read_study(dir.path());
  results.arms[1].name = results.arms[1].description = "x\"><script>&amp;";  // no study file may have such a name
  const std::string html = study_report_html(results);
  CHECK(fault(html) == "");
  CHECK_FALSE(contains(html, "<script"));
  CHECK(contains(html, "a &lt;b&gt; &amp; &quot;c&quot;"));
  CHECK(contains(html, "drags &lt;b&gt;on&lt;/b&gt; &amp; on"));  // a sentence

  CHECK(page::escape("a\tb\n") == "a\tb\n");
  CHECK(page::escape("\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x99\x82") == "\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x99\x82");
  // Stray, overlong, a surrogate, beyond Unicode, cut short, a control character.
  for (const char* bad : {"\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\x7F"}) {
    const std::string escaped = page::escape(std::string("a") + bad);
    CHECK(escaped.starts_with("a\uFFFD"));
    CHECK(page::escape(escaped) == escaped);
  }
}

TEST_CASE("numbers are written for people") {
  using namespace page;
  CHECK(fixed(-0.004, 2) == "0.00");
  CHECK(fixed(-1.5, 1) == "−1.5");
  CHECK(fixed(std::nan(""), 1) == "–");
  CHECK(with_sign(0.25, 2) == "+0.25");
  CHECK(with_sign(-0.0001, 2) == "0.00");
  CHECK(percent(0.9162) == "91.62\u00A0%");
  CHECK(points(0.003) == "+0.30");
  CHECK(fixed(1.5e16, 4) == "1.5e16");
  CHECK(fixed(99999999, 0) == "99999999");
  CHECK(fixed(123456789, 0) == "1.23e8");
  CHECK(with_sign(-2e9, 1) == "−2e9");
  CHECK(difference_interval({-1.96, 0.5}) == "−100.00\u00A0to\u00A0+50.00");
  CHECK(difference_interval({unknown, unknown}) == fixed(unknown, 0));
  CHECK(grouped(67349) == "67,349");
  CHECK(grouped(999) == "999");
  CHECK(p_value(0.0004) == "&lt;\u00A00.001");
  CHECK(p_equals(0.0123) == "p\u00A0=\u00A00.012");
  CHECK(interval({-0.004, 0.01}, 100, 1) == "−0.4\u00A0to\u00A0+1.0");
  CHECK(listed({"a", "b", "c"}) == "a, b and c");
  CHECK(counted(1, "seed", "seeds") == "1\u00A0seed");
}

TEST_CASE("axes have round ticks within what they show") {
  using namespace page;
  const Axis axis = make_axis({0.881, 0.917}, "", percent_unit);
  CHECK(axis.low <= 0.881);
  CHECK(axis.high >= 0.917);
  REQUIRE(axis.ticks.size() >= 3);
  CHECK(axis.ticks.front() >= axis.low);
  CHECK(axis.ticks.back() <= axis.high);
  CHECK(axis.label(0.89) == "89\u00A0%");
  CHECK(make_axis({0.0, 0.00025}, "", plain_unit).decimals == 4);
  CHECK(axis.position(axis.low) == 0);
  CHECK(axis.position(2) == 100);
  for (const std::vector<double>& odd :
       {std::vector<double>{}, {std::nan("")}, {0.5}, {0, 0}, {1e-300}, {-3e18, 5e18}}) {
    const Axis a = make_axis(odd, "", plain_unit);
    CHECK(a.high > a.low);
    CHECK(a.ticks.size() >= 2);
    CHECK(a.ticks.size() < 12);
  }
  const Axis large = make_axis({0, 1.5e16}, "", plain_unit);
  REQUIRE(large.ticks.size() == 4);
  CHECK(large.label(0) == "0");
  CHECK(large.label(large.ticks[1]) == "5e15");
  CHECK(large.label(large.ticks[3]) == "1.5e16");
  CHECK(make_axis({-4e6, 5e6}, "", plain_unit).label(-2.5e6) == "−2.5e6");
}

TEST_CASE("a robust axis leaves out what is far too large, and its charts mark that") {
  using namespace page;
  CHECK(robust({0.3, -4, 1e16, std::nan("")}, 3) == std::vector<double>{0.3});
  CHECK(robust({5, 6}, 1) == std::vector<double>{5, 6});
  RowChart chart;
  chart.rows = {{"a", "", true, {{0.3, "first"}, {0.31, "second"}}, 0.305, {0.29, 0.32}},
                {"b", "", false, {{1e16, "third"}}, 1e16, {9e15, 2e16}}};
  chart.reference = 1e16;
  chart.axis = row_axis(chart.rows, {}, "", plain_unit, 3);
  CHECK(chart.axis.high < 0.5);
  CHECK(chart.outside() == std::vector<std::string>{"third"});
  std::string html = chart.html();
  CHECK(contains(html, "<path class=\"dot\""));
  CHECK_FALSE(contains(html, "class=\"reference\""));
  chart.axis = row_axis(chart.rows, {}, "", plain_unit);
  CHECK(chart.outside().empty());
  html = chart.html();
  CHECK_FALSE(contains(html, "<path"));
  CHECK(contains(html, "class=\"reference\""));
}

// A comparison as it would come from `n` seeds.
ArmComparison comparison(int64_t n, double mean, double sd, double p, double adjusted) {
  ArmComparison c;
  c.arm = 1;
  c.accuracy = {n, mean, sd, {mean - 0.01, mean + 0.01}, p, {mean - 0.01, mean + 0.01}};
  c.adjusted_p = adjusted;
  c.by_example = true;
  c.two_level = {mean - 0.02, mean + 0.02};
  return c;
}

TEST_CASE("the summary's sentences say no more than the numbers do") {
  using report::Verdict;
  using report::verdict;
  StudyResults study;
  study.arms.resize(3);
  study.arms[0].name = "dense";
  study.arms[1].name = "aggressive";
  study.comparisons.resize(2);
  const auto says = [&](const ArmComparison& c) { return report::sentence(c, study); };

  const ArmComparison none = comparison(8, 0.003, 0.01, 0.4, 0.8);
  CHECK(verdict(none) == Verdict::none_shown);
  CHECK(says(none) ==
        "<strong>aggressive</strong> minus dense: +0.30 points, 95 % interval −0.70\u00A0to\u00A0+1.30 over "
        "8\u00A0seeds: no difference shown.");
  const ArmComparison uncorrected = comparison(8, 0.012, 0.01, 0.03, 0.06);
  CHECK(verdict(uncorrected) == Verdict::uncorrected_only);
  CHECK(contains(says(uncorrected),
                 "p\u00A0=\u00A00.030 by itself, but 0.060 after Holm’s correction for 2 comparisons: "
                 "no difference shown."));
  const ArmComparison seeds_only = comparison(8, 0.012, 0.01, 0.01, 0.02);
  CHECK(verdict(seeds_only) == Verdict::shown);
  CHECK(contains(says(seeds_only), "a higher accuracy is shown"));
  CHECK(contains(says(seeds_only), "for other sentences of the kind it is not shown"));
  const ArmComparison shown = comparison(8, -0.03, 0.01, 1e-5, 2e-5);
  CHECK(contains(says(shown), "a lower accuracy is shown"));
  CHECK(contains(says(shown), "(p\u00A0&lt;\u00A00.001 after Holm’s correction for 2 comparisons)"));
  CHECK(contains(says(shown), "leaves out 0 as well, but is not corrected for the 2 comparisons"));
  CHECK_FALSE(contains(says(shown), "it holds for other sentences"));
  CHECK(verdict(comparison(1, 0.01, unknown, unknown, unknown)) == Verdict::one_seed);
  CHECK(verdict(comparison(0, unknown, unknown, unknown, unknown)) == Verdict::not_comparable);
  CHECK(verdict(comparison(3, 0.01, 0, unknown, unknown)) == Verdict::no_spread);
  CHECK(contains(says(comparison(3, 0.01, 0, unknown, unknown)),
                 "Student’s interval does not exist; the 95 % interval over seeds and sentences is "
                 "−1.00\u00A0to\u00A0+3.00."));
  CHECK(verdict(comparison(3, 0, 0, 1, 1)) == Verdict::equal);
  CHECK(contains(says(comparison(3, 0, 0, 1, 1)), "the same accuracy with each of 3\u00A0seeds"));
  study.comparisons.resize(1);  // nothing to correct for
  CHECK(contains(says(comparison(8, -0.03, 0.01, 1e-5, 1e-5)), "it holds for other sentences of the kind, too"));
}

TEST_CASE("a study of many arms has one entry for all arms of a kind") {
  const test::TempDir dir;
  test::SyntheticStudy study = test::large_study();
  SECTION("one seed") {
    study.seeds = {42};
    test::write_study(dir.path(), study);
    const std::string html = report_of(dir.path());
    CHECK(contains(html, "<strong>One seed</strong> for 19\u00A0arms (top-k-all, "));
    CHECK_FALSE(contains(html, "with one seed: how much of it"));
  }
  SECTION("nothing to compare") {
    test::write_study_json(dir.path(), study);
    test::write_run(dir.path(), study, study.arms[0], 0);
    CHECK(contains(report_of(dir.path()), "<strong>Not compared</strong>: of 19\u00A0arms ("));
  }
  SECTION("no difference shown") {
    test::write_study(dir.path(), study);
    StudyResults results = read_study(dir.path());
    for (size_t i = 0; i < results.comparisons.size(); ++i) {
      ArmComparison& c = results.comparisons[i];
      const size_t arm = c.arm;
      c = i == 1 ? comparison(3, 0, 0, 1, 1) : comparison(3, 0.003, 0.01, 0.4, 0.8);
      c.arm = arm;
    }
    std::string html = study_report_html(results);
    CHECK(fault(html) == "");
    CHECK(contains(html,
                   "<strong>No difference shown</strong> for 19\u00A0arms; mean difference from dense in points, in "
                   "brackets its 95\u00A0% interval over 3\u00A0seeds:"));
    CHECK(contains(html, "<li>top-k-all: +0.30 (−0.70\u00A0to\u00A0+1.30)</li>"));
    CHECK(contains(html, "<li>top-k-early: 0.00 (the same with each seed)</li>"));
    results.comparisons[2].accuracy = comparison(3, -0.02, 0.002, 0.004, 0.05).accuracy;
    results.comparisons[2].adjusted_p = 0.07;
    results.comparisons[3] = results.comparisons[2];
    results.comparisons[3].arm = 4;
    for (const size_t i : {4, 5}) {
      results.comparisons[i] = comparison(3, -0.03, 0.001, 1e-4, 0.002);
      results.comparisons[i].arm = i + 1;
    }
    html = study_report_html(results);
    CHECK(fault(html) == "");
    CHECK(
        contains(html,
                 "<strong>A lower accuracy is shown</strong> for 2\u00A0arms, for new seeds on these dev sentences (p "
                 "after Holm’s correction for 19 comparisons); mean difference from dense in points, in brackets its "
                 "95\u00A0% interval over 3\u00A0seeds, then that over seeds and sentences, which is not corrected"));
    CHECK(contains(html, "), p\u00A0=\u00A00.002</li>"));
    CHECK(contains(html,
                   "<strong>No difference shown</strong> for 2\u00A0arms, though their p is below 0.05 by itself (in "
                   "brackets: after Holm’s correction for 19 comparisons); mean difference"));
    CHECK(contains(html, "), p\u00A0=\u00A00.004 (0.070)</li>"));
    CHECK(contains(html, "<strong>No difference shown</strong> for 15\u00A0arms; mean"));
    results.comparisons[0].accuracy.n = 2;
    html = study_report_html(results);
    CHECK(contains(html, "interval over seeds:"));
    CHECK(contains(html, "<li>top-k-all: +0.30 (−0.70\u00A0to\u00A0+1.30, 2\u00A0seeds)</li>"));
  }
  SECTION("no spread") {
    test::write_study(dir.path(), study);
    StudyResults results = read_study(dir.path());
    for (ArmComparison& c : results.comparisons)
      c = [&] {
        ArmComparison same = comparison(3, 0.01, 0, unknown, unknown);
        same.arm = c.arm;
        return same;
      }();
    CHECK(contains(study_report_html(results), "<strong>The same difference with each seed</strong> for 19\u00A0arms"));
  }
}

TEST_CASE("the summary says what the best evaluation was chosen on, of each arm") {
  const test::TempDir dir;
  test::SyntheticStudy study = test::crisp_study();
  study.evaluations = 3;
  test::write_study(dir.path(), study);
  const auto set = [&](const std::string& arm, const nlohmann::ordered_json& settings) {
    for (const uint64_t seed : study.seeds) test::change_settings(dir.path(), arm, seed, settings);
  };
  for (const auto& arm : study.arms) set(arm.name, {{"select", "last"}, {"selection_part", 0.0}});
  const char* optimistic = "makes these accuracies optimistic";
  CHECK_FALSE(contains(report_of(dir.path()), optimistic));
  set("light", {{"select", "best"}});
  std::string html = report_of(dir.path());
  CHECK(contains(html, "The runs of light report the best of their evaluations on the same dev sentences"));
  CHECK(contains(html, "optimistic, and favours them over the other arms."));
  for (const auto& arm : study.arms) set(arm.name, {{"select", "best"}});
  html = report_of(dir.path());
  CHECK(contains(html, "All runs report the best of their evaluations on the same dev sentences"));
  CHECK(contains(html, "optimistic."));
  for (const auto& arm : study.arms) set(arm.name, {{"selection_part", 0.1}});
  html = report_of(dir.path());
  CHECK_FALSE(contains(html, optimistic));
  CHECK(contains(html, "All runs report the evaluation that was best on sentences set aside from the training set"));
}

TEST_CASE("the report tells of unequal sparsity, of other data, of settings that differ and of the sample") {
  const test::TempDir dir;
  test::SyntheticStudy study = test::crisp_study();
  study.arms[1].sparsity = study.arms[2].sparsity = 0.6;  // uniform and light
  test::write_study(dir.path(), study);
  std::string html = report_of(dir.path());
  for (const char* absent : {"confounded", "bundled sample", "More than 5\u00A0points away", "had different"})
    CHECK_FALSE(contains(html, absent));
  SECTION("sparsity") {
    for (const uint64_t seed : study.seeds) {
      const std::string path = test::run_dir(dir.path(), "light", seed) + "/all_results.json";
      auto results = nlohmann::ordered_json::parse(test::read_file(path));
      results["eval_sparsity"] = 0.48;
      test::write_file(path, results.dump());
    }
    html = report_of(dir.path());
    const std::string off =
        "More than 5 points away from the requested sparsity, on average over layers: light (48.0\u00A0% instead of "
        "60.0\u00A0%).";
    const size_t first = html.find(off);
    REQUIRE(first != std::string::npos);
    CHECK(html.find(off, first + 1) != std::string::npos);  // in the summary, and under the chart
    CHECK(contains(html, "are confounded with sparsity. "));
    CHECK(contains(html, "60.0\u00A0% requested: from 48.0\u00A0% (light) to 60.0\u00A0% (uniform)."));
  }
  SECTION("data and settings") {
    for (const auto& arm : study.arms)
      for (const uint64_t seed : study.seeds)
        test::change_settings(dir.path(), arm.name, seed,
                              {{"training_data_sha256", arm.name == "light" ? "abc" : "def"}});
    test::change_settings(dir.path(), "light", 0, {{"warmup_steps", 7}});
    html = report_of(dir.path());
    CHECK(contains(html, "light and dense had different training sets"));
    CHECK(contains(html, "differs: <code>def</code> (dense, uniform and aggressive); <code>abc</code> (light)"));
    CHECK(contains(html, "differs: <code>7</code> (light); absent in 15\u00A0runs"));
    check_self_contained(html);
  }
  SECTION("sample") {
    auto json = nlohmann::ordered_json::parse(test::read_file(dir / "study.json"));
    json["options"] = {{"epochs", "1"}};
    test::write_file(dir / "study.json", json.dump());
    CHECK(contains(report_of(dir.path()), "<strong>All runs are on the bundled sample</strong>"));
    json["arms"][0]["options"]["data"] = "sst2";
    test::write_file(dir / "study.json", json.dump());
    CHECK(contains(report_of(dir.path()),
                   "<strong>The runs of uniform, light and aggressive are on the bundled sample</strong>"));
  }
}

TEST_CASE("dev losses are shown as differences at equal epochs, and of the evaluations reported") {
  const test::TempDir dir;
  test::SyntheticStudy study = test::crisp_study();
  study.evaluations = 3;
  test::write_study(dir.path(), study);
  StudyResults results = read_study(dir.path());
  REQUIRE(results.comparisons[0].matched_losses.size() == 3);
  results.comparisons[0].matched_losses[1].loss.mean = 0.4321;
  results.comparisons[0].matched_losses[1].loss.t_interval = {0.125, 0.75};
  const std::string html = study_report_html(results);
  CHECK(contains(html, "+0.4321<br/><span class=\"small\">+0.1250\u00A0to\u00A0+0.7500</span>"));
  CHECK_FALSE(contains(html, "at the end"));
}

}  // namespace
}  // namespace crisp
