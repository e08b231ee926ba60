// Numbers that a build with its tests has found, and that other builds must find, too: named, in a text file.
#pragma once

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/error.h"
#include "tests/engine/sample_checks.h"

namespace crisp::test {

class Answers {
 public:
  /// Of a program's arguments, `--write FILE` or `--against FILE`, which go; without them nothing is compared.
  explicit Answers(std::vector<std::string>& arguments) {
    if (arguments.size() < 2 || (arguments[0] != "--write" && arguments[0] != "--against")) return;
    path_ = arguments[1];
    writes_ = arguments[0] == "--write";
    arguments.erase(arguments.begin(), arguments.begin() + 2);
    if (writes_) return;
    std::ifstream file(path_);
    for (std::string name, line; std::getline(file, name) && std::getline(file, line);) {
      std::vector<double>& values = all_[name];
      const char* at = line.c_str();
      for (char* end = nullptr; *at != '\0'; at = end) {
        values.push_back(std::strtod(at, &end));
        if (end == at) throw Error(path_ + ": " + name + ": no number: " + at);
      }
    }
    if (all_.empty()) throw Error(path_ + ": there are no answers");
  }

  bool compares() const { return !path_.empty() && !writes_; }

  /// What is wrong with these numbers, "" where nothing is.
  std::string take(const std::string& name, const std::vector<double>& values, double tolerance) {
    if (writes_) all_[name] = values;
    if (!compares()) return "";
    const auto expected = all_.find(name);
    if (expected == all_.end()) return name + ": the other build has no such answer";
    taken_.insert(name);
    const double error = relative_error(values, expected->second);
    return error < tolerance ? "" : fmt::format("{}: {:.1e} off the other build's", name, error);
  }

  /// In the end: writes what is to be written. Throws where answers of the other build were not asked for.
  void save() const {
    if (compares() && taken_.size() != all_.size())
      throw Error(fmt::format("the other build has {} answers, this one has {} of them", all_.size(), taken_.size()));
    if (!writes_) return;
    if (all_.empty()) throw Error("there are no answers");
    std::ofstream file(path_);
    for (const auto& [name, values] : all_) {
      file << name << '\n';
      for (size_t i = 0; i < values.size(); ++i) file << (i > 0 ? " " : "") << fmt::format("{:a}", values[i]);
      file << '\n';
    }
    if (!file.flush()) throw Error(path_ + ": cannot be written");
  }

 private:
  std::string path_;
  bool writes_ = false;
  std::set<std::string> taken_;
  std::map<std::string, std::vector<double>> all_;
};

/// Runs a program's body and tells how it went: exit code 0 without problems.
template <class F>
int run_checks(int argc, char** argv, F&& body) try {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  Answers answers(arguments);
  int problems = 0;
  body(arguments, answers, [&problems](const std::string& what, const std::string& problem) {
    if (problem.empty()) return;
    fmt::print("WRONG: {}: {}\n", what, problem);
    ++problems;
  });
  answers.save();
  if (problems > 0) fmt::print("{} problems\n", problems);
  return problems == 0 ? 0 : 1;
} catch (const std::exception& error) {
  fmt::print("WRONG: {}\n", error.what());
  return 1;
}

}  // namespace crisp::test
