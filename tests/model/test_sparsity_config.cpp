#include <cmath>
#include <tuple>
#include <utility>

#include "engine/error.h"
#include "model/sparsity.h"
#include "tests/support/catch.h"

using namespace crisp;

namespace {

void must_be(const std::vector<double>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < actual.size(); ++i) CHECK(actual[i] == Approx(expected[i]).margin(1e-15));
}

template <class F>
std::string complaint_of(F&& f) {
  try {
    f();
  } catch (const UsageError& e) {
    return e.what();
  }
  FAIL("accepted");
  return {};
}

std::string complaint(const std::string& text, int64_t layers = 6) {
  INFO(text);
  return complaint_of([&] { parse_sparsity(text, layers); });
}

SparsityOptions with_method(SparseMethod method, const std::string& sparsity = "dense") {
  SparsityOptions o;
  o.method = method;
  o.sparsity = sparsity;
  return o;
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
  for (const char* text : {"1", "-0.1", "80", "inf", "nan", "", "heavy", "0.8x", " 0.8", "0.8 ", "0,8x", "0.1,", ",0.1",
                           "0x1p-1", "dense,dense"}) {
    CHECK(mentions(complaint(text), "must be numbers from 0 to below 1"));
    CHECK(mentions(complaint(text), "or dense, uniform, light, aggressive, not '" + std::string(text) + "'"));
  }
  CHECK(mentions(complaint("0.1,0.2"), "2 numbers for a model of 6 layers"));
  CHECK(mentions(complaint("0.1,0.2,0.3", 2), "3 numbers for a model of 2 layers"));
}

TEST_CASE("methods have one word each") {
  CHECK(method_words().size() == 14);
  for (const auto& [word, method] : method_words()) {
    CHECK(method_name(method) == word);
    CHECK(parse_method(word) == method);
  }
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

TEST_CASE("settings that contradict each other or would do nothing are refused") {
  const auto refusal = [](const SparsityOptions& o) { return complaint_of([&] { make_sparsity(o, 2, 1); }); };
  SparsityOptions o = with_method(SparseMethod::top_k, "0.5");
  o.window = 3;
  CHECK(mentions(refusal(o), "--window belongs to --sparse-method neighbour, not top-k"));
  o = with_method(SparseMethod::neighbour, "0.5");
  o.window = 3;
  CHECK(mentions(refusal(o), "--sparsity has no meaning where --sparse-method neighbour takes another measure"));
  CHECK(mentions(refusal(with_method(SparseMethod::neighbour)), "neighbour needs --sparsity S or --window"));
  CHECK(mentions(refusal(with_method(SparseMethod::random_k)), "random-k needs --sparsity S"));
  CHECK(mentions(refusal(with_method(SparseMethod::threshold)), "threshold needs --attention-threshold"));
  CHECK(mentions(refusal(with_method(SparseMethod::bigbird)), "bigbird needs --bigbird"));
  o = with_method(SparseMethod::sparsemax);
  o.ramp = 0.5;
  CHECK(mentions(refusal(o), "--sparsity-ramp has no meaning"));
  o = with_method(SparseMethod::learned_span);
  o.keep_first = true;
  CHECK(mentions(refusal(o), "--keep has no meaning"));
  o.keep_first = false;
  o.in_training = false;
  CHECK(mentions(refusal(o), "--sparse-train off leaves nothing"));
  o = with_method(SparseMethod::top_k);
  o.drop_key = o.drop_attention = 0.1;
  CHECK(mentions(refusal(o), "two names of one thing"));
  o.drop_attention = 0;
  o.drop_columns = true;
  CHECK(mentions(refusal(o), "needs --drop-attention"));
  o.drop_columns = false;
  CHECK(make_sparsity(o, 2, 1).key_dropout == 0.1);
  CHECK_FALSE(make_sparsity(o, 2, 1).dense());
}

TEST_CASE("options that need a sparsity are refused where it was forgotten") {
  const auto needed = [](const SparsityOptions& o) {
    const auto conflict = find_sparsity_conflict(o);
    return conflict ? conflict->options : std::vector<std::string>();
  };
  using Names = std::vector<std::string>;
  CHECK(needed(SparsityOptions{}).empty());
  CHECK(mentions(complaint_of([] { make_sparsity(with_method(SparseMethod::percentile), 2, 1); }),
                 "--sparse-method percentile needs --sparsity S"));
  SparsityOptions o;
  o.sparse_layers = "late";
  CHECK(mentions(complaint_of([&] { make_sparsity(o, 4, 1); }), "--sparse-layers needs something sparse"));
  CHECK(needed(o) == Names{"sparse-layers"});
  o.drop_key = 0.1;  // in these layers
  CHECK(needed(o).empty());
  o.keep_first = true;
  CHECK(needed(o).empty());
  o = SparsityOptions{};
  o.keep_first = true;
  CHECK(needed(o) == Names{"keep"});
  o = SparsityOptions{};
  o.reverse = true;
  CHECK(needed(o) == Names{"sparsity-reverse"});
  o = SparsityOptions{};
  o.ramp = 0.5;
  CHECK(needed(o) == Names{"sparsity-ramp"});
  o = SparsityOptions{};
  o.in_training = false;
  CHECK(needed(o) == Names{"sparse-train"});
  o = SparsityOptions{};
  o.at_evaluation = false;
  CHECK(needed(o) == Names{"sparse-eval"});
  // "dense" in so many words, and a sparsity of 0, are something to compare with.
  o.dense = true;
  CHECK(needed(o).empty());
  o.dense = false;
  o.sparsity = "0";
  CHECK(needed(o).empty());
}

TEST_CASE("a sparsity that lies in other layers only is refused") {
  SparsityOptions o = with_method(SparseMethod::random_k, "0,0.5,0,0");
  o.sparse_layers = "0,2";
  CHECK(mentions(complaint_of([&] { make_sparsity(o, 4, 1); }),
                 "--sparsity 0,0.5,0,0 is 0 in all of --sparse-layers 0,2: nothing would be sparse"));
  o.reverse = true;  // now layer 2 has it
  CHECK(make_sparsity(o, 4, 1).sparsity(2) == 0.5);
  o.sparse_layers = "0,1";
  CHECK(mentions(complaint_of([&] { make_sparsity(o, 4, 1); }), "0,0.5,0,0, reversed, is 0 in all"));
}

TEST_CASE("numbers of one method are refused with another") {
  const std::vector<std::tuple<std::optional<double> SparsityOptions::*, SparseMethod, std::string>> numbers{
      {&SparsityOptions::attention_drop, SparseMethod::attention_drop, "--attention-drop"},
      {&SparsityOptions::span_ramp, SparseMethod::learned_span, "--span-ramp"},
      {&SparsityOptions::span_init, SparseMethod::learned_span, "--span-init"},
      {&SparsityOptions::span_penalty, SparseMethod::learned_span, "--span-penalty"},
      {&SparsityOptions::span_learning_rate, SparseMethod::learned_span, "--span-learning-rate"}};
  for (const auto& [number, method, option] : numbers) {
    SparsityOptions o = with_method(SparseMethod::top_k, "0.5");
    o.*number = 0.5;
    CHECK(mentions(complaint_of([&] { check_sparsity_options(o); }),
                   option + " belongs to --sparse-method " + method_name(method) + ", not top-k"));
    o.method = method;
    if (o.by_measure()) o.sparsity = "dense";
    check_sparsity_options(o);
  }
}

TEST_CASE("switches that leave nothing, and names that mean another thing, are refused") {
  SparsityOptions o = with_method(SparseMethod::sparsemax);
  o.in_training = o.at_evaluation = false;
  CHECK(mentions(complaint_of([&] { check_sparsity_options(o); }), "leave nothing of --sparse-method sparsemax"));
  o = with_method(SparseMethod::top_k, "0.5");
  o.in_training = false;
  o.ramp = 0.5;
  CHECK(mentions(complaint_of([&] { check_sparsity_options(o); }), "--sparsity-ramp has no meaning"));
  for (const SparseMethod method : {SparseMethod::sparsemax, SparseMethod::entmax15}) {
    o = with_method(method);
    o.drop_attention = 0.1;
    CHECK(mentions(complaint_of([&] { check_sparsity_options(o); }), "give --drop-key"));
    std::swap(o.drop_attention, o.drop_key);
    check_sparsity_options(o);
  }
  // What a comparison gives to its dense run as to all others.
  o = SparsityOptions{};
  o.sparse_layers = "late";
  o.dense = o.reverse = o.keep_first = true;
  o.at_evaluation = false;
  CHECK(make_sparsity(o, 4, 1).describe() == "dense");
}

TEST_CASE("a dense run ignores the method and its measure") {
  for (const auto& [word, method] : method_words()) {
    CAPTURE(word);
    SparsityOptions o = with_method(method);
    o.dense = true;
    CHECK(make_sparsity(o, 3, 1) == make_sparsity(SparsityOptions{}, 3, 1));
    CHECK(o.all_dense());
    o.sparse_layers = "late";
    o.reverse = o.keep_first = true;
    o.ramp = 0.5;
    if (method == SparseMethod::threshold) o.threshold = 0.1;
    if (method == SparseMethod::bigbird) o.bigbird = BigBird{3, 2, 1};
    if (method == SparseMethod::neighbour) o.window = 2;
    if (method == SparseMethod::lexical) o.lexical_threshold = 0.1;
    if (method == SparseMethod::syntax) o.tree_distance = 1;
    const SparsityConfig config = make_sparsity(o, 4, 1);
    CHECK(config.dense());
    CHECK_FALSE(
        (config.threshold || config.bigbird || config.window || config.lexical_threshold || config.tree_distance));
    o.ramp = 0;
    o.in_training = false;
    CHECK(make_sparsity(o, 4, 1).describe() == "dense");
    o.drop_attention = 0.1;
    CHECK(make_sparsity(o, 2, 1).describe() == "dense, key dropout 0.1 by entries, in layer 1");
    CHECK_FALSE(o.all_dense());
  }
  CHECK(SparsityOptions{}.all_dense());
  CHECK_FALSE(with_method(SparseMethod::top_k, "0.5").all_dense());
  CHECK_FALSE(with_method(SparseMethod::entmax15).all_dense());
  // An option of a method that is not there at all is a mistake still.
  SparsityOptions o;
  o.dense = true;
  o.window = 3;
  CHECK(mentions(complaint_of([&] { check_sparsity_options(o); }), "--window belongs to --sparse-method neighbour"));
}

TEST_CASE("a conflict names the options without which it would be gone, the likeliest first") {
  using Names = std::vector<std::string>;
  const auto names = [](const SparsityOptions& o) {
    const auto conflict = find_sparsity_conflict(o);
    REQUIRE(conflict);
    return conflict->options;
  };
  CHECK_FALSE(find_sparsity_conflict(with_method(SparseMethod::top_k, "0.5")));
  SparsityOptions o = with_method(SparseMethod::top_k, "0.5");
  o.span_penalty = 0.1;
  CHECK(names(o) == Names{"span-penalty"});
  CHECK(names(with_method(SparseMethod::random_k)) == Names{"sparse-method"});
  CHECK(names(with_method(SparseMethod::bigbird)) == Names{"sparse-method"});
  CHECK(names(with_method(SparseMethod::entmax15, "0.5")) == Names{"sparsity", "sparse-method"});
  o = with_method(SparseMethod::neighbour, "0.5");
  o.window = 3;
  CHECK(names(o) == Names{"sparsity", "window"});
  o.sparsity = "dense";
  o.reverse = true;
  CHECK(names(o) == Names{"sparsity-reverse", "window"});
  o = with_method(SparseMethod::sparsemax);
  o.ramp = 0.5;
  CHECK(names(o) == Names{"sparsity-ramp", "sparse-method"});
  o.ramp = 0;
  o.keep_last = true;
  CHECK(names(o) == Names{"keep", "sparse-method"});
  o.drop_attention = 0.1;
  CHECK(names(o) == Names{"drop-attention", "sparse-method"});
  o.drop_key = 0.1;
  CHECK(names(o) == Names{"drop-key", "drop-attention"});
  o = with_method(SparseMethod::top_k);
  o.drop_columns = true;
  CHECK(names(o) == Names{"drop-attention-unit"});
  o = with_method(SparseMethod::learned_span);
  o.in_training = false;
  CHECK(names(o) == Names{"sparse-train", "sparse-method"});
  o.method = SparseMethod::sparsemax;
  o.at_evaluation = false;
  CHECK(names(o) == Names{"sparse-eval", "sparse-train", "sparse-method"});
  o = with_method(SparseMethod::top_k, "0.5");
  o.in_training = o.at_evaluation = false;
  CHECK(names(o) == Names{"sparse-eval", "sparse-train", "sparsity"});
  o.at_evaluation = true;
  o.ramp = 0.5;
  CHECK(names(o) == Names{"sparsity-ramp", "sparse-train"});
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
