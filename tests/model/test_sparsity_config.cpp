#include <cmath>

#include "tests/model/sparsity_options.h"

using namespace crisp;
using namespace crisp::test;

namespace {

void must_be(const std::vector<double>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < actual.size(); ++i) CHECK(actual[i] == Approx(expected[i]).margin(1e-15));
}

std::string complaint(const std::string& text, int64_t layers = 6) {
  INFO(text);
  return complaint_of([&] { parse_sparsity(text, layers); });
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
  for (const char* text : {"1", "-0.1", "80", "inf", "nan", "", "heavy", "0.8x", " 0.8", "0.8 ", "0,8x", "0.1,", ",0.1",
                           "0x1p-1", "dense,dense"}) {
    CHECK(mentions(complaint(text), "must be numbers from 0 to below 1"));
    CHECK(mentions(complaint(text), "or dense, uniform, light, aggressive, not '" + std::string(text) + "'"));
  }
  CHECK(mentions(complaint("0.1,0.2"), "2 numbers for a model of 6 layers"));
  CHECK(mentions(complaint("0.1,0.2,0.3", 2), "3 numbers for a model of 2 layers"));
}

TEST_CASE("what is no method's word is none") {
  CHECK_FALSE(parse_method("row"));
  CHECK_FALSE(parse_method(""));
}

TEST_CASE("layers by name and by number") {
  using Flags = std::vector<bool>;
  CHECK(parse_layers("all", 3) == Flags{true, true, true});
  CHECK(parse_layers("early", 6) == Flags{true, true, true, false, false, false});
  CHECK(parse_layers("late", 6) == Flags{false, false, false, true, true, true});
  // As many early as late ones: the middle layer is neither.
  CHECK(parse_layers("early", 5) == Flags{true, true, false, false, false});
  CHECK(parse_layers("late", 5) == Flags{false, false, false, true, true});
  CHECK(parse_layers("early", 1) == Flags{true});
  CHECK(parse_layers("late", 1) == Flags{true});
  CHECK(parse_layers("0,2", 3) == Flags{true, false, true});
  CHECK(parse_layers("2", 3) == Flags{false, false, true});
  CHECK(mentions(complaint_of([] { parse_layers("3", 3); }), "there is no layer 3; they are numbered from 0 to 2"));
  for (const char* text : {"", "1,", "first", "0-2", "1.0", "-1"})
    CHECK(
        mentions(complaint_of([&] { parse_layers(text, 3); }), "must be all, early, late, or layers' numbers from 0"));
}

TEST_CASE("a schedule can be turned round, and layers left out are dense") {
  SparsityOptions o = with_method(SparseMethod::neighbour, "aggressive");
  must_be(make_sparsity(o, 6, 1).layers, {0.65, 0.71, 0.77, 0.83, 0.89, 0.95});
  o.reverse = true;
  must_be(make_sparsity(o, 6, 1).layers, {0.95, 0.89, 0.83, 0.77, 0.71, 0.65});
  o.sparse_layers = "late";
  const SparsityConfig late = make_sparsity(o, 6, 1);
  must_be(late.layers, {0, 0, 0, 0.77, 0.71, 0.65});
  for (int64_t l = 0; l < 6; ++l)
    for (const bool training : {false, true}) CHECK(late.applies(l, training) == (l >= 3));
  // A method with a measure of its own is switched on by layers alone.
  SparsityOptions window = with_method(SparseMethod::neighbour);
  window.window = 2;
  window.sparse_layers = std::string("1");
  const SparsityConfig config = make_sparsity(window, 3, 1);
  CHECK_FALSE(config.applies(0, false));
  CHECK(config.applies(1, false));
  CHECK(config.requested_at_evaluation(0) == 0);
  CHECK(std::isnan(config.requested_at_evaluation(1)));
}

TEST_CASE("training and evaluation are switched apart") {
  SparsityOptions o = with_method(SparseMethod::percentile, "0,0.5");
  for (const bool in_training : {false, true}) {
    for (const bool at_evaluation : {false, true}) {
      o.in_training = in_training;
      o.at_evaluation = at_evaluation;
      if (!in_training && !at_evaluation) {
        CHECK(mentions(complaint_of([&] { make_sparsity(o, 2, 1); }),
                       "--sparse-train off and --sparse-eval off leave nothing of --sparsity 0,0.5"));
        continue;
      }
      const SparsityConfig config = make_sparsity(o, 2, 1);
      for (const bool training : {false, true}) {
        CHECK_FALSE(config.applies(0, training));
        CHECK(config.applies(1, training) == (training ? in_training : at_evaluation));
      }
      CHECK(config.requested_at_evaluation(1) == (at_evaluation ? 0.5 : 0));
      CHECK_FALSE(config.dense());
    }
  }
  CHECK_FALSE(SparsityConfig{}.applies(5, true));
  // AttentionDrop is a way to train.
  const SparsityConfig drop = make_sparsity(with_method(SparseMethod::attention_drop, "0.5"), 2, 1);
  CHECK(drop.applies(0, true));
  CHECK_FALSE(drop.applies(0, false));
  CHECK(drop.requested_at_evaluation(0) == 0);
}

TEST_CASE("a ramp rises linearly over its part of the training and means nothing to evaluation") {
  SparsityOptions o = with_method(SparseMethod::top_k, "0.8,0.4");
  o.ramp = 0.25;
  const SparsityConfig config = make_sparsity(o, 2, 1);
  CHECK(config.sparsity(0, true, 0) == 0);
  CHECK(config.sparsity(0, true, 0.0625) == Approx(0.2));
  CHECK(config.sparsity(1, true, 0.125) == Approx(0.2));
  CHECK(config.sparsity(0, true, 0.25) == 0.8);
  CHECK(config.sparsity(0, true, 1) == 0.8);
  CHECK(config.sparsity(0, false, 0) == 0.8);
  CHECK(make_sparsity(with_method(SparseMethod::top_k, "0.8"), 2, 1).sparsity(0, true, 0) == 0.8);
}

TEST_CASE("a configuration in a few words") {
  CHECK(make_sparsity(with_method(SparseMethod::top_k), 2, 1).describe() == "dense");
  CHECK(make_sparsity(with_method(SparseMethod::top_k, "0"), 2, 1).describe() == "dense");
  SparsityOptions all = with_method(SparseMethod::top_k, "light");
  all.reverse = true;
  all.sparse_layers = "2,3";
  all.ramp = 0.5;
  all.at_evaluation = false;
  CHECK(make_sparsity(all, 4, 1).describe() ==
        "light by top-k, reversed, in layers 2,3, rising over 50 % of the steps, dense evaluation");
  all = with_method(SparseMethod::top_k, "0.5");
  all.in_training = false;
  all.sparse_layers = "1";
  CHECK(make_sparsity(all, 4, 1).describe() == "0.5 by top-k, in layer 1, dense training");
  all = SparsityOptions{};
  all.drop_key = 0.2;
  all.sparse_layers = "0,1";
  CHECK(make_sparsity(all, 4, 1).describe() == "dense, key dropout 0.2 by entries, in layers 0,1");
  SparsityOptions o = with_method(SparseMethod::random_k, "0.8");
  o.drop_key = 0.1;
  CHECK(make_sparsity(o, 2, 1).describe() == "0.8 by random-k, key dropout 0.1 by entries");
  CHECK(make_sparsity(with_method(SparseMethod::entmax15), 2, 1).describe() == "entmax15");
  o = with_method(SparseMethod::neighbour);
  o.window = 2;
  o.sparse_layers = "1";
  CHECK(make_sparsity(o, 2, 1).describe() == "neighbour: at most 2 away, in layer 1");
  o = with_method(SparseMethod::threshold);
  o.threshold = -0.5;
  CHECK(make_sparsity(o, 2, 1).describe() == "threshold: scores from -0.5 on");
  o = with_method(SparseMethod::bigbird);
  o.bigbird = BigBird{3, 2, 1};
  CHECK(make_sparsity(o, 2, 1).describe() == "bigbird: 3 nearest, 2 random, 1 global");
  o = with_method(SparseMethod::lexical);
  o.lexical_threshold = 0.25;
  CHECK(make_sparsity(o, 2, 1).describe() == "lexical: cosines from 0.25 on");
  o = with_method(SparseMethod::syntax);
  o.tree_distance = 1;
  CHECK(make_sparsity(o, 2, 1).describe() == "syntax: at most 1 edges away");
}
