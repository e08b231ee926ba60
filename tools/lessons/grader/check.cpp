#include "tools/lessons/grader/check.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "data/input/file.h"
#include "engine/fail.h"
#include "tools/lessons/grader/embedded.h"

namespace crisp::lessons {
namespace {

// d(loss)/d(element) of an input by central differences of the student's forward function, as check_gradients does it.
// Nothing where that does not run.
std::optional<double> differentiate(const Bench& bench, const Exercise& exercise, Case c, const std::string& input,
                                    size_t element) {
  const double h = 0x1p-10;
  Values* values = nullptr;
  for (Array& array : c.arrays)
    if (array.name == input && array.role == Role::input) values = &array.before;
  if (!values) return std::nullopt;
  const double x = (*values)[element];
  double losses[4] = {};
  const double steps[4] = {-2, -1, 1, 2};
  for (int i = 0; i < 4; ++i) {
    (*values)[element] = x + steps[i] * h;
    const Run run = bench.run(exercise, c, true);
    if (!run.problem.empty()) return std::nullopt;
    const Values& output = run.written.at(c.objective);
    for (size_t j = 0; j < output.size(); ++j) losses[i] += c.upstream[j] * output[j];
  }
  const double slope = (8 * (losses[2] - losses[1]) - (losses[3] - losses[0])) / (12 * h);
  return std::isfinite(slope) ? std::optional(slope) : std::nullopt;
}

TensorVerdict judge(const Bench& bench, const Exercise& exercise, const std::string& name,
                    const std::vector<Run>& runs) {
  TensorVerdict verdict;
  verdict.name = name;
  verdict.given = exercise.is_given(name);
  const bool is_gradient = exercise.cases[0].written(name).role == Role::gradient;
  std::vector<Values> got;
  for (const Run& run : runs)
    if (is_gradient ? run.backward_done : run.forward_done) got.push_back(run.written.at(name));
  verdict.judged = !got.empty() && got.size() == runs.size() && (runs.size() == exercise.cases.size() || !is_gradient);
  if (!verdict.judged) return verdict;
  for (size_t c = 0; c < got.size(); ++c) {
    const Comparison comparison = compare(got[c], exercise.cases[c].written(name).truth);
    const bool worse = (verdict.worst.right && !comparison.right) ||
                       (verdict.worst.right == comparison.right && comparison.largest > verdict.worst.largest);
    if (c > 0 && !worse) continue;
    verdict.worst = comparison;
    verdict.worst_case = c;
  }
  if (verdict.worst.right) return verdict;
  verdict.findings = diagnose(exercise, name, got);
  if (!is_gradient) return verdict;
  const Case& c = exercise.cases[verdict.worst_case];
  const auto slope = differentiate(bench, exercise, c, name.substr(1), verdict.worst.at);
  if (slope) verdict.by_differences = *slope + c.written(name).before[verdict.worst.at];
  return verdict;
}

}  // namespace

std::string ExerciseVerdict::state_text() const {
  switch (state) {
    case State::passed:
      return "passed";
    case State::not_begun:
      return "not begun";
    case State::missing:
      return "no file";
    case State::does_not_compile:
      return "does not compile";
    case State::wrong:
      break;
  }
  std::vector<std::string> wrong;
  for (const TensorVerdict& tensor : tensors)
    if (!tensor.passed()) wrong.push_back(tensor.name);
  return wrong.empty() ? "wrong" : fmt::format("wrong: {}", fmt::join(wrong, ", "));
}

ExerciseVerdict check_exercise(const Bench& bench, const Exercise& exercise, const std::string& directory) {
  using State = ExerciseVerdict::State;
  ExerciseVerdict verdict = {};
  verdict.exercise = &exercise;
  verdict.path = std::filesystem::path(directory) / (exercise.name + ".cpp");
  for (const std::string& name : exercise.tensors) {
    verdict.tensors.emplace_back();
    verdict.tensors.back().name = name;
    verdict.tensors.back().given = exercise.is_given(name);
  }
  if (!std::filesystem::exists(verdict.path)) {
    verdict.problem = fmt::format("there is no file {}", verdict.path);
    return verdict;
  }
  std::string text;
  try {
    text = read_input(verdict.path, largest_source);
  } catch (const BadInput& error) {  // no reason to leave the others unchecked
    verdict.problem = error.what();
    return verdict;
  }
  const Bench::Compiled compiled = bench.compile(exercise, text);
  verdict.compiler_output = compiled.output;
  if (!compiled.ok) {
    verdict.state = State::does_not_compile;
    verdict.problem = "it does not compile";
    return verdict;
  }
  std::vector<Run> runs;
  for (size_t c = 0; c < exercise.cases.size(); ++c) {
    runs.push_back(bench.run(exercise, exercise.cases[c]));
    if (verdict.printed.empty()) verdict.printed = runs.back().printed;
    if (runs.back().problem.empty()) continue;
    verdict.problem = runs.back().problem;
    if (runs.back().complete_file) verdict.problem += fmt::format(", in case {} ({})", c + 1, exercise.cases[c].str());
    break;
  }
  for (TensorVerdict& tensor : verdict.tensors) tensor = judge(bench, exercise, tensor.name, runs);
  const bool all_right =
      std::all_of(verdict.tensors.begin(), verdict.tensors.end(), [](const TensorVerdict& t) { return t.passed(); });
  verdict.state = verdict.problem.empty() && all_right       ? State::passed
                  : text == embedded(exercise.name + ".cpp") ? State::not_begun
                                                             : State::wrong;
  return verdict;
}

}  // namespace crisp::lessons
