// crisp-inspect's commands as a user starts them, and the files that they write.
#include "tests/tools/programs.h"
#include "tests/train/markup.h"

namespace crisp::test {
namespace {

const std::string sample_model = CRISP_SOURCE_DIR "/weights/sample";

Outcome inspect(const Workshop& at, const Words& words, ProcessOptions options = {}) {
  options.environment.emplace_back("COLUMNS=80");
  return at.start(Words{CRISP_INSPECT} + words + Words{"--threads", "1"}, options);
}

void check_fits(const std::string& text) {
  for (const std::string& line : lines_of(text)) {
    CAPTURE(line);
    CHECK(line.size() <= 80);  // ASCII
  }
}

TEST_CASE("graph prints tables for a terminal and writes a page, a drawing and a graph for Graphviz") {
  const Workshop at;
  const Outcome outcome = inspect(at, {"graph", "a good film", "--model", sample_model, "--repeat", "1", "--html",
                                       "g.html", "--svg", "g.svg", "--dot", "g.dot"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  check_fits(outcome.out);
  CHECK(contains(outcome.out, "layer.0 to layer.2"));
  CHECK(contains(outcome.out, "x 3"));
  CHECK(contains(outcome.out, "cross_entropy"));
  for (const char* name : {"g.html", "g.svg", "g.dot"})
    CHECK(contains(outcome.err, std::string("written: ").append(name)));
  CHECK(fault(at.read("g.html")) == "");
  CHECK(fault(std::string("\n").append(at.read("g.svg"))) == "");
  CHECK(at.read("g.dot").starts_with("digraph crisp {"));
}

TEST_CASE("Graphviz takes the graph") {
  const Workshop at;
  if (at.start({"/usr/bin/env", "dot", "-V"}).exit_code != 0) CRISP_SKIP("there is no dot (Graphviz)");
  for (const char* fold : {"--repeat=1", "--all"}) {
    REQUIRE(inspect(at, {"graph", "a good film", "--model", sample_model, "--dot", "g.dot", fold}).exit_code == 0);
    const Outcome drawn = at.start({"/usr/bin/env", "dot", "-Tsvg", "g.dot", "-o", "drawn.svg"});
    CHECK(drawn.exit_code == 0);
    CHECK(drawn.err.empty());
    CHECK(contains(at.read("drawn.svg"), "feed_forward"));
  }
}

TEST_CASE("graph as JSON: sums are those of the operations, and what has not run is null") {
  const Workshop at;
  const Words words{"graph", "a good film", "--model", sample_model, "--repeat", "1", "--json"};
  const Outcome outcome = inspect(at, words + Words{"--logit", "0", "--precision", "f64"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const json graph = json::parse(outcome.out);
  double flops = 0;
  int64_t kept = 0;
  for (const json& node : graph["nodes"]) {
    flops += node["flops"].get<double>();
    kept += node["kept_bytes"].get<int64_t>();
    CHECK((node["forward_ms"].is_number() && node["backward_ms"].is_number()));
  }
  CHECK(flops == graph["flops"]);
  CHECK(kept == graph["kept_bytes"]);
  CHECK(graph["nodes"].back()["operation"] == "reshape");
  CHECK(graph["precision"] == "f64");
  CHECK(graph["objective"].get<std::string>().starts_with("logit 0"));
  CHECK(graph["tokens"].size() > 3);

  const json forward = json::parse(inspect(at, words + Words{"--forward-only"}).out);
  CHECK(forward["backward_ms"].is_null());
  for (const json& node : forward["nodes"]) CHECK(node["backward_ms"].is_null());
}

TEST_CASE("step prints every operation forward and back, one alone, or a page") {
  const Workshop at;
  const Words words{"step", "a good film", "--model", sample_model};
  const Outcome all = inspect(at, words);
  CAPTURE(all.err);
  REQUIRE(all.exit_code == 0);
  check_fits(all.out);
  CHECK(contains(all.out, "#0        forward  embeddings_layer_norm  in DistilBert > embeddings"));
  CHECK(all.out.find("#1        backward") < all.out.find("#0        backward"));
  CHECK(contains(all.out, "to rows of word_embeddings.weight"));
  CHECK_FALSE(contains(all.out, "nan"));

  const Outcome range = inspect(at, words + Words{"--from", "2", "--to", "3", "--values", "0"});
  CHECK(contains(range.out, "#2        forward"));
  CHECK_FALSE(contains(range.out, "#4        forward"));
  CHECK(json::parse(inspect(at, words + Words{"--json", "--node", "layer.1.ffn"}).out)["nodes"].size() == 2);

  const Outcome page = inspect(at, words + Words{"--html", "s.html"});
  CHECK(page.exit_code == 0);
  CHECK(contains(page.err, "written: s.html"));
  CHECK(lines_of(page.out).size() <= 3);
  CHECK(fault(at.read("s.html")) == "");
  CHECK(at.read("s.html").size() < 2'000'000);
}

TEST_CASE("what step cannot find is named with what is near") {
  const Workshop at;
  const auto refused = [&](const Words& words, const std::string& part) {
    const Outcome outcome = inspect(at, Words{"step", "a good film", "--model", sample_model} + words);
    CAPTURE(outcome.err);
    CHECK(outcome.exit_code == 2);
    CHECK(contains(outcome.err, part));
    CHECK(outcome.out.empty());
  };
  refused({"--node", "layer.9"}, "--node layer.9: no operation's name holds it; did you mean layer.");
  refused({"--node", "feed_forwad"}, "did you mean feed_forward?");
  refused({"--node", "99"}, "--node 99: the pass has 0 to ");
  refused({"--from", "99"}, "the pass has 0 to ");
  refused({"--from", "3", "--to", "2"}, "--from 3 is behind --to 2");
  refused({"--node", "1", "--to", "2"}, "give either --node");
  refused({"--from", "-1"}, "must be a whole number");
}

TEST_CASE("a page that cannot be written is an error") {
  const Workshop at;
  for (const char* command : {"graph", "step"}) {
    const Outcome outcome =
        inspect(at, {command, "a good film", "--model", sample_model, "--html", "no/such/folder/p.html"});
    CHECK(outcome.exit_code == 1);
    CHECK(contains(outcome.err, "no/such/folder"));
  }
}

}  // namespace
}  // namespace crisp::test
