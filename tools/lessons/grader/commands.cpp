#include "tools/lessons/grader/commands.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>

#include "data/input/text.h"
#include "engine/fail.h"
#include "tools/lessons/grader/check.h"
#include "tools/lessons/grader/folder.h"
#include "tools/lessons/grader/report.h"
#include "tools/nearest.h"
#include "tools/text_table.h"
#include "train/durable/interrupt.h"
#include "weights/atomic_file.h"

namespace crisp::lessons {
namespace {

struct Options {
  std::string program, directory, name, junit, gradescope;
  std::vector<std::string> names = {};
  int64_t level = 1, seconds = 5;
};

std::shared_ptr<Options> options_for(const std::string& program) {
  auto options = std::make_shared<Options>();
  options->program = printable(program);
  return options;
}

void add_checking_options(CLI::App& app, Options& options) {
  add_text(app, "directory", options.directory,
           "the exercises; default: this directory if it holds some, else lessons/", "DIR");
  add_integer(app, "seconds", options.seconds, 1, 3600, "of the CPU, for one run of an exercise");
}

const Exercise& exercise_of(const std::string& name) {
  if (const Exercise* exercise = find_exercise(name)) return *exercise;
  std::vector<std::string> names;
  for (const Exercise& exercise : course()) names.push_back(exercise.name);
  fail<UsageError>("there is no exercise {}{}", quote(name), did_you_mean(name, names));
}

size_t number_of(const Exercise& exercise) { return static_cast<size_t>(&exercise - course().data()) + 1; }

// The option's value as part of a command that is suggested.
std::string directory_option(const Options& options) {
  return options.directory.empty() ? "" : " --directory " + printable(options.directory);
}

void print_list(const std::string& title, const std::vector<std::string>& lines) {
  for (size_t i = 0; i < lines.size(); ++i) fmt::print("  {:<9}{}\n", i == 0 ? title : "", lines[i]);
}

// What was made, where a student has nothing yet.
void print_start(const std::string& directory, const Started& started) {
  if (!started.made.empty()) fmt::print("{}/ has been made: {}\n", printable(directory), fmt::join(started.made, ", "));
  if (!started.kept.empty())
    fmt::print("kept as it is in {}/: {}\n", printable(directory), fmt::join(started.kept, ", "));
}

void print_task(const Options& options, const std::string& directory, const Exercise& exercise) {
  fmt::print("Exercise {} of {}: {} - {}\n\n", number_of(exercise), course().size(), exercise.name, exercise.title);
  print_list("Read", exercise.read);
  print_list("Edit", {fmt::format("{}/{}.cpp: its first lines say what is to be derived, TODO where to write it",
                                  printable(directory), exercise.name)});
  print_list("Check", {fmt::format("{} check {}{}", options.program, exercise.name, directory_option(options))});
  print_list("Hints", {fmt::format("{} hint {}", options.program, exercise.name)});
}

int run_list(const Options& options) {
  const std::string directory = existing_directory(options.directory, options.program);
  const InterruptHandler interrupts;
  const Bench bench(options.seconds);
  using Kind = TextTable::Kind;
  TextTable table({{"", Kind::number}, {"exercise", Kind::text}, {"", Kind::text}, {"state", Kind::text}});
  for (const Exercise& exercise : course())
    table.row({fmt::format("{}", number_of(exercise)), exercise.name, exercise.title,
               check_exercise(bench, exercise, directory).state_text()});
  fmt::print("{}", table.text());
  return 0;
}

int run_start(const Options& options) {
  const std::string directory = options.directory.empty() ? default_directory : options.directory;
  print_start(directory, start(directory));
  fmt::print("next: {} next{}\n", options.program, directory_option(options));
  return 0;
}

int run_next(const Options& options) {
  std::string directory = options.directory.empty() ? find_directory() : options.directory;
  if (directory.empty()) {
    directory = default_directory;
    print_start(directory, start(directory));
    fmt::print("\n");
  } else {
    directory = existing_directory(directory, options.program);
  }
  const InterruptHandler interrupts;
  const Bench bench(options.seconds);
  for (const Exercise& exercise : course()) {
    const ExerciseVerdict verdict = check_exercise(bench, exercise, directory);
    if (verdict.passed()) continue;
    print_task(options, directory, exercise);
    fmt::print("\nso far: {}\n", verdict.state_text());
    return 0;
  }
  fmt::print("All {} exercises are solved.\n", course().size());
  return 0;
}

int run_check(const Options& options) {
  std::vector<const Exercise*> exercises;
  for (const std::string& name : options.names) exercises.push_back(&exercise_of(name));
  if (exercises.empty())
    for (const Exercise& exercise : course()) exercises.push_back(&exercise);
  const std::string directory = existing_directory(options.directory, options.program);
  const InterruptHandler interrupts;
  const Bench bench(options.seconds);
  std::vector<ExerciseVerdict> verdicts;
  size_t passed = 0;
  for (const Exercise* exercise : exercises) {
    verdicts.push_back(check_exercise(bench, *exercise, directory));
    passed += verdicts.back().passed();
    fmt::print("{}", explain(verdicts.back()));
    if (verdicts.back().passed() && exercises.size() == 1) print_list("Compare", exercise->compare);
    std::fflush(stdout);
  }
  if (exercises.size() > 1) fmt::print("{} of {} exercises passed\n", passed, exercises.size());
  if (!options.junit.empty()) write_file_atomically(options.junit, junit_xml(verdicts));
  if (!options.gradescope.empty()) write_file_atomically(options.gradescope, gradescope_json(verdicts));
  return passed == exercises.size() ? 0 : 1;
}

int run_hint(const Options& options) {
  const Exercise& exercise = exercise_of(options.name);
  const auto last = static_cast<int64_t>(exercise.hints.size());
  if (options.level > last) fail<UsageError>("{} has {} hints", exercise.name, last);
  for (int64_t i = 0; i < options.level; ++i)
    fmt::print("{}\n", wrapped(fmt::format("{}. {}", i + 1, exercise.hints[static_cast<size_t>(i)]), 78));
  if (options.level < last)
    fmt::print("\none more: {} hint {} {}\n", options.program, exercise.name, options.level + 1);
  return 0;
}

}  // namespace

Command add_list(CLI::App& program, const std::string& program_name) {
  CLI::App* app = add_command(program, "list", "The exercises, and how far you are");
  const auto options = options_for(program_name);
  add_checking_options(*app, *options);
  return {app, [options] { return run_list(*options); }};
}

Command add_next(CLI::App& program, const std::string& program_name) {
  CLI::App* app =
      add_command(program, "next",
                  "The first exercise that is not solved; where there are none yet, lessons/ is made with all of them");
  const auto options = options_for(program_name);
  add_checking_options(*app, *options);
  return {app, [options] { return run_next(*options); }};
}

Command add_start(CLI::App& program, const std::string& program_name) {
  CLI::App* app =
      add_command(program, "start", "Makes a directory of exercises; files that are there stay as they are");
  const auto options = options_for(program_name);
  add_positional(*app, "DIR", options->directory, "default: lessons");
  return {app, [options] { return run_start(*options); }};
}

Command add_check(CLI::App& program, const std::string& program_name) {
  CLI::App* app = add_command(program, "check", "Compares what you have written with the truth, tensor by tensor");
  const auto options = options_for(program_name);
  add_positional(*app, "NAME", options->names, "exercises; default: all");
  add_checking_options(*app, *options);
  add_text(*app, "junit", options->junit, "write a JUnit report, a test case for each tensor", "FILE");
  add_text(*app, "gradescope", options->gradescope, "write Gradescope's results.json", "FILE");
  return {app, [options] { return run_check(*options); }};
}

Command add_hint(CLI::App& program, const std::string& program_name) {
  CLI::App* app = add_command(program, "hint", "Hints, one more with each N");
  const auto options = options_for(program_name);
  required(add_positional(*app, "NAME", options->name, "the exercise"));
  app->add_option("N", options->level, "show the first N")->type_name("")->check(CLI::Range(1, 9));
  return {app, [options] { return run_hint(*options); }};
}

}  // namespace crisp::lessons
