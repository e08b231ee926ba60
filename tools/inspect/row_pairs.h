// Tables with more columns than a terminal has room for.
#pragma once

#include <string>
#include <vector>

#include "tools/text_table.h"

namespace crisp::inspect {

/// Rows whose cells are in one line where all columns fit, else in two: those of `first`, and below, moved in, those of
/// `second`.
class RowPairs {
 public:
  RowPairs(std::vector<TextTable::Column> first, std::vector<TextTable::Column> second);

  void row(std::vector<std::string> first, std::vector<std::string> second);
  /// `width` as TextTable::text() takes it.
  std::string text(int width = output_width()) const;

 private:
  TextTable first_, second_, joined_;
};

}  // namespace crisp::inspect
