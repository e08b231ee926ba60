#include "engine/error.h"
#include "model/sparsity.h"
#include "tests/support/catch.h"

using namespace crisp;

namespace {

void must_be(const std::vector<double>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < actual.size(); ++i) CHECK(actual[i] == Approx(expected[i]).margin(1e-15));
}

std::string complaint(const std::string& text, int64_t layers = 6) {
  try {
    parse_sparsity(text, layers);
  } catch (const UsageError& e) {
    return e.what();
  }
  FAIL("accepted: " << text);
  return {};
}

bool mentions(const std::string& message, const std::string& part) {
  INFO(message);
  CHECK(message.find(part) != std::string::npos);
  return message.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("one number is every layer's sparsity") {
  must_be(parse_sparsity("0.8", 6).layers, {0.8, 0.8, 0.8, 0.8, 0.8, 0.8});
  must_be(parse_sparsity("0", 2).layers, {0, 0});
  must_be(parse_sparsity("5e-1", 1).layers, {0.5});
  CHECK(parse_sparsity("0.8", 6).requested == "0.8");
  CHECK(parse_sparsity("0.8", 6).mean() == Approx(0.8));
  CHECK(parse_sparsity("0", 6).dense());
  CHECK_FALSE(parse_sparsity("0,0,0.1", 3).dense());
}

TEST_CASE("a list gives each layer its own") { must_be(parse_sparsity("0.1,0.2,0.95", 3).layers, {0.1, 0.2, 0.95}); }

TEST_CASE("presets") {
  must_be(parse_sparsity("dense", 3).layers, {0, 0, 0});
  must_be(parse_sparsity("uniform", 3).layers, {0.7, 0.7, 0.7});
  must_be(parse_sparsity("aggressive", 6).layers, {0.65, 0.71, 0.77, 0.83, 0.89, 0.95});
  must_be(parse_sparsity("light", 6).layers, {0.45, 0.51, 0.57, 0.63, 0.69, 0.75});
  must_be(parse_sparsity("aggressive", 2).layers, {0.65, 0.95});
  for (const int64_t layers : {1, 2, 3, 6, 12}) {
    CHECK(parse_sparsity("aggressive", layers).mean() == Approx(0.8));
    CHECK(parse_sparsity("light", layers).mean() == Approx(0.6));
  }
}

TEST_CASE("what is no sparsity is refused") {
  CHECK(mentions(complaint("1"), "outside [0, 1)"));
  CHECK(mentions(complaint("-0.1"), "outside [0, 1)"));
  CHECK(mentions(complaint("80"), "outside [0, 1)"));
  CHECK(mentions(complaint("inf"), "outside [0, 1)"));
  CHECK(mentions(complaint("nan"), "outside [0, 1)"));
  for (const char* text : {"", "heavy", "0.8x", " 0.8", "0.8 ", "0,8x", "0.1,", ",0.1", "0x1p-1", "dense,dense"})
    CHECK(mentions(complaint(text), "neither a number nor one of"));
  CHECK(mentions(complaint("0.1,0.2"), "2 numbers for a model of 6 layers"));
  CHECK(mentions(complaint("0.1,0.2,0.3", 2), "3 numbers for a model of 2 layers"));
}

TEST_CASE("scopes") {
  CHECK(parse_sparsity_scope("row") == Selection::top_k_row);
  CHECK(parse_sparsity_scope("head") == Selection::percentile_head);
  CHECK_THROWS_AS(parse_sparsity_scope("Row"), UsageError);
  CHECK_THROWS_AS(parse_sparsity_scope(""), UsageError);
  for (const Selection scope : {Selection::top_k_row, Selection::percentile_head})
    CHECK(parse_sparsity_scope(scope_name(scope)) == scope);
}

TEST_CASE("a layer without sparsity selects nothing, and an evaluation may be dense") {
  SparsityConfig config = parse_sparsity("0,0.5", 2);
  config.scope = Selection::percentile_head;
  for (const bool training : {false, true}) {
    CHECK(config.selection(0, training) == Selection::all);
    CHECK(config.selection(1, training) == Selection::percentile_head);
  }
  config.at_evaluation = false;
  CHECK(config.selection(1, true) == Selection::percentile_head);
  CHECK(config.selection(1, false) == Selection::all);
  CHECK(SparsityConfig{}.selection(5, true) == Selection::all);
}
