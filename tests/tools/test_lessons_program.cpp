// crisp-lessons as students and graders start it: stubs, solutions, wrong answers, and programs that do not behave.
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "data/input/parse_text.h"
#include "tests/support/catch.h"
#include "tests/tools/process.h"
#include "tests/train/support.h"

using namespace crisp;
using namespace crisp::test;
using nlohmann::json;
using Words = std::vector<std::string>;

namespace {

const std::string root = CRISP_SOURCE_DIR;
const Words names = {"gelu", "linear", "softmax_cross_entropy", "layer_norm", "attention", "top_k_attention"};

Outcome lessons(const std::string& directory, Words words, ProcessOptions options = {}) {
  options.working_directory = directory;
  words.insert(words.begin(), CRISP_LESSONS);
  return run(words, options);
}

std::string line(const Outcome& outcome, size_t number) { return split(outcome.out, '\n').at(number); }

bool has_compiler() {
  return run({"/bin/sh", "-c", "command -v \"${CXX:-c++}\" || command -v g++ || command -v clang++"}).exit_code == 0;
}

#define NEEDS_COMPILER() \
  if (!has_compiler()) CRISP_SKIP("no C++ compiler, without which the exercises cannot be checked")

// "linear dx" -> "wrong-layout" of each test case of a JUnit report that failed, "" of one that passed.
std::map<std::string, std::string> junit_types(const std::string& xml) {
  std::map<std::string, std::string> types;
  const auto attribute = [&](size_t at, const std::string& name) {
    const size_t begin = xml.find(name + "=\"", at) + name.size() + 2;
    return xml.substr(begin, xml.find('"', begin) - begin);
  };
  for (size_t at = xml.find("<testcase "); at != std::string::npos; at = xml.find("<testcase ", at + 1)) {
    const size_t end = xml.find('>', at), failure = xml.find("<failure ", end);
    const bool failed = xml[end - 1] != '/' && failure != std::string::npos;
    types[attribute(at, "classname") + " " + attribute(at, " name")] = failed ? attribute(failure, "type") : "";
  }
  return types;
}

struct Checked {
  Outcome outcome;
  std::map<std::string, std::string> types;
  json gradescope;
  // The test cases that failed: "linear dx: wrong-layout".
  Words failures() const {
    Words all;
    for (const auto& [name, type] : types)
      if (!type.empty()) all.push_back(name + ": " + type);
    return all;
  }
};

Checked check(const TempDir& dir, const std::string& exercises, const Words& more = {}) {
  Words words = {"check", "--directory", exercises, "--junit", "junit.xml", "--gradescope", "results.json"};
  words.insert(words.end(), more.begin(), more.end());
  Checked checked;
  checked.outcome = lessons(dir.path(), words);
  INFO(checked.outcome.err);
  const std::string xml = read_file(dir / "junit.xml");
  REQUIRE(contains(xml, "</testsuites>"));
  checked.types = junit_types(xml);
  checked.gradescope = json::parse(read_file(dir / "results.json"));
  return checked;
}

void copy_all(const std::string& from, const std::string& to) {
  std::filesystem::copy(from, to, std::filesystem::copy_options::overwrite_existing);
}

// A file of an exercise in which the first `from` is `to`.
std::string replaced(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = read_file(path);
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("every solution passes with all points") {
  NEEDS_COMPILER();
  const TempDir dir;
  const Checked checked = check(dir, root + "/tools/lessons/solutions");
  INFO(checked.outcome.out);
  CHECK(checked.outcome.exit_code == 0);
  CHECK(checked.failures().empty());
  CHECK(checked.types.size() == 25);
  CHECK(contains(checked.outcome.out, "6 of 6 exercises passed"));
  int points = 0;
  for (const json& test : checked.gradescope.at("tests")) {
    CHECK(test.at("score") == test.at("max_score"));
    CHECK(test.at("status") == "passed");
    points += test.at("max_score").get<int>();
  }
  CHECK(points == 19);
  CHECK(checked.gradescope.at("score") == 19);
}

TEST_CASE("every stub compiles and fails in what is to be written alone") {
  NEEDS_COMPILER();
  const TempDir dir;
  REQUIRE(lessons(dir.path(), {"start"}).exit_code == 0);
  const Checked checked = check(dir, "lessons");
  INFO(checked.outcome.out);
  CHECK(checked.outcome.exit_code == 1);
  CHECK(checked.gradescope.at("score") == 0);
  for (const json& test : checked.gradescope.at("tests"))
    CHECK((test.at("max_score") == 0) == (test.at("status") == "passed"));
  for (const auto& [name, type] : checked.types) {
    INFO(name);
    const bool gradient = name.find(" d") != std::string::npos;
    CHECK((type.empty() || type == (gradient ? "untouched" : "unwritten")));
    CHECK(!(gradient && type.empty()));
  }
  for (const std::string& name : names) CHECK(contains(checked.outcome.out, name + ".cpp): not begun"));
  CHECK_FALSE(contains(checked.outcome.out, "warning"));

  // The same numbers for all: nothing in a report depends on the run.
  const std::string first = read_file(dir / "junit.xml"), json_first = read_file(dir / "results.json");
  check(dir, "lessons");
  CHECK(read_file(dir / "junit.xml") == first);
  CHECK(read_file(dir / "results.json") == json_first);
}

TEST_CASE("three typical wrong answers to each exercise get hints of their own") {
  NEEDS_COMPILER();
  const TempDir dir;
  const Words expected[] = {
      {"attention dk: missing-1/sqrt(dim)", "attention dq: missing-1/sqrt(dim)", "gelu dx: tanh-form",
       "layer_norm dx: missing-mean", "linear dweight: transposed", "softmax_cross_entropy dlogits: missing-1/rows",
       "top_k_attention weights: not-renormalised", "top_k_attention y: not-renormalised"},
      {"attention dk: missing-mean", "attention dq: missing-mean", "gelu dx: missing-term", "layer_norm dx: wrong-axis",
       "linear dx: wrong-layout", "softmax_cross_entropy dlogits: missing-label",
       "top_k_attention dk: gradient-to-dropped", "top_k_attention dq: gradient-to-dropped",
       "top_k_attention dv: gradient-to-dropped"},
      {"attention dk: missing-softmax", "attention dq: missing-softmax", "gelu dx: not-accumulated",
       "layer_norm dx: constant-statistics", "linear dbias: one-row", "softmax_cross_entropy loss: wrong-axis",
       "softmax_cross_entropy probabilities: wrong-axis", "top_k_attention weights: kept-smallest",
       "top_k_attention y: kept-smallest"},
  };
  std::map<std::string, std::set<std::string>> hints;  // of each exercise
  for (size_t i = 0; i < 3; ++i) {
    const Checked checked = check(dir, root + "/tests/tools/lessons/wrong/" + std::to_string(i + 1));
    INFO(checked.outcome.out);
    CHECK(checked.outcome.exit_code == 1);
    CHECK(checked.failures() == expected[i]);
    CHECK(contains(checked.outcome.out, "0 of 6 exercises passed"));
    for (const std::string& failure : checked.failures())
      hints[failure.substr(0, failure.find(' '))].insert(failure.substr(failure.find(": ")));
  }
  for (const std::string& name : names) CHECK(hints[name].size() >= 3);
}

TEST_CASE("a student's path from an empty directory to the second exercise") {
  NEEDS_COMPILER();
  const TempDir dir;
  Outcome next = lessons(dir.path(), {"next"});
  INFO(next.out << next.err);
  CHECK(next.exit_code == 0);
  CHECK(contains(next.out, "lessons/ has been made"));
  CHECK(contains(next.out, "Exercise 1 of 6: gelu"));
  CHECK(contains(next.out, "check gelu"));
  CHECK(lessons(dir.path(), {"hint", "gelu"}).exit_code == 0);
  CHECK(lessons(dir.path(), {"check", "gelu"}).exit_code == 1);

  copy_all(root + "/tools/lessons/solutions/gelu.cpp", dir / "lessons/gelu.cpp");
  const Outcome check = lessons(dir.path(), {"check", "gelu"});
  CHECK(check.exit_code == 0);
  CHECK(contains(check.out, "passed"));
  CHECK(contains(check.out, "engine/formulas.h"));
  next = lessons(dir.path(), {"next"});
  CHECK(contains(next.out, "Exercise 2 of 6: linear"));
  // From within the directory, too.
  const Outcome list = lessons(dir / "lessons", {"list"});
  CHECK(list.exit_code == 0);
  CHECK(contains(line(list, 1), "passed"));
  CHECK(contains(line(list, 2), "not begun"));
  CHECK(contains(line(list, 6), "top_k_attention"));
}

TEST_CASE("crisp-lessons start overwrites nothing") {
  const TempDir dir;
  std::filesystem::create_directory(dir / "mine");
  write_file(dir / "mine/gelu.cpp", "my work");
  const Outcome start = lessons(dir.path(), {"start", "mine"});
  CHECK(start.exit_code == 0);
  CHECK(contains(start.out, "kept as it is in mine/: gelu.cpp"));
  CHECK(read_file(dir / "mine/gelu.cpp") == "my work");
  for (const std::string& name : names)
    if (name != "gelu")
      CHECK(read_file(dir / "mine/" + name + ".cpp") == read_file(root + "/tools/lessons/exercises/" + name + ".cpp"));
  CHECK(read_file(dir / "mine/exercise.h") == read_file(root + "/tools/lessons/exercises/exercise.h"));
}

TEST_CASE("hints come one by one and mistakes on the command line have exit code 2") {
  const TempDir dir;
  const Outcome first = lessons(dir.path(), {"hint", "layer-norm"});
  CHECK(first.exit_code == 0);
  CHECK(contains(first.out, "1. "));
  CHECK_FALSE(contains(first.out, "2. "));
  CHECK(contains(first.out, "hint layer_norm 2"));
  const Outcome all = lessons(dir.path(), {"hint", "layer_norm", "3"});
  CHECK(contains(all.out, "3. "));
  CHECK(contains(all.out, line(first, 0)));

  const Outcome unknown = lessons(dir.path(), {"check", "sofmax"});
  CHECK(unknown.exit_code == 2);
  CHECK(contains(unknown.err, "there is no exercise"));
  CHECK(lessons(dir.path(), {"hint", "layer_norm", "4"}).exit_code == 2);
  CHECK(lessons(dir.path(), {"hint", "layer_norm", "0"}).exit_code == 2);
  CHECK(lessons(dir.path(), {"hint"}).exit_code == 2);
  CHECK(lessons(dir.path(), {}).exit_code == 2);
  const Outcome nowhere = lessons(dir.path(), {"check"});
  CHECK(nowhere.exit_code == 2);
  CHECK(contains(nowhere.err, "start` makes lessons/"));
  CHECK(lessons(dir.path(), {"check", "--directory", "none"}).exit_code == 2);
}

TEST_CASE("without a compiler nothing is graded") {
  const TempDir dir;
  REQUIRE(lessons(dir.path(), {"start"}).exit_code == 0);
  ProcessOptions options;
  options.environment = {"PATH=" + dir.path(), "CXX="};
  Outcome outcome = lessons(dir.path(), {"check", "--junit", "junit.xml"}, options);
  CHECK(outcome.exit_code == 1);
  CHECK(contains(outcome.err, "there is no C++ compiler"));
  CHECK_FALSE(std::filesystem::exists(dir / "junit.xml"));
  options.environment = {"CXX=/no/such/compiler -x"};
  outcome = lessons(dir.path(), {"check"}, options);
  CHECK(outcome.exit_code == 1);
  CHECK(contains(outcome.err, "CXX=/no/such/compiler -x: no such compiler"));
}

TEST_CASE("a program that does not behave gets one sentence and stops nobody") {
  NEEDS_COMPILER();
  const TempDir dir;
  const std::string solutions = root + "/tools/lessons/solutions/";
  std::filesystem::create_directory(dir / "bad");
  const auto bad = [&](const std::string& name, const std::string& from, const std::string& to) {
    write_file(dir / "bad/" + name + ".cpp", replaced(solutions + name + ".cpp", from, to));
  };
  bad("gelu", "for (int i = 0; i < n; ++i) {", "for (volatile int spin = 1; spin;) {\n    const int i = 0;");
  bad("linear", "dbias[o] += g;", "dbias[i * out + o] += g;");
  bad("softmax_cross_entropy", "loss[0] = total / rows;",
      "loss[0] = total / rows;\n  __builtin_printf(\"passed \\x1b[2J\\n\");\n  __builtin_exit(0);");
  bad("layer_norm", "mean[i] = m;", "mean[i] = m;\n    mean.begin()[rows] = m;");
  bad("attention", "std::vector<double> dweights(keys);", "std::vector<double> dweights(1);");
  bad("top_k_attention", "const double scale = 1 / std::sqrt(dim);",
      "const double scale = 1 / std::sqrt(dim);\n  const_cast<double&>(v[1]) = 5;");
  const Checked checked = check(dir, "bad", {"--seconds", "1"});
  const std::string& out = checked.outcome.out;
  INFO(out);
  CHECK(checked.outcome.exit_code == 1);
  CHECK(contains(out,
                 "gelu_backward takes too long (an endless loop, or waiting?): ended after 1 s of the CPU, or 14 s in "
                 "all, in case 1 (n 7)"));
  CHECK(contains(out, "linear_backward: line "));
  CHECK(contains(out, " asks for dbias[5], and dbias has 5 elements, in case 1 (rows 4, in 3, out 5)"));
  CHECK(contains(out, "softmax_cross_entropy_forward ended the program (exit code 0) instead of returning"));
  CHECK(contains(out, "passed \\u001b[2J"));
  CHECK_FALSE(contains(out, "\x1b"));
  CHECK(contains(out, "there was a write behind the end of mean: to mean[3], and it has 3 elements"));
  CHECK(contains(out, "attention_backward was aborted"));
  CHECK(contains(out, "v[1] was changed, and v may only be read"));
  CHECK(contains(out, "0 of 6 exercises passed"));
  CHECK(checked.gradescope.at("score") == 0);
  for (const auto& [name, type] : checked.types) {
    INFO(name);
    CHECK(!type.empty());
  }
}

TEST_CASE("a file that cannot be compiled or lacks a function or is not there is told so") {
  NEEDS_COMPILER();
  const TempDir dir;
  const std::string solutions = root + "/tools/lessons/solutions/";
  std::filesystem::create_directory(dir / "bad");
  write_file(dir / "bad/gelu.cpp", "#include \"exercise.h\"\nthis is \x1b[31m no program;\n");
  write_file(dir / "bad/linear.cpp",
             replaced(solutions + "linear.cpp", "void linear_backward(int rows", "void linear_backward(long rows"));
  write_file(dir / "bad/layer_norm.cpp", "int main() { return 0; }\n");
  std::filesystem::create_directory(dir / "bad/softmax_cross_entropy.cpp");
  write_file(dir / "bad/attention.cpp",
             replaced(solutions + "attention.cpp", "const double scale",
                      "int* p = nullptr;\n  __builtin_puts(\"printed before\");\n  *p = 1;\n  const double scale"));
  write_file(dir / "bad/top_k_attention.cpp",
             replaced(solutions + "top_k_attention.cpp", "const double scale", "throw 1;\n  const double scale"));
  const Checked checked = check(dir, "bad");
  const std::string& out = checked.outcome.out;
  INFO(out);
  CHECK(checked.outcome.exit_code == 1);
  CHECK(contains(out, "gelu (bad/gelu.cpp): does not compile"));
  CHECK(contains(out, "gelu.cpp:2"));
  CHECK_FALSE(contains(out, "\x1b"));
  CHECK(checked.types.at("gelu dx") == "does-not-compile");
  CHECK(contains(out, "the file defines no linear_backward with the parameters that exercise.h declares"));
  CHECK(contains(out, "softmax_cross_entropy (bad/softmax_cross_entropy.cpp): no file"));
  CHECK(contains(out, "is a directory"));
  CHECK(checked.types.at("softmax_cross_entropy loss") == "no-file");
  CHECK(contains(out, "layer_norm (bad/layer_norm.cpp): does not compile"));
  CHECK(contains(out, "attention_forward touched memory that is not its own"));
  CHECK(contains(out, "printed before"));
  CHECK(contains(out, "top_k_attention_forward was aborted"));
  CHECK(checked.types.at("attention dq") == "not-computed");
}

TEST_CASE("a file that is not there fails and so does one that takes too much memory") {
  NEEDS_COMPILER();
  const TempDir dir;
  std::filesystem::create_directory(dir / "bad");
  write_file(dir / "bad/gelu.cpp",
             "#include <vector>\n" + replaced(root + "/tools/lessons/solutions/gelu.cpp", "dx[i] += dy[i]",
                                              "std::vector<char>(3000000000).size();\n    dx[i] += dy[i]"));
  const Checked checked = check(dir, "bad", {"gelu", "linear"});
  INFO(checked.outcome.out);
  CHECK(checked.outcome.exit_code == 1);
  CHECK(contains(checked.outcome.out, "gelu_backward asks for more memory than there is for it, in case 1 (n 7)"));
  CHECK(contains(checked.outcome.out, "there is no file bad/linear.cpp"));
  CHECK(checked.types.at("gelu y").empty() == false);
  CHECK(checked.types.size() == 6);
}
