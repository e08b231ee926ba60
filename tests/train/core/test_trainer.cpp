// The training loop: determinism, gradient accumulation, and that it learns.
#include <fmt/format.h>

#include "train/core/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <type_traits>

#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/train/small_run.h"
#include "tests/train/support.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("training has the same bits at 1, 2 and 4 threads and from run to run") {
  // Wide enough that every kernel splits its work: products of several tiles, rows above the parallel threshold.
  DistilBertConfig config = small_run_config();
  if (test_device() == Device::cpu) {  // elsewhere threads have nothing to do with it
    config.dim = 128;
    config.heads = 4;
    config.hidden_dim = 400;
  }
  config.layers = 2;
  config.sparsity = parse_sparsity("0.5", config.layers);
  const TokenizedDataset data = small_data(32, 15, 35);
  const auto train = [&](int threads, uint64_t seed) {
    const Context context({.threads = threads});
    DistilBert model = small_run_model(config);
    TrainerOptions options = options_for(16, 1, 2);
    options.seed = seed;
    Trainer trainer(model, data, options, context);
    finish(trainer);
    return model;
  };
  const DistilBert reference = train(1, 42);
  const std::vector<Tensor> expected = weights_now(reference);
  for (const int threads : {1, 2, 4}) CHECK(first_difference(train(threads, 42), expected) == "");
  CHECK(first_difference(train(1, 43), expected) != "");  // the seed orders and drops otherwise
}

TEST_CASE("accumulating 4 micro-batches of 8 equals one batch of 32") {
  DistilBertConfig config = small_run_config();
  config.dropout = config.attention_dropout = config.classifier_dropout = 0;
  const TokenizedDataset data = small_data(64, 1, 12);
  DistilBert split = small_run_model(config, DType::f64), whole = small_run_model(config, DType::f64);
  Trainer in_parts(split, data, options_for(8, 4, 3)), at_once(whole, data, options_for(32, 1, 3));
  CHECK(in_parts.total_steps() == 6);
  const std::vector<StepReport> a = finish(in_parts), b = finish(at_once);
  REQUIRE(a.size() == 6);
  REQUIRE(b.size() == 6);
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].loss == Approx(b[i].loss).epsilon(1e-12));
    CHECK(a[i].grad_norm == Approx(b[i].grad_norm).epsilon(1e-10));
    CHECK(a[i].learning_rate == b[i].learning_rate);
  }
  for (size_t i = 0; i < split.parameters().size(); ++i) {
    INFO(split.parameters()[i].name);
    if (is_key_bias(split.parameters()[i].name)) continue;  // moved by rounding noise alone
    CHECK(relative_l2(split.parameters()[i].tensor.to_vector(), whole.parameters()[i].tensor.to_vector()) <= 1e-9);
  }
}

TEST_CASE("micro-batches of different sizes count by their sentences") {
  // 20 sentences: batches of 8, 8 and 4 in one step, against one batch of all 20.
  DistilBertConfig config = small_run_config();
  config.dropout = config.attention_dropout = config.classifier_dropout = 0;
  const TokenizedDataset data = small_data(20, 1, 12);
  DistilBert split = small_run_model(config, DType::f64), whole = small_run_model(config, DType::f64);
  Trainer in_parts(split, data, options_for(8, 3, 3)), at_once(whole, data, options_for(20, 1, 3));
  const std::vector<StepReport> a = finish(in_parts), b = finish(at_once);
  REQUIRE(a.size() == 3);
  REQUIRE(b.size() == 3);
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].loss == Approx(b[i].loss).epsilon(1e-12));
    CHECK(a[i].grad_norm == Approx(b[i].grad_norm).epsilon(1e-10));
  }
  for (size_t i = 0; i < split.parameters().size(); ++i) {
    INFO(split.parameters()[i].name);
    if (is_key_bias(split.parameters()[i].name)) continue;  // moved by rounding noise alone
    CHECK(relative_l2(split.parameters()[i].tensor.to_vector(), whole.parameters()[i].tensor.to_vector()) <= 1e-9);
  }
}

TEST_CASE("a run that is too long to be counted is refused") {
  const TokenizedDataset data = small_data(12, 2, 6);
  DistilBert model = small_run_model(small_run_config());
  for (const double epochs :
       {1e300, 1e10, std::numeric_limits<double>::infinity(), -1.0, std::numeric_limits<double>::quiet_NaN()}) {
    INFO(epochs);
    CHECK_THROWS_AS(Trainer(model, data, options_for(4, 1, epochs)), UsageError);
  }
  TrainerOptions options = options_for(1, 5, 1);
  options.max_steps = 1'000'000'000;  // 5e9 micro-steps
  CHECK_THROWS_AS(Trainer(model, data, options), UsageError);
  CHECK_THROWS_AS(Trainer(model, data, options_for((int64_t{1} << 32) + 32, 1, 1)), UsageError);
  CHECK_THROWS_AS(Trainer(model, data, options_for(4, 0, 1)), UsageError);
}

TEST_CASE("the last optimizer step of an epoch takes the micro-batches that are left") {
  const TokenizedDataset data = small_data(22, 1, 6);  // batches of 3: 8 an epoch; steps of 3, 3 and 2
  DistilBert model = small_run_model(small_run_config());
  Trainer trainer(model, data, options_for(3, 3, 2));
  CHECK(trainer.steps_per_epoch() == 3);
  CHECK(trainer.total_steps() == 6);
  std::vector<int64_t> completed;
  StepReport report;
  while (!trainer.finished())
    if (trainer.micro_step(report)) completed.push_back(trainer.state().micro_step);
  CHECK(completed == std::vector<int64_t>{3, 6, 8, 11, 14, 16});
  CHECK(trainer.epoch() == 2.0);
  CHECK(trainer.epoch_at(0) == 0);
  CHECK(trainer.epoch_at(1) == 3 / 8.0);
  CHECK(trainer.epoch_at(3) == 1);
  CHECK(trainer.epoch_at(5) == 1 + 6 / 8.0);
  CHECK(trainer.epoch_at(6) == 2);
}

TEST_CASE("the learning rate follows the schedule") {
  const TokenizedDataset data = small_data(20, 1, 6);
  DistilBert model = small_run_model(small_run_config());
  TrainerOptions options = options_for(2, 1, 1);
  options.warmup_steps = 2;
  Trainer trainer(model, data, options);
  const std::vector<StepReport> reports = finish(trainer);
  REQUIRE(reports.size() == 10);
  CHECK(reports[0].learning_rate == Approx(0.5e-3));
  CHECK(reports[1].learning_rate == Approx(1e-3));
  CHECK(reports[2].learning_rate == Approx(1e-3));
  CHECK(reports[9].learning_rate == Approx(1e-3 / 8));
}

TEST_CASE("looking at the model after every micro-step changes no bit of the run") {
  const TokenizedDataset data = small_data(30, 1, 5);
  const TrainerOptions options = options_for(2, 3, 4);
  DistilBert left_alone = small_run_model(small_run_config()), looked_at = small_run_model(small_run_config());
  Trainer a(left_alone, data, options), b(looked_at, data, options);
  finish(a);
  StepReport report;
  while (!b.finished()) {
    b.micro_step(report);
    CHECK(all_finite(b.model().word_embeddings()));
  }
  CHECK(first_difference(looked_at, weights_now(left_alone)) == "");
}

TEST_CASE("a small model learns a few sentences by heart") {
  const TokenizedDataset data = small_data(16, 3, 10);
  DistilBertConfig config = small_run_config();
  config.dropout = config.attention_dropout = config.classifier_dropout = 0;
  DistilBert model = small_run_model(config);
  TrainerOptions options = options_for(8, 1, 60);
  options.learning_rate = 5e-3;
  Trainer trainer(model, data, options);
  const std::vector<StepReport> reports = finish(trainer);
  CHECK(reports.front().loss > 0.5);
  CHECK(reports.back().loss < 0.05);
  CHECK(evaluate(model, data, 5, Statistics::none).correct == 16);
}

TEST_CASE("there must be labelled data") {
  DistilBert model = small_run_model(small_run_config());
  const WordPiece tokenizer = WordPiece::from_tokens(small_vocabulary());
  const TokenizedDataset empty(Dataset{}, tokenizer, small_max_length);
  const TokenizedDataset unlabelled(Dataset{.path = "x", .examples = {{"w1", -1}}, .num_labels = 0}, tokenizer,
                                    small_max_length);
  CHECK_THROWS_AS(Trainer(model, empty, options_for(4, 1, 1)), UsageError);
  CHECK_THROWS_AS(Trainer(model, unlabelled, options_for(4, 1, 1)), UsageError);
}

TEST_CASE("a trainer follows all that it is given, and takes no options that it would leave out") {
  STATIC_REQUIRE(std::is_constructible_v<Trainer, DistilBert&, const TokenizedDataset&, const TrainerOptions&>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Trainer, DistilBert&, const TokenizedDataset&, const TrainOptions&>);
  const TokenizedDataset data = small_data(24, 3, 9);
  const auto weights = [&](auto&& change) {
    DistilBert model = small_run_model(small_run_config());
    TrainerOptions options = options_for(4, 2, 2);
    options.learning_rate = 0.01;
    change(options);
    Trainer trainer(model, data, options);
    finish(trainer);
    return weights_now(model);
  };
  const auto usual = weights([](auto&) {});
  const auto differs = [&](const char* what, auto&& change) {
    INFO(what);
    const auto changed = weights(change);
    const auto same = [](const Tensor& a, const Tensor& b) { return same_bits(a, b); };
    CHECK_FALSE(std::equal(usual.begin(), usual.end(), changed.begin(), same));
  };
  differs("epochs", [](auto& o) { o.epochs = 3; });
  differs("max_steps", [](auto& o) { o.max_steps = 2; });
  differs("learning_rate", [](auto& o) { o.learning_rate = 0.02; });
  differs("batch_size", [](auto& o) { o.batch_size = 5; });
  differs("gradient_accumulation_steps", [](auto& o) { o.gradient_accumulation_steps = 1; });
  differs("schedule", [](auto& o) { o.schedule = ScheduleType::cosine; });
  differs("warmup_ratio", [](auto& o) { o.warmup_ratio = 0.5; });
  differs("warmup_steps", [](auto& o) { o.warmup_steps = 4; });
  differs("weight_decay", [](auto& o) { o.weight_decay = 0.5; });
  differs("beta1", [](auto& o) { o.beta1 = 0.5; });
  differs("beta2", [](auto& o) { o.beta2 = 0.5; });
  differs("epsilon", [](auto& o) { o.epsilon = 0.1; });
  differs("max_grad_norm", [](auto& o) { o.max_grad_norm = 1e-3; });
  differs("seed", [](auto& o) { o.seed = 43; });
}

TEST_CASE("a trainer of a model whose parameters were replaced is refused, and nothing dangles") {
  const TokenizedDataset data = small_data(12, 3, 9);
  DistilBert model = small_run_model(small_run_config());
  const SparsityConfig plain = model.config().sparsity;
  SparsityOptions learned;
  learned.method = SparseMethod::learned_span;
  const SparsityConfig with_spans = make_sparsity(learned, model.config().layers, 0);
  Trainer trainer(model, data, options_for(2, 1, 1));
  StepReport report;
  CHECK(trainer.micro_step(report));
  const auto refused = [&] {
    const auto with = [](auto&& f) { return message_of<Error>(f); };
    CHECK(contains(with([&] { trainer.micro_step(report); }), "make a new trainer"));
    CHECK(contains(with([&] { trainer.model(); }), "make a new trainer"));
    CHECK(contains(with([&] { trainer.optimizer(); }), "make a new trainer"));
  };
  model.set_sparsity(with_spans);
  refused();
  model.set_sparsity(plain);  // the same parameters again, in another vector
  CHECK(trainer.micro_step(report));
  model.set_sparsity(with_spans);
  Trainer second(model, data, options_for(2, 1, 1));
  CHECK(second.micro_step(report));
  model.set_sparsity(with_spans);  // as many, but others
  CHECK_THROWS_AS(second.micro_step(report), Error);
}

TEST_CASE("an optimizer keeps its parameters, whatever becomes of the list") {
  const Tensor w = Tensor::full({3}, DType::f64, 1.0).set_requires_grad();
  auto list = std::make_unique<std::vector<Parameter>>();
  list->push_back({"w", w, false, false});
  AdamW optimizer(*list, {});
  CHECK(optimizer.updates(*list));
  list.reset();
  w.set_grad(Tensor::full({3}, DType::f64, 1.0));
  optimizer.step(0.1, 1);
  CHECK(w.to_vector()[0] == Approx(0.9));
  CHECK_FALSE(optimizer.updates({}));
}
