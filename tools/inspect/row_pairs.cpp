#include "tools/inspect/row_pairs.h"

#include <algorithm>
#include <sstream>
#include <utility>

namespace crisp::inspect {
namespace {

template <class T>
std::vector<T> operator+(std::vector<T> a, const std::vector<T>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(std::move(line));
  return lines;
}

}  // namespace

RowPairs::RowPairs(std::vector<TextTable::Column> first, std::vector<TextTable::Column> second)
    : first_(first), second_(second), joined_(first + second) {}

void RowPairs::row(std::vector<std::string> first, std::vector<std::string> second) {
  joined_.row(first + second);
  first_.row(std::move(first));
  second_.row(std::move(second));
}

std::string RowPairs::text(int width) const {
  constexpr int moved_in = 2;
  std::string all = joined_.text(0);
  const std::vector<std::string> lines = lines_of(all);
  const bool fits =
      std::all_of(lines.begin(), lines.end(), [&](const std::string& line) { return display_width(line) <= width; });
  if (width == 0 || fits) return all;
  const std::vector<std::string> above = lines_of(first_.text(width)),
                                 below = lines_of(second_.text(std::max(1, width - moved_in)));
  std::string text;
  for (size_t i = 0; i < above.size(); ++i) text += above[i] + "\n" + std::string(moved_in, ' ') + below[i] + "\n";
  return text;
}

}  // namespace crisp::inspect
