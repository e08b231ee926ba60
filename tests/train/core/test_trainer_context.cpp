// A trainer and an evaluation compute in the context that they are given, and in no other.
#include "engine/backend.h"
#include "tests/support/catch.h"
#include "tests/train/small_run.h"
#include "train/inference/evaluate.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// bf16 where this machine multiplies it.
Context::Settings other_settings() {
  const bool bf16 = backend(Device::cpu).supports(MatmulPrecision::bf16);
  return {.threads = 3, .products = bf16 ? MatmulPrecision::bf16 : MatmulPrecision::f32};
}

struct Training {
  explicit Training(const Context& context) : trainer(model, data, accumulating_options().trainer(), context) {}
  const TokenizedDataset data = small_data(22, 2, 12);
  DistilBert model = small_run_model(small_run_config());
  Trainer trainer;
};

std::vector<Tensor> trained_alone(const Context& context) {
  Training training(context);
  finish(training.trainer);
  return weights_now(training.model);
}

}  // namespace

TEST_CASE("two trainings in turn end with the weights that each has alone") {
  const Context f32({.threads = 1}), other(other_settings());
  const std::vector<Tensor> expected = trained_alone(f32), expected_other = trained_alone(other);
  Training first(f32), second(other);
  CHECK(&second.trainer.context() == &other);
  StepReport report;
  for (int i = 0; i < micro_steps; ++i) {
    first.trainer.micro_step(report);
    second.trainer.micro_step(report);
  }
  CHECK(first_difference(first.model, expected) == "");
  CHECK(first_difference(second.model, expected_other) == "");
  if (other.products() != f32.products()) CHECK(first_difference(first.model, expected_other) != "");
}

TEST_CASE("an evaluation computes in the context that it is given") {
  const TokenizedDataset data = small_data(9, 2, 12);
  const DistilBert model = small_run_model(small_run_config());
  const auto logits = [&](const Context& context) {
    std::vector<double> all;
    for (const Prediction& p : evaluate(model, data, 4, Statistics::none, {}, context).predictions)
      all.insert(all.end(), p.logits.begin(), p.logits.end());
    return all;
  };
  const Context one({.threads = 1}), four({.threads = 4}), other(other_settings());
  CHECK(logits(four) == logits(one));
  CHECK((logits(other) == logits(one)) == (other.products() == one.products()));
}
