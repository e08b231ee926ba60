// Arms of a study are paired: what a seed decides is the same in all of them.
#include <set>

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
  TrainOptions options;
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
    TrainOptions options;
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

}  // namespace
}  // namespace crisp::test
