#include "tools/lessons/grader/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "data/input/parse_text.h"
#include "data/input/text.h"
#include "tools/text_table.h"
#include "train/page/html.h"

namespace crisp::lessons {
namespace {

constexpr size_t most_compiler_lines = 40, most_printed_lines = 15;
constexpr size_t text_width = 58;  // beside the longest name in a terminal of 80

// A compiler's or a student's text below a heading, indented and not too long.
std::string quoted(const std::string& heading, std::string text, size_t most_lines) {
  if (text.empty()) return "";
  std::replace(text.begin(), text.end(), '\t', ' ');
  std::vector<std::string> lines = split(printable_lines(text), '\n');
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  std::string result = "  " + heading + "\n";
  for (size_t i = 0; i < std::min(lines.size(), most_lines); ++i) result += "    " + lines[i] + "\n";
  if (lines.size() > most_lines) result += fmt::format("    ... and {} lines more\n", lines.size() - most_lines);
  return result;
}

// Its type in a report for programs: why the tensor did not pass.
std::string failure_type(const ExerciseVerdict& verdict, const TensorVerdict& tensor) {
  if (!tensor.findings.empty()) return tensor.findings[0].id;
  if (tensor.judged) return "wrong";
  switch (verdict.state) {
    case ExerciseVerdict::State::missing:
      return "no-file";
    case ExerciseVerdict::State::does_not_compile:
      return "does-not-compile";
    default:
      return "not-computed";
  }
}

// All that a student should know of a tensor that has not passed, or that passed though the program did wrong
// elsewhere.
std::string output_of(const ExerciseVerdict& verdict, const TensorVerdict& tensor) {
  std::string text = explain(tensor, *verdict.exercise);
  if (!verdict.problem.empty()) text += verdict.problem + "\n";
  if (!tensor.judged) text += quoted("the compiler:", verdict.compiler_output, most_compiler_lines);
  return text;
}

// A program that writes beside its arrays passes nowhere.
bool counts_as_passed(const ExerciseVerdict& verdict, const TensorVerdict& tensor) {
  return tensor.passed() && verdict.problem.empty();
}

// Whether there is no more to be said than that nothing has been done.
bool nothing_there(const TensorVerdict& tensor) {
  return !tensor.findings.empty() && (tensor.findings[0].id == "untouched" || tensor.findings[0].id == "unwritten");
}

std::string number_text(double x) { return std::isnan(x) ? "not a number" : fmt::format("{:.6g}", x); }

}  // namespace

std::string describe(const TensorVerdict& tensor, const Exercise& exercise) {
  const Comparison& worst = tensor.worst;
  if (!tensor.judged) return "not computed";
  if (worst.exact) return "exact";
  if (worst.right) return fmt::format("right to rounding (largest difference {:.1g})", worst.largest);
  if (nothing_there(tensor)) return "WRONG: " + tensor.findings[0].text;
  const Case& c = exercise.cases[tensor.worst_case];
  const Array& array = c.written(tensor.name);
  std::string elements = array.shape.numel() == 1 ? "its only element"
                                                  : fmt::format("{} of {} elements", worst.wrong, array.shape.numel());
  const std::string largest = std::isnan(worst.largest) ? "" : fmt::format("largest difference {:.3g} ", worst.largest);
  return fmt::format("WRONG: {}; {}at {} of {}: yours {}, the truth {:.6g}", elements, largest,
                     index_text(array.shape, worst.at), array.shape.str(), number_text(worst.got), worst.truth);
}

std::string explain(const TensorVerdict& tensor, const Exercise& exercise) {
  std::string text = wrapped(describe(tensor, exercise), text_width) + "\n";
  if (tensor.passed() || !tensor.judged || nothing_there(tensor)) return text;
  text += fmt::format("case {}: {}\n", tensor.worst_case + 1, exercise.cases[tensor.worst_case].str());
  if (tensor.by_differences)
    text += fmt::format("by differences of your forward function it should be {:.6g}\n", *tensor.by_differences);
  for (const Finding& finding : tensor.findings)
    text += wrapped(fmt::format("looks like [{}]: {}", finding.id, finding.text), text_width) + "\n";
  if (tensor.findings.empty()) text += "none of the mistakes that are typical here makes these numbers\n";
  return text;
}

std::string explain(const ExerciseVerdict& verdict) {
  const Exercise& exercise = *verdict.exercise;
  std::string text = fmt::format("{} ({}): {}\n", exercise.name, printable(verdict.path), verdict.state_text());
  if (!verdict.problem.empty()) text += "  " + printable_lines(verdict.problem) + "\n";
  size_t width = 0;
  for (const TensorVerdict& tensor : verdict.tensors) width = std::max(width, tensor.name.size());
  const bool ran = std::any_of(verdict.tensors.begin(), verdict.tensors.end(), [](const auto& t) { return t.judged; });
  for (const TensorVerdict& tensor : verdict.tensors) {
    if (!ran) break;
    const std::vector<std::string> lines = split(explain(tensor, exercise), '\n');
    for (size_t i = 0; i + 1 < lines.size(); ++i)
      text += fmt::format("  {:<{}}  {}\n", i == 0 ? tensor.name : "", width, lines[i]);
  }
  if (!verdict.passed()) text += quoted("the compiler:", verdict.compiler_output, most_compiler_lines);
  text += quoted("your code printed:", verdict.printed, most_printed_lines);
  return text;
}

std::string junit_xml(const std::vector<ExerciseVerdict>& verdicts) {
  std::string suites;
  size_t all = 0, all_failed = 0;
  for (const ExerciseVerdict& verdict : verdicts) {
    std::string cases;
    size_t failed = 0;
    for (const TensorVerdict& tensor : verdict.tensors) {
      cases += fmt::format("    <testcase classname=\"{}\" name=\"{}\"", verdict.exercise->name, tensor.name);
      if (counts_as_passed(verdict, tensor)) {
        cases += "/>\n";
        continue;
      }
      ++failed;
      const std::string message =
          tensor.passed() || !tensor.judged ? verdict.problem : describe(tensor, *verdict.exercise);
      cases += fmt::format(">\n      <failure type=\"{}\" message=\"{}\">{}</failure>\n    </testcase>\n",
                           page::escape(failure_type(verdict, tensor)), page::escape(message),
                           page::escape(output_of(verdict, tensor)));
    }
    suites += fmt::format("  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\">\n{}  </testsuite>\n",
                          verdict.exercise->name, verdict.tensors.size(), failed, cases);
    all += verdict.tensors.size();
    all_failed += failed;
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"crisp-lessons\" tests=\"{}\" "
      "failures=\"{}\" errors=\"0\">\n{}</testsuites>\n",
      all, all_failed, suites);
}

std::string gradescope_json(const std::vector<ExerciseVerdict>& verdicts) {
  using Json = nlohmann::ordered_json;
  Json tests = Json::array();
  int total = 0, passed = 0;
  for (const ExerciseVerdict& verdict : verdicts) {
    passed += verdict.passed();
    for (const TensorVerdict& tensor : verdict.tensors) {
      const bool right = counts_as_passed(verdict, tensor);
      const int worth = tensor.given ? 0 : 1;
      total += right ? worth : 0;
      tests.push_back({{"name", verdict.exercise->name + ": " + tensor.name},
                       {"score", right ? worth : 0},
                       {"max_score", worth},
                       {"status", right ? "passed" : "failed"},
                       {"output", printable_lines(output_of(verdict, tensor))},
                       {"output_format", "text"}});
    }
  }
  const Json results = {{"score", total},
                        {"output", fmt::format("{} of {} exercises passed", passed, verdicts.size())},
                        {"output_format", "text"},
                        {"visibility", "visible"},
                        {"tests", tests}};
  return results.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace crisp::lessons
