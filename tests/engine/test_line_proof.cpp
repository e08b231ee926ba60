// The proof of one derivative over the step.
#include "engine/line_proof.h"

#include <cmath>
#include <limits>

#include "tests/support/catch.h"

using namespace crisp;

TEST_CASE("line proof: a right derivative has an error below rounding and a remainder that falls with the square") {
  const LineProof proof = prove_along([](double t) { return std::sin(1 + t); }, std::cos(1.0));
  CHECK(proof.value == std::sin(1.0));
  CHECK(std::abs(proof.numeric - std::cos(1.0)) < 1e-11);
  CHECK(proof.error < 1e-11);
  CHECK(proof.passes(1e-10));
  REQUIRE(proof.slope);
  CHECK(std::abs(*proof.slope - 2) < 0.01);
  // The V: halving a large step divides the error by four, halving a tiny one does not.
  REQUIRE(proof.steps.size() > 30);
  CHECK(proof.steps[0].step == 0.25);
  CHECK(proof.steps[0].error / proof.steps[1].error == Approx(4).epsilon(0.01));
  CHECK(proof.steps.back().error > 1e-8);
  // f''' / 6 h^2 of f'.
  CHECK(proof.steps[2].error == Approx(proof.steps[2].step * proof.steps[2].step / 6).epsilon(0.01));
}

TEST_CASE("line proof: a derivative that is wrong by one part in ten thousand fails, and its remainder is linear") {
  const LineProof proof = prove_along([](double t) { return std::sin(1 + t); }, std::cos(1.0) * (1 + 1e-4));
  CHECK_FALSE(proof.passes(1e-6));
  CHECK(proof.error == Approx(1e-4).epsilon(0.01));
  REQUIRE(proof.slope);
  CHECK(std::abs(*proof.slope - 1) < 0.05);
  CHECK_FALSE(prove_along([](double t) { return std::sin(1 + t); }, -std::cos(1.0)).passes(1e-6));
  CHECK_FALSE(prove_along([](double t) { return std::sin(1 + t); }, std::nan("")).passes(1e-6));
}

TEST_CASE("line proof: what is straight, constant or not finite says so") {
  const LineProof straight = prove_along([](double t) { return 0.7 + 3 * t; }, 3);
  CHECK(straight.passes(1e-9));
  CHECK_FALSE(straight.slope);
  const LineProof constant = prove_along([](double) { return 0.7; }, 0);
  CHECK(constant.passes(1e-9));
  CHECK(constant.is_zero());
  CHECK_FALSE(constant.slope);
  CHECK_FALSE(prove_along([](double) { return 0.7; }, 1e-8).passes(1e-6));
  CHECK_FALSE(prove_along([](double) { return std::nan(""); }, 1).passes(1e-6));
}

TEST_CASE("line proof: a limit keeps steps on this side of a kink") {
  const auto kinked = [](double t) { return t > 0.001 ? 5 + std::exp(t) : std::exp(t); };
  CHECK(prove_along(kinked, 1).steps[0].error > 0.9);
  const LineProof proof = prove_along(kinked, 1, {.limit = 0.001});
  CHECK(proof.steps[0].step <= 0.001);
  CHECK(proof.passes(1e-9));
  REQUIRE(proof.slope);
  CHECK(std::abs(*proof.slope - 2) < 0.05);
}
