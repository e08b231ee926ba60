// crisp-inspect graph: what a pass is made of and costs, and how that is shown.
#include <algorithm>
#include <map>
#include <sstream>

#include "engine/cpu/memory/allocator.h"
#include "engine/op.h"
#include "tests/tools/inspect_pass.h"
#include "tests/train/markup.h"
#include "tools/inspect/graph_output.h"
#include "tools/text_table.h"

namespace crisp::test {
namespace {

using namespace crisp::inspect;

const GraphTitle title{.objective = "cross-entropy of label 1 (<good>)",
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

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) all.push_back(line);
  return all;
}

Graph graph_of(const SmallPass& pass, const GraphOptions& options = {.repeats = 2}) {
  return record_graph(Context::standard(), pass, options);
}

TEST_CASE("every operation of the engine has a formula and a derivative, in ASCII") {
  for (const Op* op : all_ops()) {
    CAPTURE(op->name);
    const Formula formula = formula_of(op->name);
    for (const std::string text : {formula.forward, formula.backward}) {
      CHECK(text.size() > 2);
      CHECK(std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; }));
    }
  }
  CHECK(std::string(formula_of("nothing").forward).empty());
}

TEST_CASE("a graph has the tape's operations, who gave them what, and their FLOPs") {
  const SmallPass pass;
  const Graph graph = graph_of(pass);
  REQUIRE(graph.nodes.size() == 13);
  Tape tape;
  pass(tape);
  CHECK(graph.total().flops == tape.flops());
  const Operation& linear = graph.nodes[4].operation;
  CHECK(linear.name == "linear");
  CHECK(linear.scope == std::vector<std::string>{"net", "layer.1", "lin"});
  CHECK(linear.output == Shape{3, 8});
  REQUIRE(linear.inputs.size() == 3);
  CHECK(linear.inputs[0].made_by == 3u);
  CHECK((linear.inputs[1].name == "net.layer.1.lin.weight" && linear.inputs[1].trained && !linear.inputs[1].made_by));
  CHECK(leaves_of(linear) == std::vector<std::string>{"lin.weight 8x8", "lin.bias 8"});
  CHECK(dotted_name(linear) == "net.layer.1.lin.linear");
  CHECK(scope_text(linear) == "net > layer.1 > lin");
  CHECK(scope_text(graph.nodes[12].operation) == "objective");
  CHECK(dotted_name(graph.nodes[12].operation) == "mean");
  for (const GraphNode& node : graph.nodes) CHECK((node.cost.forward >= 0.0 && node.cost.backward >= 0.0));
  CHECK(!pass.table.grad());  // nothing is left behind
}

TEST_CASE("the bytes that a graph says are kept are those that the pass keeps") {
  const DType dtype = GENERATE(DType::f32, DType::f64);
  const SmallPass pass(dtype);
  const Graph graph = graph_of(pass);
  const auto in_use = [] { return allocator_stats().bytes_in_use; };
  Tape tape;
  pass(tape);
  tape.clear();
  const int64_t before = in_use();
  pass(tape);
  const int64_t recorded = in_use();
  const std::vector<int64_t> bytes = tape.release(Device::cpu);
  CHECK(graph.total().kept == recorded - in_use());
  tape.clear();
  CHECK(in_use() == before);
  for (size_t i = 0; i < bytes.size(); ++i) CHECK(graph.nodes[i].cost.kept == bytes[i]);
  // tanh saves its result, a sum nothing.
  const auto values = static_cast<int64_t>(24 * size_of(dtype));
  CHECK(graph.nodes[2].cost.kept >= values);
  CHECK(graph.nodes[2].cost.kept - graph.nodes[3].cost.kept >= values);
}

TEST_CASE("what has not run has no time, and is a dash") {
  const SmallPass pass;
  const Graph forward = graph_of(pass, {.repeats = 1, .backward = false});
  for (const GraphNode& node : forward.nodes) CHECK((node.cost.forward && !node.cost.backward));
  CHECK(!forward.total().backward);
  const std::vector<std::string> table = lines(graph_tables(forward, folds_of(forward), 80));
  for (const std::string& line : table)
    if (!line.empty() && !line.ends_with("bwd") && !line.ends_with("of the time") && !line.ends_with('%') &&
        line.find("layer.3") == std::string::npos)
      CHECK(line.ends_with("  -"));
  CHECK(graph_json(forward, title)["nodes"][3]["backward_ms"].is_null());
  CHECK(times(graph_page(forward, folds_of(forward), title), "<td>\u2013</td>") >= 13);

  // An operation whose result nobody uses runs forward alone; one of constants is recorded nowhere and moves nothing.
  const Tensor constant = Tensor::full({2}, DType::f64, 3);
  const Graph graph = record_graph(Context::standard(),
                                   [&](Tape& tape) {
                                     exp(tape, constant);
                                     exp(tape, pass.biases[0]);
                                     return sum(tape, mul(tape, pass.biases[0], pass.biases[0]));
                                   },
                                   {.repeats = 3});
  REQUIRE(graph.nodes.size() == 3);
  CHECK((graph.nodes[0].cost.forward && !graph.nodes[0].cost.backward));
  for (const size_t i : {size_t{1}, size_t{2}}) CHECK((graph.nodes[i].cost.forward && graph.nodes[i].cost.backward));
  CHECK(graph.nodes[1].operation.inputs.size() == 1);  // once, though it is there twice
}

TEST_CASE("equal layers fold, and what differs stands alone") {
  const Graph graph = graph_of(SmallPass());
  const std::vector<GraphFold> folds = folds_of(graph);
  std::vector<std::string> names;
  for (const GraphFold& fold : folds) names.push_back(fold.name());
  CHECK(names == std::vector<std::string>{"embed", "layer.0 to layer.2", "layer.3", "objective"});
  CHECK((folds[1].begin() == 1 && folds[1].end() == 10 && folds[1].parts.size() == 3));
  CHECK(place_in(folds[1].parts[0], graph.nodes[1].operation) == "lin");
  CHECK(place_in(folds[1].parts[0], graph.nodes[2].operation) == "");
  CHECK(folds_of(graph, false).size() == 6);

  const std::vector<CostSum> layers = sums_by_part(graph), operations = sums_by_operation(graph);
  REQUIRE(layers.size() == 6);
  CHECK((layers[1].name == "layer.0" && layers[1].count == 3 && layers[1].cost.flops == layers[2].cost.flops));
  double flops = 0;
  int64_t count = 0, kept = 0;
  for (const CostSum& sum : operations) flops += sum.cost.flops, count += sum.count, kept += sum.cost.kept;
  CHECK((flops == graph.total().flops && count == 13 && kept == graph.total().kept));
  CHECK(cost_of(graph, 1, 10).flops == 3 * layers[1].cost.flops);

  Graph other = graph;
  other.nodes[5].cost.flops += 1;  // in layer.1
  CHECK(folds_of(other).size() == 6);
}

TEST_CASE("a graph's tables fit 80 columns") {
  const Graph graph = graph_of(SmallPass());
  const std::string table = graph_tables(graph, folds_of(graph), 80);
  for (const std::string& line : lines(table)) CHECK(display_width(line) <= 80);
  CHECK(has(table, " 1  layer.0 to layer.2  x 3"));
  CHECK(has(table, "10  linear              lin "));
  CHECK_FALSE(has(table, "input"));
  const std::string all = graph_tables(graph, folds_of(graph, false), 0);
  CHECK(times(all, "\n 4  linear") == 1);
  CHECK(has(all, "input"));
  for (const auto& [number, text] : std::map<double, std::string>{
           {0, "0"}, {999, "999"}, {999.6, "1.00k"}, {28'300'000, "28.3M"}, {999'600, "1.00M"}, {123'456, "123k"}})
    CHECK(si_text(number) == text);
  CHECK(ms_text(std::nullopt) == "-");
  CHECK(ms_text(0.0) == "0.000");
  CHECK(ms_text(0.0123456) == "12.35");
  CHECK(ms_text(1.5) == "1500");
}

TEST_CASE("a graph as JSON has every operation, whether its layer folds or not") {
  const Graph graph = graph_of(SmallPass());
  const nlohmann::ordered_json json = graph_json(graph, title);
  REQUIRE(json["nodes"].size() == 13);
  CHECK(json["text"] == "a <b>film</b>");
  CHECK(json["flops"] == graph.total().flops);
  const auto& node = json["nodes"][4];
  CHECK(node["layer"] == "layer.1");
  CHECK(node["inputs"][0] == nlohmann::ordered_json{{"node", 3}, {"shape", {3, 8}}});
  CHECK(node["inputs"][1] == nlohmann::ordered_json{{"parameter", "net.layer.1.lin.weight"}, {"shape", {8, 8}}});
  CHECK(node["forward_ms"].is_number());
  CHECK(json["by_operation"].size() == 5);
  CHECK(json["by_layer"].size() == 6);
}

TEST_CASE("edges of a folded graph lead through its first layer, and back for the next") {
  const Graph graph = graph_of(SmallPass());
  const auto edges = [&](const std::vector<GraphFold>& folds) {
    std::vector<std::string> all;
    for (const GraphEdge& e : edges_of(graph, folds))
      all.push_back(std::to_string(e.from) + (e.repeats ? "~" : "-") + std::to_string(e.to));
    return all;
  };
  using List = std::vector<std::string>;
  CHECK(edges(folds_of(graph)) == List{"0-1", "3~1", "1-2", "0-3", "2-3", "3~3", "3-10", "10-11", "11-12"});
  CHECK(edges(folds_of(graph, false)).size() == 15);
}

// A few rules of Graphviz's language: braces in pairs, every node declared once and before its edges.
TEST_CASE("a graph for Graphviz declares what it connects") {
  Graph graph = graph_of(SmallPass());
  graph.nodes[1].operation.inputs[1].name = "a \"quoted\" \\ name";
  const std::string dot = graph_dot(graph, folds_of(graph));
  int open = 0, edges = 0;
  std::map<std::string, int> declared;
  for (std::string line : lines(dot)) {
    line.erase(0, line.find_first_not_of(' '));
    open += line.ends_with('{') - (line == "}");
    if (line.ends_with('{') || line == "}") continue;
    CHECK(line.ends_with(';'));
    std::istringstream words(line);
    std::string first, second, third;
    words >> first >> second >> third;
    if (second == "->") {
      if (third.ends_with(';')) third.pop_back();
      ++edges;
      CHECK((declared[first] == 1 && declared[third] == 1));
    } else if ((first[0] == 'n' || first[0] == 'p') && second.starts_with('[')) {
      if (first != "node") ++declared[first];
    }
  }
  CHECK(open == 0);
  CHECK(edges == 9 + 5);  // between operations; from parameters: of the table, and of the two layers that are drawn
  CHECK(times(dot, "subgraph cluster_") == 4);
  CHECK(has(dot, "label=\"layer.0 to layer.2  x 3"));
  CHECK(has(dot, R"(a \"quoted\" \\ name)"));
}

TEST_CASE("a drawing is well-formed by itself, and carries no style of its own within a page") {
  const Graph graph = graph_of(SmallPass());
  const std::string svg = graph_svg(graph, folds_of(graph), Drawing::standalone);
  CHECK(fault("\n" + svg) == "");
  CHECK(has(svg, "xmlns=\"http://www.w3.org/2000/svg\""));
  CHECK(has(svg, "prefers-color-scheme: dark"));
  CHECK(times(svg, "<g id=\"node-") == 7);
  CHECK(times(svg, "class=\"g-edge g-loop\"") == 2);
  CHECK(times(svg, "marker-end") == 9 + 3);  // edges, and the boxes of parameters
  CHECK(times(graph_svg(graph, folds_of(graph, false), Drawing::standalone), "<g id=\"node-") == 13);
  CHECK_FALSE(has(graph_svg(graph, folds_of(graph), Drawing::within_page), "<style"));
}

TEST_CASE("a graph's page is well-formed, self-contained, and shows every operation without a script") {
  const Graph graph = graph_of(SmallPass());
  const std::string page = graph_page(graph, folds_of(graph), title);
  CHECK(fault(page) == "");
  for (const char* part : {"http://", "https://", "src=", "@import", "nan", "<b>film", "<good>"})
    CHECK_FALSE(has(page, part));
  CHECK(has(page, "a &lt;b&gt;film&lt;/b&gt;"));
  for (int i = 0; i < 13; ++i) CHECK(times(page, "<tr id=\"row-" + std::to_string(i) + "\">") == 1);
  CHECK(times(page, "aria-controls=\"fold-1\"") == 1);
  CHECK(times(page, "<tbody class=\"inner\" id=\"fold-1\">") == 1);
  for (const char* id : {"summary", "operations", "sums", "picture"})
    CHECK(has(page, "<section id=\"" + std::string(id) + "\">"));
}

}  // namespace
}  // namespace crisp::test
