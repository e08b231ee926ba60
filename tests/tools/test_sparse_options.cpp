#include <nlohmann/json.hpp>

#include "model/sparsity_json.h"
#include "tests/support/catch.h"
#include "tests/tools/options_run.h"
#include "tests/train/support.h"

namespace crisp {
namespace {

using test::contains;
using test::Outcome;
using test::run_with;

TEST_CASE("options of sparse attention reach their variables") {
  const auto sparse = [](std::vector<std::string> arguments) {
    const Outcome outcome = run_with(std::move(arguments));
    CHECK(outcome.err == "");
    return outcome.options.sparse;
  };
  SparsityOptions o = sparse({});
  CHECK(o.method == SparseMethod::top_k);
  CHECK(o.in_training);
  CHECK_FALSE((o.keep_first || o.keep_last || o.keep_diagonal));
  o = sparse({"--sparsity", "0.5", "--sparse-method", "random-k", "--sparse-layers", "late", "--sparsity-reverse",
              "--sparse-train", "off", "--sparse-eval", "on", "--keep", "cls,diagonal"});
  CHECK(o.method == SparseMethod::random_k);
  CHECK(o.sparse_layers == "late");
  CHECK(o.reverse);
  CHECK(sparse({"--sparsity", "0.5", "--sparsity-ramp", "0.2"}).ramp == 0.2);
  CHECK_FALSE(o.in_training);
  CHECK(o.at_evaluation);
  CHECK((o.keep_first && !o.keep_last && o.keep_diagonal));
  CHECK(sparse({"--sparsity", "0.5", "--sparsity_scope", "head"}).method == SparseMethod::percentile);
  CHECK(contains(run_with({"--sparsity-scope", "row", "--sparse-method", "lexical", "--sparsity", "0.5"}).err,
                 "--sparse-method excludes --sparsity-scope"));
  CHECK(sparse({"--sparse-method", "neighbour", "--window", "0"}).window == 0);
  CHECK(sparse({"--sparse-method", "threshold", "--attention-threshold=-1.5"}).threshold == -1.5);
  CHECK(sparse({"--sparse-method", "lexical", "--lexical-threshold", "0.3"}).lexical_threshold == 0.3);
  CHECK(sparse({"--sparse-method", "syntax", "--tree-distance", "2"}).tree_distance == 2);
  CHECK(sparse({"--sparse-method", "bigbird", "--bigbird", "3,2,1"}).bigbird == BigBird{3, 2, 1});
  CHECK(sparse({"--sparse-method", "attention-drop", "--sparsity", "0.5", "--attention-drop", "1"}).attention_drop ==
        1);
  CHECK(sparse({"--drop-key", "0.1"}).drop_key == 0.1);
  o = sparse({"--drop-attention", "0.1", "--drop-attention-unit", "column"});
  CHECK(o.drop_attention == 0.1);
  CHECK(o.drop_columns);
  o = sparse({"--sparse-method", "learned-span", "--span-ramp", "2", "--span-init", "5", "--span-penalty", "0.5",
              "--span-learning-rate", "0.1"});
  CHECK(o.span_ramp == 2);
  CHECK(o.span_init == 5);
  CHECK(o.span_penalty == 0.5);
  CHECK(o.span_learning_rate == 0.1);
  const TrainOptions files = run_with({"--parses", "p", "--dev-parses", "q"}).options;
  CHECK(files.parses == "p");
  CHECK(files.dev_parses == "q");
  // A file's lists.
  const test::TempDir dir;
  test::write_file(
      dir / "run.toml",
      "sparse-method = \"bigbird\"\nbigbird = [3, 2, 1]\nsparse-layers = [0, 2]\nkeep = [\"cls\", \"sep\"]\n");
  o = sparse({"--config", dir / "run.toml"});
  CHECK(o.bigbird == BigBird{3, 2, 1});
  CHECK(o.sparse_layers == "0,2");
  CHECK((o.keep_first && o.keep_last));
}

TEST_CASE("a dense run may name any method") {
  for (const auto& [word, method] : method_words()) {
    const Outcome outcome = run_with({"--sparse-method", word, "--sparsity", "dense"});
    CAPTURE(word, outcome.err);
    CHECK(outcome.exit_code == 0);
    CHECK(make_sparsity(outcome.options.sparse, 2, 1).dense());
  }
  // Without it a method says what it needs.
  CHECK(contains(run_with({"--sparse-method", "random-k"}).err, "--sparse-method random-k needs --sparsity S"));
  CHECK_FALSE(run_with({"--sparsity", "dense", "--sparsity", "0.5"}).options.sparse.dense);
}

TEST_CASE("options that join others are checked together with them, not alone") {
  TrainOptions options;
  CLI::App app("", "crisp-study");
  add_train_options(app, options, false);
  app.parse("--sparse-method random-k --span-penalty 0.1");
  CHECK(options.sparse.method == SparseMethod::random_k);
  CHECK(options.sparse.span_penalty == 0.1);
  CHECK_THROWS_AS(app.parse("--sparse-method randomk"), CLI::ValidationError);
  CHECK_THROWS_AS(app.parse("--resume --overwrite"), CLI::ValidationError);
}

TEST_CASE("what the options accept, config.json gives back, and what they refuse, they say the bounds of") {
  struct Number {
    std::vector<std::string> others;
    std::string option;
    std::vector<std::string> accepted, refused;
    std::string bounds;
  };
  const std::vector<std::string> top_k{"--sparsity", "0.5"}, span{"--sparse-method", "learned-span"};
  const std::string large = "1.7976931348623157e308", small = "2.2250738585072014e-308", most = "1000000";
  const std::vector<Number> numbers{
      {top_k, "sparsity-ramp", {"0", "1"}, {"-0.1", "1.1"}, "from 0 to 1"},
      {top_k, "drop-key", {"0", "0.9999999999999999"}, {"-0.1", "1"}, "from 0 to 1 (exclusive)"},
      {top_k, "drop-attention", {"0", "0.9999999999999999"}, {"-0.1", "1"}, "from 0 to 1 (exclusive)"},
      {{"--sparsity", "0.5", "--sparse-method", "attention-drop"},
       "attention-drop",
       {"0", "1"},
       {"-0.1", "1.1"},
       "from 0 to 1"},
      {{"--sparse-method", "threshold"},
       "attention-threshold",
       {"-1e30", "1e30"},
       {"-1e31", "1e31", "nan", "inf"},
       "from -1e+30 to 1e+30"},
      {{"--sparse-method", "neighbour"}, "window", {"0", most}, {"-1", "1000001"}, "from 0 to 1000000"},
      {{"--sparse-method", "lexical"}, "lexical-threshold", {"-1", "1"}, {"-2", "2"}, "from -1 to 1"},
      {{"--sparse-method", "syntax"}, "tree-distance", {"0", most}, {"-1", "1000001"}, "from 0 to 1000000"},
      {{"--sparse-method", "bigbird"}, "bigbird", {"1,0,0", most + "," + most + "," + most}, {"0,1,0"}, "above 0"},
      {span, "span-ramp", {"0.001", most}, {"0", "1e-320", "1e7"}, "from 0.001 to 1000000"},
      {span, "span-init", {"0", most}, {"-1", "1e7"}, "from 0 to 1000000"},
      {span, "span-penalty", {"0", large}, {"-1", "inf"}, "at least 0"},
      {span, "span-learning-rate", {small, large}, {"0", "inf"}, "above 0"}};
  for (const Number& number : numbers) {
    const auto run = [&](const std::string& value) {
      std::vector<std::string> words = number.others;
      words.push_back("--" + number.option + "=" + value);
      return run_with(words);
    };
    for (const std::string& value : number.accepted) {
      INFO(number.option << " " << value);
      const Outcome outcome = run(value);
      REQUIRE(outcome.err == "");
      const SparsityConfig config = make_sparsity(outcome.options.sparse, 2, 1);
      const std::string written = sparsity_json(config).dump();
      CHECK(sparsity_json(parse_sparsity_json(nlohmann::json::parse(written), 2, 2, "config.json")).dump() == written);
    }
    for (const std::string& value : number.refused) {
      INFO(number.option << " " << value);
      const Outcome outcome = run(value);
      CHECK(outcome.exit_code == 2);
      CHECK_THAT(outcome.err, Catch::Contains(number.bounds));
    }
  }
}

}  // namespace
}  // namespace crisp
