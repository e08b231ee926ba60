// Arms of a study are paired: what a seed decides is the same in all of them.
#include <algorithm>
#include <cmath>
#include <set>

#include "tests/model/methods.h"
#include "tests/support/catch.h"
#include "tests/train/small_run.h"

namespace crisp::test {
namespace {

DistilBertConfig arm(const std::string& sparsity) {
  DistilBertConfig config = small_run_config();
  config.sparsity = parse_sparsity(sparsity, config.layers);
  return config;
}

// One sentence for each length, so that the tokens of a batch of one tell which sentence it is.
TokenizedDataset lengths_apart() {
  const WordPiece tokenizer = WordPiece::from_tokens(small_vocabulary());
  Dataset dataset{.path = "sentences", .examples = {}, .num_labels = 2};
  for (int words = 1; words <= 30; ++words) {
    std::string text;
    for (int i = 0; i < words; ++i) text += "w1 ";
    dataset.examples.push_back({text, words % 2});
  }
  return {dataset, tokenizer, small_max_length};
}

std::vector<int64_t> visits(const std::string& sparsity, uint64_t seed) {
  const TokenizedDataset data = lengths_apart();
  DistilBert model = small_run_model(arm(sparsity));
  TrainerOptions options;
  options.batch_size = 1;
  options.epochs = 2;
  options.seed = seed;
  Trainer trainer(model, data, options);
  std::vector<int64_t> tokens;
  StepReport report;
  while (!trainer.finished()) {
    trainer.micro_step(report);
    tokens.push_back(trainer.last_tokens());
  }
  return tokens;
}

TEST_CASE("two arms of a seed see the sentences in the same order") {
  const std::vector<int64_t> dense = visits("dense", 7);
  REQUIRE(dense.size() == 60);
  CHECK(std::set<int64_t>(dense.begin(), dense.begin() + 30).size() == 30);
  CHECK(visits("0.8", 7) == dense);
  CHECK(visits("dense", 8) != dense);
}

TEST_CASE("two arms of a seed start from the same head and the same random weights") {
  DistilBert dense = small_run_model(arm("dense")), sparse = small_run_model(arm("0.8"));
  dense.initialise_head(11), sparse.initialise_head(11);
  CHECK(first_difference(sparse, weights_now(dense)).empty());
  sparse.initialise_head(12);
  CHECK_FALSE(first_difference(sparse, weights_now(dense)).empty());
}

TEST_CASE("two arms of a seed draw the same dropout: where sparsity removes nothing, the losses agree") {
  const TokenizedDataset data = small_data(20, 3, 8);
  const auto losses = [&](const std::string& sparsity, uint64_t seed) {
    TrainerOptions options;
    options.batch_size = 5;
    options.epochs = 2;
    options.seed = seed;
    DistilBert model = small_run_model(arm(sparsity));
    Trainer trainer(model, data, options);
    std::vector<double> all;
    for (const StepReport& report : finish(trainer)) all.push_back(report.loss);
    return all;
  };
  const std::vector<double> dense = losses("dense", 7), sparse = losses("0.01", 7), other = losses("dense", 8);
  REQUIRE(dense.size() == 8);
  for (size_t i = 0; i < dense.size(); ++i) CHECK(sparse[i] == Approx(dense[i]).epsilon(1e-5));
  CHECK_FALSE(other[0] == Approx(dense[0]).epsilon(1e-3));
}

// The same method, so that it removes nothing of short sentences and draws nothing of its own.
SparsityOptions removing_nothing(SparsityOptions o) {
  if (o.sparsity != "dense") o.sparsity = "1e-300";  // on, but less than any key
  if (o.threshold) o.threshold = -1e30;
  if (o.window) o.window = small_max_length;
  if (o.lexical_threshold) o.lexical_threshold = -1;
  if (o.tree_distance) o.tree_distance = small_max_length;
  if (o.bigbird) o.bigbird->nearest = small_max_length;
  if (o.method == SparseMethod::learned_span) o.span_init = small_max_length;
  o.drop_key = o.drop_attention = 0;
  o.drop_columns = false;
  return o;
}

TEST_CASE("arms of all methods draw the same dropout, but for the last layer under percentile") {
  const Batch batch = pack_parsed(random_sequences({7, 1, 10, 4}, small_run_config().vocab_size));
  const auto logits = [&](const SparsityOptions& options) {
    DistilBertConfig config = small_run_config();
    config.sparsity = make_sparsity(options, config.layers, 5);
    const DistilBert model = small_run_model(config, DType::f64);
    Tape tape;
    return model.forward(tape, batch, {.training = true, .seed = 7, .step = 3}).to_vector();
  };
  const std::vector<double> dense = logits({});
  const auto furthest = [&](const std::vector<double>& other) {
    REQUIRE(other.size() == dense.size());
    double distance = 0;
    for (size_t i = 0; i < dense.size(); ++i) distance = std::max(distance, std::abs(other[i] - dense[i]));
    return distance;
  };
  std::set<SparseMethod> seen;
  for (const MethodCase& c : method_cases()) {
    CAPTURE(c.name);
    seen.insert(c.options.method);
    if (c.options.method == SparseMethod::sparsemax || c.options.method == SparseMethod::entmax15)
      continue;  // their weights are others, whatever is kept
    SparsityOptions o = removing_nothing(c.options);
    if (o.method == SparseMethod::percentile) {
      CHECK(furthest(logits(o)) > 1e-6);  // computed for all rows, so that each has other numbers
      o.sparse_layers = "0,1";            // of three
    }
    CHECK(furthest(logits(o)) < 1e-9);
  }
  CHECK(seen.size() == method_words().size());
}

}  // namespace
}  // namespace crisp::test
