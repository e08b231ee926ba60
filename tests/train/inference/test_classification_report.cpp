#include "train/inference/classification_report.h"

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"

namespace crisp {
namespace {

using Labels = std::vector<int32_t>;

ClassificationReport report_of(const std::vector<std::string>& names, const Labels& labels, const Labels& predicted) {
  ClassificationReport report(names);
  for (size_t i = 0; i < labels.size(); ++i) report.add(labels[i], predicted[i]);
  return report;
}

// By scikit-learn 1.9.1, with zero_division=0.
TEST_CASE("the numbers are scikit-learn's") {
  struct Case {
    size_t classes;
    Labels labels, predicted;
    double accuracy, macro_f1, matthews;
    std::vector<double> precision, recall, f1;
    std::vector<std::vector<int64_t>> confusion;
  };
  const Case cases[] = {
      {3,
       {0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2},
       {0, 0, 1, 2, 1, 1, 0, 2, 2, 1, 2, 0},
       0.5833333333333334,
       0.5793650793650794,
       0.37896836447993354,
       {0.5, 0.5, 0.75},
       {0.5, 0.6666666666666666, 0.6},
       {0.5, 0.5714285714285714, 0.6666666666666666},
       {{2, 1, 1}, {1, 2, 0}, {1, 1, 3}}},
      {2,
       {1, 1, 0, 1, 0, 0, 1},
       {1, 0, 0, 1, 1, 0, 1},
       0.7142857142857143,
       0.7083333333333333,
       0.4166666666666667,
       {0.6666666666666666, 0.75},
       {0.6666666666666666, 0.75},
       {0.6666666666666666, 0.75},
       {{2, 1}, {1, 3}}},
      // One class is never predicted.
      {2, {0, 0, 1, 1, 1}, {1, 1, 1, 1, 1}, 0.6, 0.375, 0, {0, 0.6}, {0, 1}, {0, 0.75}, {{0, 2}, {0, 3}}},
      // One never occurs, one is predicted only.
      {4,
       {0, 0, 3, 3},
       {0, 3, 3, 1},
       0.5,
       0.38888888888888884,
       0.22360679774997896,
       {1, 0, 0, 0.5},
       {0.5, 0, 0, 0.5},
       {0.6666666666666666, 0, 0, 0.5},
       {{1, 0, 0, 1}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 1, 0, 1}}},
  };
  for (const Case& c : cases) {
    std::vector<std::string> names;
    for (size_t i = 0; i < c.classes; ++i) names.push_back(std::to_string(i));
    const auto json = report_of(names, c.labels, c.predicted).json(0.25);
    CHECK(json.at("accuracy").get<double>() == Approx(c.accuracy).epsilon(1e-14));
    CHECK(json.at("macro_f1").get<double>() == Approx(c.macro_f1).epsilon(1e-14));
    CHECK(json.at("matthews_correlation").get<double>() == Approx(c.matthews).epsilon(1e-14).margin(1e-15));
    CHECK(json.at("loss") == 0.25);
    CHECK(json.at("total") == c.labels.size());
    CHECK(json.at("confusion_matrix").get<std::vector<std::vector<int64_t>>>() == c.confusion);
    for (size_t k = 0; k < c.classes; ++k) {
      const auto& of = json.at("classes").at(k);
      CHECK(of.at("label_name") == names[k]);
      CHECK(of.at("precision").get<double>() == Approx(c.precision[k]).epsilon(1e-14));
      CHECK(of.at("recall").get<double>() == Approx(c.recall[k]).epsilon(1e-14));
      CHECK(of.at("f1").get<double>() == Approx(c.f1[k]).epsilon(1e-14));
      CHECK(of.at("support") == std::count(c.labels.begin(), c.labels.end(), static_cast<int32_t>(k)));
    }
  }
}

TEST_CASE("the same as a table") {
  CHECK(report_of({"bad", "go\tod"}, {1, 1, 0, 1, 0, 0, 1}, {1, 0, 0, 1, 1, 0, 1}).text() ==
        "label     precision  recall      F1  support  predicted as  bad  \"go\\tod\"\n"
        "bad          0.6667  0.6667  0.6667        3                  2         1\n"
        "\"go\\tod\"     0.7500  0.7500  0.7500        4                  1         3\n"
        "macro F1 0.7083, Matthews correlation 0.4167\n");
}

}  // namespace
}  // namespace crisp
