// crisp-inspect check: derivatives proved by values.
#include <cmath>

#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

const std::string sample = CRISP_SOURCE_DIR "/weights/sample";
constexpr const char* text = "a moving film, and a very funny one";

Outcome check(const Words& more, const std::string& program = CRISP_INSPECT, const Words& environment = {}) {
  return run(Words{program, "check", text, "--weights", sample, "--threads", "1"} + more, {.environment = environment});
}
json check_json(const Words& more) { return json::parse(check(more + Words{"--json"}).out); }

TEST_CASE("inspect check: elements and a direction of a real checkpoint, dense and by every sparse method") {
  const std::vector<Words> kinds{
      {},
      {"--sparsity", "0.8"},
      {"--sparsity", "0.6", "--sparse-method", "top-k-ties"},
      {"--sparsity", "0.6", "--sparse-method", "percentile"},
      {"--sparse-method", "threshold", "--attention-threshold", "0"},
      {"--sparsity", "0.6", "--sparse-method", "bottom-k"},
      {"--sparsity", "0.6", "--sparse-method", "random-k"},
      {"--sparsity", "0.6", "--sparse-method", "neighbour"},
      {"--sparse-method", "bigbird", "--bigbird", "3,1,1"},
      {"--sparsity", "0.6", "--sparse-method", "lexical"},
      {"--sparse-method", "sparsemax"},
      {"--sparse-method", "entmax15"},
      {"--sparse-method", "learned-span", "--span-init", "2.5", "--training"},
      {"--sparse-method", "attention-drop", "--sparsity", "0.6", "--training"},
      {"--sparsity", "0.6", "--drop-key", "0.2", "--training", "--seed", "5"},
  };
  for (const Words& kind : kinds) {
    CAPTURE(kind);
    const json found = check_json(kind + Words{"--elements", "3", "--draw", "3"});
    REQUIRE(found["proofs"].size() == 4);
    for (const json& proof : found["proofs"]) {
      CAPTURE(proof["name"], proof["analytic"], proof["numeric"]);
      CHECK((proof["verdict"] == "ok" || proof["verdict"] == "zero"));
      if (proof["verdict"] == "ok") CHECK(proof["error"] < 1e-6);
      if (!proof["slope"].is_null()) CHECK(std::abs(proof["slope"].get<double>() - 2) < 0.05);
    }
  }
}

TEST_CASE("inspect check: one element has its curve, in the terminal and drawn") {
  const TempDir dir;
  const Outcome one = check({"layer.1.ffn.lin1.weight[3,5]", "--svg", dir / "curve.svg"});
  CAPTURE(one.out, one.err);
  CHECK(one.exit_code == 0);
  CHECK(contains(one.out, "d f / d layer.1.ffn.lin1.weight[3,5]: ok"));
  CHECK(contains(one.out, "(2: right, 1: wrong)"));
  CHECK(contains(one.out, "1 of 1 proved"));
  for (const std::string& line : lines_of(one.out)) CHECK((line.size() <= 80 || contains(line, "curve.svg")));
  const std::string svg = read_file(dir / "curve.svg");
  CHECK(svg.starts_with("<svg xmlns="));
  CHECK(contains(svg, "polyline class=\"error\""));
  const json found = check_json({"layer.1.ffn.lin1.weight[3,5]"});
  const json& steps = found["proofs"][0]["steps"];
  REQUIRE(steps.size() > 20);
  // The right arm of the V: a quarter of the error for half of the step.
  CHECK(steps[1]["error"].get<double>() / steps[2]["error"].get<double>() == Approx(4).epsilon(0.1));
}

TEST_CASE("inspect check: a step that crosses a change of the kept set is named, with the derivatives on both sides") {
  const json found = check_json({"layer.0.attention.v_lin.bias[93]", "--sparsity", "0.8"});
  const json& proof = found["proofs"][0];
  CHECK(proof["verdict"] == "ok");
  CHECK(proof["limit"].get<double>() < 0.25);
  REQUIRE(!proof["crossings"].empty());
  const json& crossing = proof["crossings"][0];
  const json& flip = crossing["flips"][0];
  CAPTURE(crossing.dump());
  CHECK(flip["layer"].is_number());
  CHECK(contains(flip["text"], "layer "));
  CHECK(contains(flip["text"], "query "));
  CHECK(contains(flip["text"], "key "));
  // Exactly k keys stay: whatever comes, something goes.
  int balance = 0;
  for (const json& f : crossing["flips"])
    if (f["layer"].is_number()) balance += f["on"].get<bool>() ? 1 : -1;
  CHECK(balance == 0);
  CHECK(crossing["jump"] != 0);
  CHECK(crossing["derivative_before"] != crossing["derivative_after"]);
  // Just before it and just behind it, there is nothing that crosses.
  CHECK(crossing["width"].get<double>() < 1e-9);
}

TEST_CASE("inspect check: a wrong backward pass is found and named, whatever the mistake") {
  const auto planted = [](const std::string& mistake) {
    return check({"--device", "cuda", "--elements", "6"}, CRISP_INSPECT_FAULTY, {"CRISP_PLANTED=" + mistake});
  };
  const Outcome right = planted("");
  CAPTURE(right.out, right.err);
  CHECK(right.exit_code == 0);
  const std::vector<std::pair<std::string, std::string>> mistakes{
      {"factor", "layer_norm"}, {"lost-term", "feed_forward in DistilBert > layer."}, {"wrong-index", "cross_entropy"}};
  for (const auto& [mistake, operation] : mistakes) {
    const Outcome wrong = planted(mistake);
    CAPTURE(mistake, wrong.out, wrong.err);
    CHECK(wrong.exit_code == 1);
    CHECK(contains(wrong.out, "WRONG"));
    bool named = false;
    for (const std::string& line : lines_of(wrong.out)) {
      if (!line.starts_with("wrong backward pass: ")) continue;
      CHECK(contains(line, operation));
      named = true;
    }
    CHECK(named);
  }
}

TEST_CASE("inspect check: the kernels of an emulated GPU") {
  const Outcome outcome =
      check({"--device", "cuda", "--elements", "2", "--largest-step", "0.001", "--operations", "--sparsity", "0.8"},
            CRISP_INSPECT_EMULATED);
  CAPTURE(outcome.out, outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(contains(outcome.out, "backward functions by themselves: all are right"));
}

TEST_CASE("inspect check: what cannot be found is answered with what is near") {
  CHECK(contains(check({"layer.1.ffn.lin3.weight[0,0]"}).err, "did you mean layer.1.ffn.lin1.weight?"));
  CHECK(check({"layer.1.ffn.lin3.weight[0,0]"}).exit_code == 2);
  CHECK(contains(check({"layer.1.ffn.lin1.weight[3]"}).err, "its shape is "));
  CHECK(contains(check({"layer.1.ffn.lin1.weight[3,99999]"}).err, "has no element [3,99999]"));
  CHECK(contains(check({"ffn.lin1.weight"}).err, "give more of the name"));
  CHECK(contains(run({CRISP_INSPECT, "check", text}).err, "give either --model DIR or --weights FILE"));
  CHECK(contains(check({"--label", "2"}).err, "--label 2"));
  CHECK(contains(check({"--logit", "2"}).err, "--logit 2"));
}

}  // namespace
}  // namespace crisp::test
