// What the grader of the exercises says of tensors that are right, wrong in a typical way, or wrong in no such way.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "tools/lessons/grader/compare.h"
#include "tools/lessons/grader/process.h"

using namespace crisp;
using namespace crisp::lessons;
using namespace crisp::test;

namespace {

// What a tensor holds in each case when `part(case)` is added to what was there, or takes its place.
template <class F>
std::vector<Values> tensors(const Exercise& exercise, const std::string& name, const F& part, bool kept = true) {
  std::vector<Values> all;
  for (const Case& c : exercise.cases) {
    all.push_back(part(c));
    const Values& before = c.written(name).before;
    for (size_t i = 0; kept && i < before.size(); ++i) all.back()[i] += before[i];
  }
  return all;
}

std::vector<std::string> ids(const Exercise& exercise, const std::string& name, const std::vector<Values>& got) {
  std::vector<std::string> all;
  for (const Finding& finding : diagnose(exercise, name, got)) all.push_back(finding.id);
  return all;
}

// The truth's contribution, each element changed by f.
template <class F>
auto changed(const std::string& name, F f) {
  return [name, f](const Case& c) {
    Values part = c.written(name).part;
    for (size_t i = 0; i < part.size(); ++i) part[i] = f(c, part[i], i);
    return part;
  };
}

std::vector<std::string> gradients_of(const Exercise& exercise) {
  std::vector<std::string> names;
  for (const std::string& name : exercise.tensors)
    if (exercise.cases[0].written(name).role == Role::gradient) names.push_back(name);
  return names;
}

const Exercise& exercise_named(const char* name) {
  const Exercise* exercise = find_exercise(name);
  REQUIRE(exercise);
  return *exercise;
}

using Ids = std::vector<std::string>;

}  // namespace

TEST_CASE("a tensor is exact, right to rounding, or wrong at an index") {
  const Values truth = {1, -2, 0.5, 0};
  CHECK(compare(truth, truth).exact);
  Comparison c = compare(Values{1, -2, 0.5 + 1e-12, -0.0}, truth);
  CHECK_FALSE(c.exact);
  CHECK(c.right);
  CHECK(c.largest == Approx(1e-12).epsilon(1e-3));
  c = compare(Values{1, -2.5, 0.5, 1e-8}, truth);
  CHECK_FALSE(c.right);
  CHECK(c.wrong == 2);
  CHECK(c.at == 1);
  CHECK(c.got == -2.5);
  c = compare(Values{1, -2.5, std::nan(""), 0}, truth);
  CHECK_FALSE(c.right);
  CHECK(c.at == 2);
  CHECK(index_text({2, 3, 4}, 23) == "[1, 2, 3]");
  CHECK(index_text({2, 3, 4}, 5) == "[0, 1, 1]");
}

TEST_CASE("the sizes of an exercise's first case are all different so that a wrong axis shows") {
  REQUIRE(course().size() == 6);
  for (const Exercise& exercise : course()) {
    INFO(exercise.name);
    std::set<double> sizes;
    for (const Quantity& size : exercise.cases[0].sizes)
      if (size.name != "kept") CHECK(sizes.insert(size.value).second);
    CHECK(exercise.hints.size() == 3);
    CHECK(exercise.given.size() < exercise.tensors.size());
  }
}

TEST_CASE("the numbers of the exercises are the same everywhere") {
  const Case& c = exercise_named("gelu").cases[0];
  CHECK(c["x"][0] == 0x1.b351a2p-1);
  CHECK(c.written("dx").before[6] == 0x1.e4eb54p-2);
  CHECK(exercise_named("softmax-cross-entropy").cases[0]["labels"] == Values{1, 2, 1, 1});
}

TEST_CASE("each typical mistake of an exercise is told from all others") {
  for (const Exercise& exercise : course())
    for (const Mistake& mistake : exercise.mistakes) {
      INFO(exercise.name << " " << mistake.tensor << " " << mistake.id << ": " << mistake.hint);
      const auto found = diagnose(exercise, mistake.tensor, tensors(exercise, mistake.tensor, mistake.part));
      REQUIRE(!found.empty());
      // Exponentials without a maximum overflow, besides.
      CHECK((found.size() == 1 || (mistake.id == "not-normalised" && found[1].id == "not-a-number")));
      CHECK(found[0].id == mistake.id);
      CHECK(found[0].text == mistake.hint);
      if (exercise.cases[0].written(mistake.tensor).role != Role::gradient) continue;
      const auto overwritten = ids(exercise, mistake.tensor, tensors(exercise, mistake.tensor, mistake.part, false));
      CHECK(overwritten == Ids{mistake.id, "not-accumulated"});
    }
}

TEST_CASE("a right tensor looks like no mistake and noise like none that is typical") {
  for (const Exercise& exercise : course())
    for (const std::string& name : exercise.tensors) {
      INFO(exercise.name << " " << name);
      CHECK(ids(exercise, name, tensors(exercise, name, changed(name, [](auto&, double x, size_t) { return x; })))
                .empty());
      const auto rounded = changed(name, [](auto&, double x, size_t i) { return x * (1 + 1e-14 * (i % 3)); });
      CHECK(ids(exercise, name, tensors(exercise, name, rounded)).empty());
      const auto noise = changed(name, [](auto&, double, size_t i) { return std::sin(17.0 * i + 3) + 0.1; });
      for (const std::string& id : ids(exercise, name, tensors(exercise, name, noise)))
        CHECK((id == "one-row" || id == "factor"));  // of tensors that have one row or one element
    }
}

TEST_CASE("what may go wrong with every gradient is recognised in each of them") {
  for (const Exercise& exercise : course())
    for (const std::string& name : gradients_of(exercise)) {
      INFO(exercise.name << " " << name);
      const auto with = [&](auto f, bool kept = true) {
        return ids(exercise, name, tensors(exercise, name, changed(name, f), kept));
      };
      CHECK(with([](auto&, double x, size_t) { return x; }, false) == Ids{"not-accumulated"});
      CHECK(with([](auto&, double, size_t) { return 0.0; }) == Ids{"untouched"});
      CHECK(with([](auto&, double, size_t) { return 0.0; }, false) == Ids{"zero"});
      CHECK(with([](auto&, double x, size_t) { return -x; }) == Ids{"wrong-sign"});
      CHECK(with([](auto&, double x, size_t) { return -x; }, false) == Ids{"wrong-sign", "not-accumulated"});
      CHECK(with([](auto&, double x, size_t) { return 2 * x; }) == Ids{"twice"});
      CHECK(with([](auto&, double x, size_t) { return 3.7 * x; }) == Ids{"factor"});
      const std::string size = exercise.cases[0].sizes[0].name;
      CHECK(with([&](const Case& c, double x, size_t) { return static_cast<double>(c.size(size)) * x; }) ==
            Ids{"missing-1/" + size});
      CHECK(with([&](const Case& c, double x, size_t) { return x / static_cast<double>(c.size(size)); }) ==
            Ids{"too-many-1/" + size});
      const double nan = std::numeric_limits<double>::quiet_NaN();
      CHECK(with([&](auto&, double, size_t) { return nan; }) == Ids{"not-a-number"});
      const auto all_but_largest = [&](const Case& c, double x, size_t i) {
        const Values& part = c.written(name).part;
        const auto larger = [](double a, double b) { return std::abs(a) < std::abs(b); };
        const auto largest = std::max_element(part.begin(), part.end(), larger) - part.begin();
        return i == static_cast<size_t>(largest) ? 0 : x;
      };
      CHECK(with(all_but_largest) == Ids{"partly-untouched"});
    }
}

TEST_CASE("a gradient in another's place and a transposed one are recognised") {
  const Exercise& attention = exercise_named("attention");
  const auto dv = [](const Case& c) { return c.written("dv").part; };
  CHECK(ids(attention, "dk", tensors(attention, "dk", dv)) == Ids{"swapped"});
  const Exercise& linear = exercise_named("linear");
  const auto transposed = [](const Case& c) {
    const auto in = static_cast<size_t>(c.size("in")), out = static_cast<size_t>(c.size("out"));
    Values part(in * out);
    for (size_t o = 0; o < out; ++o)
      for (size_t k = 0; k < in; ++k) part[k * out + o] = c.written("dweight").part[o * in + k];
    return part;
  };
  CHECK(ids(linear, "dweight", tensors(linear, "dweight", transposed)) == Ids{"transposed"});
  CHECK(ids(linear, "dweight", tensors(linear, "dweight", transposed, false)) == Ids{"transposed", "not-accumulated"});
}

TEST_CASE("a missing upstream gradient is named in the loss and in an elementwise function") {
  const Exercise& loss = exercise_named("softmax_cross_entropy");
  const auto without = changed("dlogits", [](const Case& c, double x, size_t) { return x / c.number("dloss"); });
  CHECK(ids(loss, "dlogits", tensors(loss, "dlogits", without)) == Ids{"missing-dloss"});
  const auto neither = changed("dlogits", [](const Case& c, double x, size_t) {
    return x / c.number("dloss") * static_cast<double>(c.size("rows"));
  });
  CHECK(ids(loss, "dlogits", tensors(loss, "dlogits", neither)) == Ids{"factor"});
}

TEST_CASE("a process is ended at its limits and takes those with it that it has started") {
  const std::vector<std::string> environment = {"PATH=/usr/bin:/bin"};
  const auto shell = [&](const std::string& script, Limits limits) {
    return run_limited({"/bin/sh", "-c", script}, "/", environment, limits);
  };
  Ended ended = shell("echo out; echo err >&2; exit 7", {});
  CHECK(ended.exit_code == 7);
  CHECK(ended.output == "out\nerr\n");
  ended = shell("kill -9 $$", {});
  CHECK(ended.signal == 9);
  CHECK_FALSE(ended.too_long);
  Limits limits;
  limits.cpu_seconds = 1;
  CHECK(shell("while :; do :; done", limits).too_long);
  limits.wall_seconds = 1;
  CHECK(shell("sleep 60", limits).too_long);
  limits.output = 10;
  ended = shell("echo 0123456789abcdef", limits);
  CHECK(ended.output == "0123456789");
  // The sleeper holds the pipe; nobody waits for it, and it is gone.
  const TempDir dir;
  ended = shell("sleep 60 & echo $! > " + dir / "pid", {});
  CHECK(ended.exit_code == 0);
  const std::string stat = "/proc/" + std::to_string(std::stoi(read_file(dir / "pid"))) + "/stat";
  const auto runs = [&] {
    const std::string text = read_file(stat);
    return !text.empty() && !contains(text, ") Z ");
  };
  for (int i = 0; i < 1000 && runs(); ++i) ::usleep(10'000);  // a signal takes its time
  CHECK_FALSE(runs());
  CHECK_THROWS_WITH(run_limited({"/no/such/program"}, "/", environment, {}), Catch::Contains("cannot be started"));
}
