// What every report must be.
#pragma once

#include <string>

#include "tests/support/catch.h"
#include "tests/train/markup.h"
#include "tests/train/support.h"
#include "train/study/report.h"

namespace crisp::test {

inline std::string report_of(const std::string& dir) {
  write_study_report(dir);
  return read_file(dir + "/report.html");
}

/// A section of a report; "" without.
inline std::string section(const std::string& html, const std::string& id) {
  const size_t start = html.find("<section id=\"" + id + "\">");
  return start == std::string::npos ? "" : html.substr(start, html.find("</section>", start) - start);
}

inline void check_self_contained(const std::string& html) {
  CHECK(fault(html) == "");
  for (const char* part : {"http://", "https://", "<script", "src=", "@import", "url(", "nan", "inf%"})
    CHECK_FALSE(contains(html, part));
}

}  // namespace crisp::test
