// crisp-inspect step: values and gradients at each operation, and how they are shown.
#include <cmath>
#include <deque>
#include <sstream>

#include "tests/tools/inspect_pass.h"
#include "tests/train/markup.h"
#include "tools/inspect/step_output.h"
#include "tools/text_table.h"

namespace crisp::test {
namespace {

using namespace crisp::inspect;
using Row = std::vector<double>;

const GraphTitle title{.objective = "logit 0 (good)",
                       .text = "a <b>film</b>",
                       .model = "DIR",
                       .attention = "0.8 by top-k",
                       .precision = "f64",
                       .tokens = {"[CLS]", "a", "[SEP]"},
                       .threads = 1};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

int times(const std::string& text, const std::string& part) {
  int n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

void check_width(const std::string& text, int width) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    CAPTURE(text.substr(at, end - at));
    CHECK(display_width(std::string_view(text).substr(at, end - at)) <= width);
    at = end + 1;
  }
}

Tensor vec(const Row& values) {
  return Tensor::from(std::span<const double>(values), {static_cast<int64_t>(values.size())}, DType::f64);
}

TEST_CASE("an excerpt has the first rows and columns, and numbers over all") {
  const Row values{1, -2, 3, 4, 0, 6};
  const Excerpt e = excerpt_of(values, {3, 2}, 2);
  CHECK(e.corner == std::vector<Row>{{1, -2}, {3, 4}});
  CHECK((e.mean == 2 && e.least == -2 && e.most == 6));
  CHECK(e.norm == Approx(std::sqrt(66.0)));
  CHECK(excerpt_of(values, {6}, 4).corner == std::vector<Row>{{1, -2, 3, 4}});  // a vector is a row
  CHECK(excerpt_of(values, {3, 1, 2}, 2).corner.size() == 2);                   // all but the last dimension are rows
  CHECK(excerpt_of(Row{5}, {}, 8).corner == std::vector<Row>{{5}});
  CHECK(excerpt_of(Row{}, {0, 4}, 8).corner.empty());
  for (const Row& bad : {Row{1, NAN, 2}, Row{NAN, 1, 2}, Row{1, 2, NAN}}) {
    const Excerpt with_nan = excerpt_of(bad, {3}, 8);
    CHECK((std::isnan(with_nan.mean) && std::isnan(with_nan.least) && std::isnan(with_nan.most)));
  }
}

TEST_CASE("each step has values, the whole gradient, and what it adds to those of its inputs") {
  const Tensor x = vec({1, 2}).set_name("x").set_requires_grad(), c = vec({10, 20});
  const auto objective = [&](Tape& tape) {
    exp(tape, x);  // the objective does not depend on it
    const Tensor y = mul(tape, x, c), z = mul(tape, y, y);
    return sum(tape, add(tape, z, y));
  };
  const std::vector<StepNode> nodes = record_step(Context::standard(), objective, 8);
  REQUIRE(nodes.size() == 5);
  CHECK(!nodes[0].gradient);
  CHECK(!nodes[0].inputs[0].added);
  const StepNode &y = nodes[1], &z = nodes[2], &both = nodes[3];
  CHECK(y.value.corner == std::vector<Row>{{10, 40}});
  CHECK(y.inputs[0].value.corner == std::vector<Row>{{1, 2}});
  CHECK(both.inputs[1].added->corner == std::vector<Row>{{1, 1}});  // to y, whose other use adds
  REQUIRE(z.inputs.size() == 1);
  CHECK(z.inputs[0].added->corner == std::vector<Row>{{20, 80}});
  CHECK(y.gradient->corner == std::vector<Row>{{21, 81}});  // the sum of both
  CHECK(y.inputs[0].added->corner == std::vector<Row>{{210, 1620}});
  CHECK(!y.inputs[1].added);  // a constant
  CHECK(nodes[4].gradient->corner == std::vector<Row>{{1}});
  CHECK(!x.grad());  // nothing is left behind
}

TEST_CASE("a table whose gradient is by rows shows those, and what a second use adds") {
  const SmallPass pass;
  pass.table.take_grad_by_rows();
  const Rows others = on(Device::cpu, Rows(std::vector<int32_t>{1, 5}));
  const std::vector<StepNode> nodes = record_step(
      Context::standard(),
      [&](Tape& tape) {
        const Tensor first = sum(tape, embedding(tape, pass.table, pass.rows));
        return add(tape, first, scale(tape, sum(tape, embedding(tape, pass.table, others)), 3));
      },
      8);
  REQUIRE(nodes.size() == 6);
  const StepInput &first = nodes[0].inputs[0], &second = nodes[2].inputs[0];
  CHECK(second.rows == std::vector<int32_t>{1, 5});
  CHECK(second.added->corner == std::vector<Row>(2, Row(8, 3.0)));
  CHECK(first.rows == std::vector<int32_t>{1, 2, 5});  // of all that has been added to by then
  CHECK(first.added->corner == std::vector<Row>{Row(8, 0.0), Row(8, 2.0), Row(8, 1.0)});
}

TEST_CASE("the steps in a terminal fit it, forward and back") {
  const std::vector<StepNode> nodes = record_step(Context::standard(), SmallPass(), 8);
  for (const int width : {60, 80}) {
    for (size_t i = 0; i < nodes.size(); ++i) {
      for (const bool whole : {false, true}) {
        check_width(forward_text(nodes, i, {.numbers = 3, .whole = whole, .width = width}), width);
        check_width(backward_text(nodes, i, {.numbers = 3, .whole = whole, .width = width}), width);
      }
    }
  }
  const std::string forward = forward_text(nodes, 4, {.numbers = 2});
  CHECK(has(forward, "#4        forward  linear  in net > layer.1 > lin\n"));
  CHECK(has(forward, "y = x W' + b\n"));
  CHECK(has(forward, "  given   #3 3x8, lin.weight 8x8, lin.bias 8\n"));
  CHECK(has(forward, "  value   3x8  mean "));
  CHECK(times(forward, "\n") == 7);  // and two rows of numbers, and "..."
  const std::string backward = backward_text(nodes, 4, {.numbers = 0});
  CHECK(has(backward, "  adds    to #3 3x8  mean "));
  CHECK(has(backward, "  adds    to lin.weight 8x8  mean "));
  CHECK(number_text(-0.0) == "0");
  CHECK(number_text(NAN) == "nan");
  CHECK(number_text(-1.23456e-7) == "-1.23e-07");
}

TEST_CASE("walking through the steps takes a line for each") {
  const std::vector<StepNode> nodes = record_step(Context::standard(), SmallPass(), 8);
  const auto walked = [&](std::deque<std::string> input) {
    std::string shown;
    walk(
        nodes, {.numbers = 0},
        [&]() -> std::optional<std::string> {
          shown += "\n";  // as Enter does
          if (input.empty()) return {};
          std::string line = input.front();
          input.pop_front();
          return line;
        },
        [&](const std::string& text) { shown += text; });
    std::string order;  // "+3" for node 3 forward, "-3" for node 3 backward
    for (size_t at = shown.find('#'); at != std::string::npos; at = shown.find("\n#", at)) {
      at = shown.find('#', at);
      std::istringstream words(shown.substr(at + 1, 40));
      std::string number, direction;
      words >> number >> direction;
      if (direction == "forward" || direction == "backward") order += (direction == "forward" ? " +" : " -") + number;
      ++at;
    }
    return order;
  };
  CHECK(walked({"", "", "b", "q"}) == " +0 +1 +2 +1");
  CHECK(walked({"b", "\x1b[C", "\x1b[D"}) == " +0 +0 +1 +0");
  CHECK(walked({"12", "", "", "3", "99", "q"}) == " +0 +12 -12 -11 -3 -3");
  CHECK(walked({"12", "", "0", "", "never read"}) == " +0 +12 -12 -0");
}

TEST_CASE("the steps as JSON") {
  const std::vector<StepNode> nodes = record_step(Context::standard(), SmallPass(), 2);
  const nlohmann::ordered_json json = step_json(nodes, {4, 12}, title);
  REQUIRE(json["nodes"].size() == 2);
  const auto& node = json["nodes"][0];
  CHECK(node["node"] == 4);
  CHECK(node["value"]["shape"] == std::vector<int>{3, 8});
  CHECK(node["value"]["values"].size() == 2);
  CHECK(node["inputs"][0]["node"] == 3);
  CHECK(node["inputs"][1]["parameter"] == "net.layer.1.lin.weight");
  CHECK(node["inputs"][1]["added"]["norm"].get<double>() > 0);
  CHECK(json["nodes"][1]["gradient"]["values"] == std::vector<Row>{{1}});
}

TEST_CASE("the page of steps is well-formed, self-contained, and shows all without a script") {
  std::vector<StepNode> nodes = record_step(Context::standard(), SmallPass(), 8);
  nodes[2].value.corner[0][0] = NAN;
  nodes[5].gradient.reset();
  const std::string page = step_page(nodes, title);
  CHECK(fault(page) == "");
  for (const char* part : {"http://", "https://", "src=", "@import", "<b>film"}) CHECK_FALSE(has(page, part));
  for (int i = 0; i < 13; ++i) {
    CHECK(times(page, "<article id=\"node-" + std::to_string(i) + "\" class=\"node\">") == 1);
    CHECK(times(page, "<li><a href=\"#node-" + std::to_string(i) + "\">") == 1);
  }
  for (const char* id : {"player", "controls", "first", "back", "next", "last", "slider", "where", "list"})
    CHECK(times(page, " id=\"" + std::string(id) + "\"") == 1);
  CHECK(has(page, "<i class=\"x\">nan</i>"));
  CHECK(has(page, "\u2013 The objective does not depend on it"));
  CHECK(has(page, "<code>y = x W&#39; + b</code>"));
}

TEST_CASE("a page of many steps shows fewer numbers, and stays below 2 MB") {
  const std::vector<StepNode> few = record_step(Context::standard(), SmallPass(), 8);
  CHECK(has(step_page(few, title), "the first 8 rows"));
  for (const auto& [count, shown] : std::vector<std::pair<size_t, std::string>>{{200, "4 rows"}, {400, "1 rows"}}) {
    const std::string page = step_page(std::vector<StepNode>(count, few[4]), title);
    CHECK(page.size() < 2'000'000);
    CHECK(has(page, "the first " + shown));
  }
}

}  // namespace
}  // namespace crisp::test
