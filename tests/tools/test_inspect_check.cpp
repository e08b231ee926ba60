// crisp-inspect check: derivatives proved by values.
#include <cmath>
#include <filesystem>
#include <set>

#include "tests/tools/changed_weights.h"
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
  const TempDir dir;
  const std::string parses = dir / "one.conllu";
  std::string sentence;
  int word = 0;
  for (const char* form : {"a", "moving", "film", ",", "and", "a", "very", "funny", "one"}) {
    ++word;  // each depends on the one before
    sentence += fmt::format("{}\t{}\t_\t_\t_\t_\t{}\t_\t_\t_\n", word, form, word - 1);
  }
  write_file(parses, sentence + "\n");
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
      {"--sparsity", "0.6", "--sparse-method", "syntax", "--parses", parses},
  };
  for (const Words& kind : kinds) {
    CAPTURE(kind);
    const json found = check_json(kind + Words{"--elements", "3", "--draw", "3"});
    REQUIRE(found["proofs"].size() == 4);
    size_t measured = 0;
    for (const json& proof : found["proofs"]) {
      CAPTURE(proof["name"], proof["analytic"], proof["numeric"]);
      CHECK((proof["verdict"] == "ok" || proof["verdict"] == "zero"));
      if (proof["verdict"] == "ok") CHECK(proof["error"] < 1e-6);
      if (proof["slope"].is_null()) continue;
      ++measured;
      CHECK(std::abs(proof["slope"].get<double>() - 2) < 0.05);
    }
    CHECK(measured >= 2);
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

// The keys that each query of a head keeps.
std::vector<std::set<size_t>> kept_keys(const std::string& model, const json& flip) {
  const Outcome outcome = run({CRISP_INSPECT, "attention", text, "--model", model, "--threads", "1", "--sparsity",
                               "0.8", "--json", "--layer", flip["layer"].dump(), "--head", flip["head"].dump()});
  const json head = json::parse(outcome.out)["heads"][0];
  std::vector<std::set<size_t>> kept;
  for (const json& row : head["weights"]) {
    kept.emplace_back();
    for (size_t k = 0; k < row.size(); ++k)
      if (row[k] != 0) kept.back().insert(k);
  }
  return kept;
}

TEST_CASE("inspect check: on both sides of a kink the model keeps the keys, and has the derivatives, that are named") {
  const std::string element = "layer.0.attention.v_lin.bias[93]";
  const json crossing = check_json({element, "--sparsity", "0.8"})["proofs"][0]["crossings"][0];
  const double at = crossing["at"], beside = std::copysign(1e-5, at);
  const TempDir dir;
  const auto moved = [&](const std::string& name, double distance) {
    std::filesystem::copy(sample, dir / name);
    change_weights(dir / name + "/model.safetensors",
                   [&](const std::string& tensor, const std::vector<int64_t>&, std::vector<float>& values) {
                     if (tensor.ends_with("layer.0.attention.v_lin.bias")) values[93] += static_cast<float>(distance);
                   });
    const Outcome outcome = run({CRISP_INSPECT, "check", text, element, "--model", dir / name, "--threads", "1",
                                 "--sparsity", "0.8", "--json"});
    return json::parse(outcome.out)["proofs"][0]["numeric"].get<double>();
  };
  CHECK(moved("before", at - beside) == Approx(crossing["derivative_before"].get<double>()).epsilon(1e-3));
  CHECK(moved("after", at + beside) == Approx(crossing["derivative_after"].get<double>()).epsilon(1e-3));

  std::set<std::pair<std::string, std::string>> heads;
  for (const json& flip : crossing["flips"]) {
    if (!flip["layer"].is_number() || !heads.emplace(flip["layer"].dump(), flip["head"].dump()).second) continue;
    std::vector<std::set<size_t>> expected = kept_keys(dir / "before", flip);
    for (const json& other : crossing["flips"]) {
      if (other["layer"] != flip["layer"] || other["head"] != flip["head"]) continue;
      std::set<size_t>& keys = expected.at(other["query"].get<size_t>());
      CHECK((other["on"].get<bool>() ? keys.insert(other["key"].get<size_t>()).second
                                     : keys.erase(other["key"].get<size_t>()) == 1));
    }
    CHECK(kept_keys(dir / "after", flip) == expected);
  }
  CHECK(!heads.empty());
}

TEST_CASE("inspect check: what cannot be decided is no proof, and nothing is nothing to check") {
  const Outcome undecided = check({"--sparse-method", "learned-span", "--elements", "0"});
  CAPTURE(undecided.out);
  CHECK(undecided.exit_code == 1);
  CHECK(contains(undecided.out, "0 of 1 proved to 1e-06, 1 too near to a kink to tell"));
  CHECK_FALSE(contains(undecided.out, "nan"));
  const Outcome nothing = check({"--elements", "0", "--directions", "0"});
  CHECK(nothing.exit_code == 2);
  CHECK(contains(nothing.err, "nothing is to be checked"));
}

TEST_CASE("inspect check: a model that is not finite has nothing to prove") {
  const TempDir dir;
  std::filesystem::copy(sample, dir / "broken");
  change_weights(dir / "broken/model.safetensors",
                 [](const std::string& tensor, const std::vector<int64_t>&, std::vector<float>& values) {
                   if (tensor.ends_with("layer.1.ffn.lin1.bias")) values[3] = NAN;
                 });
  for (const char* command : {"check", "attention", "graph", "step"}) {
    CAPTURE(command);
    const Outcome outcome = run({CRISP_INSPECT, command, text, "--model", dir / "broken", "--threads", "1"});
    CHECK(outcome.exit_code == 4);
    CHECK(contains(outcome.err, "the model's answer is not finite; the weights' "));
    CHECK(contains(outcome.err, "layer.1.ffn.lin1.bias"));
  }
}

TEST_CASE("inspect: a page does not replace a file of another kind") {
  const TempDir dir;
  std::filesystem::copy(sample, dir / "model");
  const std::string before = read_file(dir / "model/model.safetensors");
  const auto draw = [&](const std::string& path) {
    return run({CRISP_INSPECT, "attention", text, "--model", dir / "model", "--threads", "1", "--html", path});
  };
  const Outcome refused = draw(dir / "model/model.safetensors");
  CHECK(refused.exit_code == 2);
  CHECK(contains(refused.err, "is there already and of another kind"));
  CHECK(read_file(dir / "model/model.safetensors") == before);
  CHECK(draw(dir / "page.html").exit_code == 0);
  CHECK(draw(dir / "page.html").exit_code == 0);  // its own kind
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
