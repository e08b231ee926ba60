// What pages are written with, a study's report and crisp-inspect's: text that is safe in HTML, numbers for people,
// tables, and the frame around them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "train/page/interval.h"

namespace crisp::page {

/// For text and for attribute values. Bytes that are no UTF-8 and control characters become U+FFFD.
std::string escape(std::string_view text);

// Numbers. What is not finite is an en dash; minus signs are U+2212, and a space within a number does not break. From
// 100 million on, a number has an exponent: 1.5e16.
std::string fixed(double value, int decimals);           // 0.123
std::string with_sign(double value, int decimals);       // +0.12
std::string percent(double fraction, int decimals = 2);  // 91.59 %
std::string points(double fraction);                     // +0.30: a difference of fractions in percentage points
std::string grouped(int64_t count);                      // 67,349
/// "1.5e16", with at most so many decimals; of a magnitude >= 0.
std::string with_exponent(double magnitude, int decimals);
std::string p_value(double p);   // 0.031, < 0.001
std::string p_equals(double p);  // p = 0.031, p < 0.001
/// With no line broken between a number and its "%".
std::string keep_percent_signs(std::string html);
/// "-0.40 to +1.02", each end times `scale`.
std::string interval(const Interval95& interval, double scale, int decimals);
bool known(const Interval95& interval);
/// From the smallest to the largest of the finite values; from infinity to -infinity without any.
Interval95 range_of(const std::vector<double>& values);
/// An interval's part within what is possible; NaN stays.
Interval95 within(const Interval95& interval, double low, double high);
/// Of a difference of accuracies, in points, within the possible 100 either way.
std::string difference_interval(const Interval95& interval);
/// "1 seed", "3 seeds".
std::string counted(int64_t n, std::string_view singular, std::string_view plural);
/// "a", "a and b", "a, b and c".
std::string listed(const std::vector<std::string>& words);

/// A table with a header row; the first cell of each row is its header. Cells are HTML.
class Table {
 public:
  explicit Table(std::string caption)  // HTML that is plain text
      : caption_(std::move(caption)) {}
  void header(std::vector<std::string> cells) { header_ = std::move(cells); }
  void row(std::vector<std::string> cells, bool highlighted = false) {
    rows_.push_back({std::move(cells), highlighted});
  }
  bool empty() const { return rows_.empty(); }
  std::string html() const;

 private:
  struct Row {
    std::vector<std::string> cells;
    bool highlighted;
  };
  std::string caption_;
  std::vector<std::string> header_;
  std::vector<Row> rows_;
};

std::string paragraph(const std::string& html);
/// Those that are not empty.
std::string paragraphs(const std::vector<std::string>& list);
std::string fine_print(const std::string& html);
/// The caption may be empty.
std::string figure(const std::string& chart, const std::string& caption);
std::string bullets(const std::vector<std::string>& items);
/// Folded away until asked for; printed in full.
std::string details(const std::string& summary, const std::string& html);
std::string section(const std::string& id, const std::string& title, const std::string& html);

/// A whole page in one file, which needs no network: opened from the disk it has light and dark colours, takes a
/// phone's width, and prints. It is well-formed XML as long as its parts are.
struct Document {
  std::string title;        // plain text
  std::string lead = {};    // HTML of one paragraph below the title; "" for none
  std::string body = {};    // HTML
  std::string footer = {};  // HTML of one paragraph; "" for none
  std::string style = {};   // CSS of this page alone, after the common style sheet
  std::string script = {};  // JavaScript at the end of the page; without it all must still be readable
  std::string html() const;
};

}  // namespace crisp::page
