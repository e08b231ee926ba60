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
              "--sparsity-ramp", "0.2", "--sparse-train", "off", "--sparse-eval", "on", "--keep", "cls,diagonal"});
  CHECK(o.method == SparseMethod::random_k);
  CHECK(o.sparse_layers == "late");
  CHECK(o.reverse);
  CHECK(o.ramp == 0.2);
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

}  // namespace
}  // namespace crisp
