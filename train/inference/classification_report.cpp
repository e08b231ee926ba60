#include "train/inference/classification_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "data/input/text.h"

namespace crisp {
namespace {

template <class A, class B>
double ratio(A a, B b) {
  return b == 0 ? 0 : static_cast<double>(a) / static_cast<double>(b);
}

}  // namespace

ClassificationReport::ClassificationReport(std::vector<std::string> class_names)
    : names_(std::move(class_names)), counts_(names_.size() * names_.size()) {}

void ClassificationReport::add(int32_t label, int32_t predicted) {
  ++counts_.at(static_cast<size_t>(label) * names_.size() + static_cast<size_t>(predicted));
  ++total_;
}

ClassificationReport::Class ClassificationReport::of_class(size_t c) const {
  Class result;
  for (size_t k = 0; k < names_.size(); ++k) {
    result.labels += count(c, k);
    result.predictions += count(k, c);
  }
  result.precision = ratio(count(c, c), result.predictions);
  result.recall = ratio(count(c, c), result.labels);
  result.f1 = ratio(2 * count(c, c), result.labels + result.predictions);
  return result;
}

int64_t ClassificationReport::correct() const {
  int64_t sum = 0;
  for (size_t c = 0; c < names_.size(); ++c) sum += count(c, c);
  return sum;
}

double ClassificationReport::accuracy() const { return ratio(correct(), total_); }

double ClassificationReport::macro_f1() const {
  double sum = 0;
  int64_t occurring = 0;
  for (size_t c = 0; c < names_.size(); ++c) {
    const Class of = of_class(c);
    sum += of.f1;
    occurring += of.labels + of.predictions > 0;
  }
  return ratio(sum, occurring);
}

double ClassificationReport::matthews() const {
  const auto n = static_cast<double>(total_);
  double products = 0, labels = 0, predictions = 0;
  for (size_t c = 0; c < names_.size(); ++c) {
    const Class of = of_class(c);
    const auto t = static_cast<double>(of.labels), p = static_cast<double>(of.predictions);
    products += t * p;
    labels += t * t;
    predictions += p * p;
  }
  return ratio(static_cast<double>(correct()) * n - products, std::sqrt((n * n - predictions) * (n * n - labels)));
}

nlohmann::ordered_json ClassificationReport::json(double loss) const {
  auto classes = nlohmann::ordered_json::array(), matrix = nlohmann::ordered_json::array();
  for (size_t c = 0; c < names_.size(); ++c) {
    const Class of = of_class(c);
    classes.push_back({{"label", c},
                       {"label_name", names_[c]},
                       {"precision", of.precision},
                       {"recall", of.recall},
                       {"f1", of.f1},
                       {"support", of.labels}});
    auto& row = matrix.emplace_back(nlohmann::ordered_json::array());
    for (size_t k = 0; k < names_.size(); ++k) row.push_back(count(c, k));
  }
  return {{"accuracy", accuracy()},
          {"correct", correct()},
          {"total", total_},
          {"loss", loss},
          {"macro_f1", macro_f1()},
          {"matthews_correlation", matthews()},
          {"classes", std::move(classes)},
          {"confusion_matrix", std::move(matrix)}};
}

std::string ClassificationReport::text() const {
  std::vector<std::string> names;
  size_t width = 5;
  for (const std::string& name : names_) {
    names.push_back(printable(name));
    width = std::max(width, names.back().size());
  }
  std::string result = fmt::format("{:<{}}  precision  recall      F1  support  predicted as", "label", width);
  for (const std::string& name : names) result += fmt::format("  {}", name);
  result += "\n";
  for (size_t c = 0; c < names.size(); ++c) {
    const Class of = of_class(c);
    result += fmt::format("{:<{}}  {:>9.4f}  {:>6.4f}  {:>6.4f}  {:>7}  {:>12}", names[c], width, of.precision,
                          of.recall, of.f1, of.labels, "");
    for (size_t k = 0; k < names.size(); ++k) result += fmt::format("  {:>{}}", count(c, k), names[k].size());
    result += "\n";
  }
  return result + fmt::format("macro F1 {:.4f}, Matthews correlation {:.4f}\n", macro_f1(), matthews());
}

}  // namespace crisp
