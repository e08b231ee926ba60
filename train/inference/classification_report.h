// What a classifier gets right and wrong, class by class.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace crisp {

/// Counts pairs of a label and a prediction. Definitions and edge cases are scikit-learn's: what would be divided by 0
/// is 0, and the macro average is over the classes that occur as label or prediction.
class ClassificationReport {
 public:
  explicit ClassificationReport(std::vector<std::string> class_names);

  void add(int32_t label, int32_t predicted);

  struct Class {
    double precision = 0, recall = 0, f1 = 0;
    int64_t labels = 0, predictions = 0;  // examples that have this label, and this prediction
  };
  Class of_class(size_t c) const;
  int64_t count(size_t label, size_t predicted) const { return counts_[label * names_.size() + predicted]; }
  int64_t total() const { return total_; }
  int64_t correct() const;
  double accuracy() const;
  double macro_f1() const;
  double matthews() const;  // Matthews' correlation, of any number of classes (Gorodkin's R_K)

  /// {"accuracy", "correct", "total", "loss" (as given), "macro_f1", "matthews_correlation", "classes": [{"label",
  /// "label_name", "precision", "recall", "f1", "support"}], "confusion_matrix": [[..]]}, a row for each label.
  nlohmann::ordered_json json(double loss) const;
  /// The same as a table for people.
  std::string text() const;

 private:
  std::vector<std::string> names_;
  std::vector<int64_t> counts_;  // [label][predicted]
  int64_t total_ = 0;
};

}  // namespace crisp
