// What the report says of arms that are no plain choice by a requested sparsity, on one machine.
#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/train/study/report_checks.h"
#include "tests/train/study/synthetic_study.h"
#include "tests/train/support.h"
#include "train/page/charts.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;
using test::check_self_contained;
using test::contains;
using test::report_of;
using test::section;

// The last row of an arm in a section's tables.
std::string row(const std::string& html, const std::string& id, const std::string& arm) {
  const std::string text = section(html, id);
  const size_t start = text.rfind("<th scope=\"row\">" + arm + "</th>");
  return start == std::string::npos ? "" : text.substr(start, text.find("</tr>", start) - start);
}

TEST_CASE("times of different kernels or threads are not divided") {
  const test::TempDir dir;
  const test::SyntheticStudy study = test::crisp_study();
  test::write_study(dir.path(), study);
  CHECK_FALSE(contains(report_of(dir.path()), "No ratio is given"));
  test::change_results(dir.path(), "light", 2, {{"instruction_set", "generic"}});
  for (const uint64_t seed : study.seeds) test::change_results(dir.path(), "aggressive", seed, {{"threads", 2}});
  const std::string html = report_of(dir.path());
  check_self_contained(html);
  CHECK(contains(row(html, "time", "dense"), "1.00×"));
  CHECK(contains(row(html, "time", "uniform"), "×"));
  CHECK_FALSE(contains(row(html, "time", "light"), "×"));
  CHECK(contains(row(html, "time", "light"), "<code>avx512</code> and <code>generic</code>"));
  CHECK_FALSE(contains(row(html, "time", "aggressive"), "×"));
  CHECK(contains(section(html, "time"), "No ratio is given"));
  CHECK(contains(html, "different kernels (avx512, generic; "));
  CHECK(contains(html, "light (seed 2), each beside dense."));
}

TEST_CASE("arms that are sparse in training only are named") {
  const test::TempDir dir;
  const test::SyntheticStudy study = test::crisp_study();
  test::write_study(dir.path(), study);
  CHECK_FALSE(contains(report_of(dir.path()), "in training only"));
  for (const uint64_t seed : study.seeds) {
    test::change_settings(dir.path(), "uniform", seed, {{"drop_attention", 0.3}, {"drop_attention_unit", "column"}});
    test::change_settings(dir.path(), "light", seed, {{"sparse_eval", false}});
    test::change_settings(dir.path(), "aggressive", seed,
                          {{"sparse_method", "attention-drop"}, {"attention_drop", 0.5}});
  }
  const std::string html = report_of(dir.path());
  check_self_contained(html);
  for (const char* id : {"sparsity", "flops"}) {
    const std::string text = section(html, id);
    CHECK(
        contains(text,
                 "Sparse in training only, hence dense in what the evaluation counts: light (60.0\u00A0% requested, by "
                 "top-k) and aggressive (each of the strongest 80.0\u00A0% of the scores removed with probability "
                 "0.5). Sparser in training than in what the evaluation counts: uniform (each kept key removed with "
                 "probability 0.3, by columns)."));
  }
}

// Dense, top-k and two mixes whose sparsity is measured alone.
test::SyntheticStudy mixes(double one, double other) {
  test::SyntheticStudy study = test::crisp_study();
  study.arms = {{"dense", {{"sparsity", "dense"}}, 0.890, 0},
                {"topk", {{"sparsity", 0.6}}, 0.889, 0.6},
                {"near", {{"sparse-method", "bigbird"}, {"bigbird", "6,0,0"}}, 0.887, one},
                {"far", {{"sparse-method", "bigbird"}, {"bigbird", "0,3,3"}}, 0.886, other}};
  study.seeds = {0, 1};
  return study;
}

TEST_CASE("arms without a requested sparsity are named where theirs is not that of others") {
  const test::TempDir dir;
  test::write_study(dir.path(), mixes(0.58, 0.62));
  CHECK_FALSE(contains(report_of(dir.path()), "Without a requested sparsity"));
  test::write_study(dir.path(), mixes(0.58, 0.45));
  const std::string html = report_of(dir.path());
  check_self_contained(html);
  const std::string words =
      "Without a requested sparsity, and in the measured one more than 5 points away from other sparse arms: near "
      "(58.0\u00A0%) and far (45.0\u00A0%).";
  CHECK(contains(section(html, "sparsity"), words));
  CHECK(contains(html, "are confounded with sparsity. " + words));
}

TEST_CASE("what sparsity can save depends on whether scores choose the keys") {
  const test::TempDir dir;
  test::SyntheticStudy study = mixes(0.66, 0.2);
  study.arms[1].sparsity = 0.8;
  test::write_study(dir.path(), study);
  const std::string html = report_of(dir.path());
  // Of 610 million operations 3.4 are attention's: 0.66 of them go with lists, half of 0.8 of them with scores.
  CHECK(contains(html, "the arm that can save most here, near, saves <strong>0.37\u00A0%</strong>"));
  CHECK(row(html, "flops", "near").ends_with("<td>0.37\u00A0%</td><td>–</td>"));
  CHECK(row(html, "flops", "topk").ends_with("<td>–</td><td>0.22\u00A0%</td>"));
  CHECK(contains(section(html, "flops"), "the last layer counts in full"));
}

TEST_CASE("learned degrees are in the report and in results.json") {
  const test::TempDir dir;
  const test::SyntheticStudy study = test::crisp_study();
  test::write_study(dir.path(), study);
  CHECK(section(report_of(dir.path()), "degrees").empty());
  const size_t heads = 12;
  for (const uint64_t seed : study.seeds) {
    ordered_json spans(6, ordered_json::array()), windows(6, ordered_json::array());  // in one of six layers
    spans[2] = std::vector<double>(heads, 7.5);
    windows[2] = std::vector<int64_t>(heads, seed < 2 ? 9 : 10);
    test::change_results(dir.path(), "light", seed, {{"spans", spans}, {"span_windows", windows}});
  }
  const std::string html = report_of(dir.path());
  check_self_contained(html);
  CHECK(contains(row(html, "degrees", "light, 2"), "<td>9.5 (7.5)</td>"));
  CHECK(row(html, "degrees", "light, 1").empty());
  CHECK(row(html, "degrees", "dense, 2").empty());
  const auto json = ordered_json::parse(test::read_file(dir / "results.json"));
  CHECK(json["arms"][2]["runs"][3]["spans"][2][11] == 7.5);
  CHECK(json["arms"][2]["runs"][3]["span_windows"][2][11] == 10);
  CHECK(json["arms"][2]["runs"][3]["spans"][1].empty());
  CHECK_FALSE(json["arms"][0]["runs"][0].contains("spans"));
}

TEST_CASE("pairs that do not share the last layer's dropout are named") {
  const test::TempDir dir;
  const test::SyntheticStudy study = test::crisp_study();
  test::write_study(dir.path(), study);
  const char* words = "in that layer light and the baseline do not share it";
  CHECK_FALSE(contains(report_of(dir.path()), words));
  const auto set = [&](const ordered_json& settings) {
    for (const uint64_t seed : study.seeds) test::change_settings(dir.path(), "light", seed, settings);
  };
  set({{"sparse_method", "percentile"}});
  const std::string html = report_of(dir.path());
  check_self_contained(html);
  CHECK(contains(section(html, "differences"), words));
  set({{"sparse_layers", {0, 1}}});
  CHECK_FALSE(contains(report_of(dir.path()), words));
}

TEST_CASE("the list of choices has those of the methods that a study uses") {
  const test::TempDir dir;
  test::SyntheticStudy study = test::crisp_study();
  const auto html = [&] {
    test::write_study_json(dir.path(), study);
    return report_of(dir.path());
  };
  const char* of_methods[] = {"neither in the norm nor scaled",
                              "goes on from them",
                              "never removes them",
                              "percentile and pairs of runs",
                              "the preset “breaking-bert” as it comes",
                              "removed (score −∞, weight 0) instead of its score set to 0"};
  const std::string plain = html();
  for (const char* words : of_methods) CHECK_FALSE(contains(plain, words));
  CHECK(contains(plain, "the preset “crisp” as it comes"));
  study.name = "breaking-bert";
  study.arms[1].options = {{"sparse-method", "learned-span"}};
  study.arms[2].options = {{"sparse-method", "percentile"}, {"sparsity", "0.8"}, {"keep", "cls"}};
  study.arms[3].options = {{"sparse-method", "attention-drop"}, {"sparsity", "0.8"}};
  const std::string more = html();
  check_self_contained(more);
  for (const char* words : of_methods) CHECK(contains(more, words));
  CHECK(contains(more, "with 0.4 in all layers"));
  CHECK(contains(more, "a learning rate of 0.05 for z"));
}

TEST_CASE("the numbers of a scatter chart keep off the axis and off each other") {
  using namespace page;
  ScatterChart chart;
  chart.x = make_axis({0, 0.8}, "", percent_unit);
  chart.y = make_axis({0.5, 0.9}, "", percent_unit);
  for (int i = 1; i <= 6; ++i) chart.points.push_back({0, 0.7, i, false, "", {}});
  chart.points.push_back({0.8, 0.9, 7, false, "", {}});
  const std::string html = chart.html();
  std::vector<std::string> places;
  const std::string number = "<text class=\"number\" x=\"";
  for (size_t at = html.find(number); at != std::string::npos; at = html.find(number, at + 1)) {
    const std::string place = html.substr(at + number.size(), html.find(" text-anchor", at) - at - number.size());
    places.push_back(place);
    if (places.size() > 6) break;  // of the six at 0
    CHECK(std::stoi(place) >= 8);
    CHECK(std::count(places.begin(), places.end(), place) == 1);
  }
  CHECK(places.size() == 7);
}

}  // namespace
}  // namespace crisp
