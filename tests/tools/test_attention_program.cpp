// crisp-inspect attention, as a user starts it.
#include <cmath>

#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

const std::string sample = CRISP_SOURCE_DIR "/weights/sample";

Outcome attention(const Words& more) {
  return run(
      Words{CRISP_INSPECT, "attention", "a moving film, and a very funny one", "--weights", sample, "--threads", "1"} +
      more);
}

TEST_CASE("inspect attention: a table of heads, and one head's weights that add up to one") {
  const Outcome table = attention({"--sparsity", "0.8"});
  CAPTURE(table.out, table.err);
  REQUIRE(table.exit_code == 0);
  CHECK(contains(table.out, "attention 0.8 by top-k"));
  CHECK(contains(table.out, "18 %"));  // 2 of 11 keys
  CHECK(lines_of(table.out).size() == 4 + 4 * 4);
  const json one = json::parse(attention({"--sparsity", "0.8", "--layer", "1", "--head", "2", "--json"}).out);
  REQUIRE(one["heads"].size() == 1);
  const json& head = one["heads"][0];
  CHECK(head["kept"] == 22);
  REQUIRE(head["weights"].size() == 11);
  for (const json& row : head["weights"]) {
    double sum = 0;
    int kept = 0;
    for (const json& w : row) sum += w.get<double>(), kept += w != 0;
    CHECK(sum == Approx(1).epsilon(1e-12));
    CHECK(kept == 2);
  }
  CHECK(head["entropy"].get<double>() <= std::log(2));
  CHECK(json::parse(attention({"--json"}).out)["heads"].size() == 16);
}

TEST_CASE("inspect attention: page, picture and weights are written where they are asked for") {
  const TempDir dir;
  const Outcome outcome = attention({"--layer", "0", "--head", "3", "--html", dir / "page.html", "--svg",
                                     dir / "head.svg", "--output", dir / "weights.safetensors"});
  CAPTURE(outcome.out, outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(read_file(dir / "page.html").starts_with("<!DOCTYPE html>"));
  CHECK(read_file(dir / "head.svg").starts_with("<svg"));
  CHECK(contains(read_file(dir / "weights.safetensors"), "\"layer.3.attention\""));
  CHECK(attention({"--svg", dir / "x.svg"}).exit_code == 2);
  CHECK(attention({"--head", "1"}).exit_code == 2);
  CHECK(contains(attention({"--layer", "4"}).err, "the model has 4 (0 to 3)"));
  CHECK(attention({"--html", dir / "none/page.html"}).exit_code == 1);
}

}  // namespace
}  // namespace crisp::test
