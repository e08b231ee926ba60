// Options of sparse attention that do not go together, or that would do nothing.
#include <tuple>
#include <utility>

#include "model/sparse_settings.h"
#include "tests/model/sparsity_options.h"

using namespace crisp;
using namespace crisp::test;

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
    for (const std::string& option : conflict->options) CHECK(find_setting(sparse_settings(), option));
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
