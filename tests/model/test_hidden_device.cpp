// The model on memory that the host cannot touch: the CPU's bits with the golden weights and with every sparse method.
#include "tests/support/hidden_device.h"

#include "engine/gradcheck.h"
#include "tests/model/methods.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// Logits, loss and all gradients, in host memory.
std::vector<Tensor> results(const DistilBert& model, const Batch& batch, const Tensor& labels, const ForwardMode& mode,
                            const HiddenDevice& faults) {
  Tape tape;
  faults.follow(tape);
  const Tensor logits = model.forward(tape, batch_on(model.device(), batch), mode);
  const Tensor loss = cross_entropy(tape, logits, labels.to(model.device())), penalty = model.span_penalty(tape);
  tape.backward(penalty ? add(tape, loss, penalty) : loss);
  std::vector<Tensor> all{logits.detach().to(Device::cpu), loss.detach().to(Device::cpu)};
  for (const Parameter& p : model.parameters()) {
    if (const Tensor gradient = p.tensor.grad()) all.push_back(gradient.to(Device::cpu));
    p.tensor.clear_grad();
  }
  return all;
}

void check_same_bits(const DistilBert& model, const Batch& batch, const Tensor& labels, const ForwardMode& mode,
                     const HiddenDevice& faults) {
  ForwardMode there_mode = mode, here_mode = mode;
  std::vector<AttentionStats> there_stats, here_stats;
  if (mode.stats) {
    there_mode.stats = &there_stats;
    here_mode.stats = &here_stats;
  }
  const std::vector<Tensor> there = results(model_on(hidden, model), batch, labels, there_mode, faults),
                            here = results(model, batch, labels, here_mode, faults);
  REQUIRE(there.size() == here.size());
  CHECK(here.size() >= model.parameters().size() - 2);  // spans are no parameters at evaluation
  for (size_t i = 0; i < there.size(); ++i) CHECK(same_bits(there[i], here[i]));
  REQUIRE(there_stats.size() == here_stats.size());
  for (size_t i = 0; i < there_stats.size(); ++i) {
    const AttentionStats &a = there_stats[i], &b = here_stats[i];
    CHECK(a.pairs == b.pairs);
    CHECK(a.queries == b.queries);
    for (const auto member : {&AttentionStats::kept, &AttentionStats::entropy, &AttentionStats::log_kept}) {
      CHECK((a.*member).device() == hidden);
      CHECK(same_bits((a.*member).to(Device::cpu), b.*member));
    }
  }
}

}  // namespace

TEST_CASE("hidden device: logits, loss and gradients of the golden models have the CPU's bits") {
  const HiddenDevice faults;
  for (const auto& [fixture, run] : golden_runs) {
    INFO(fixture << ", run " << run);
    const Golden golden(fixture);
    check_same_bits(golden.model(run), golden.batch(), golden.labels(), {.training = true}, faults);
  }
}

TEST_CASE("hidden device: every sparse method has the CPU's bits, in training and at evaluation") {
  const HiddenDevice faults;
  for (const MethodCase& c : method_cases()) {
    for (const DType type : {DType::f32, DType::f64}) {
      DistilBertConfig config = small_config();
      config.dropout = config.attention_dropout = config.classifier_dropout = 0.2;
      const DistilBert model = method_model(c.options, type, config);
      const Batch batch = pack_parsed(random_sequences({1, 2, 3, 5, 8, 13}, config.vocab_size));
      const Tensor labels = labels_for(batch.size(), config.num_labels);
      for (const bool training : {true, false}) {
        INFO(c.name << ", " << name_of(type) << (training ? ", training" : ", evaluation"));
        std::vector<AttentionStats> stats;
        check_same_bits(model, batch, labels, {.training = training, .seed = 11, .step = 3}, faults);
        check_same_bits(model, batch, labels, {.training = training, .seed = 11, .step = 3, .stats = &stats}, faults);
      }
    }
  }
}

TEST_CASE("hidden device: the gradient of a model with each method agrees with central differences") {
  const HiddenDevice faults;
  for (const MethodCase& c : method_cases()) {
    const DistilBert model = model_on(hidden, method_model(c.options, DType::f64));
    const Batch batch = batch_on(hidden, pack_parsed(random_sequences({1, 3, 8, 13}, small_config().vocab_size)));
    const Tensor labels = labels_for(batch.size(), model.config().num_labels).to(hidden);
    const auto loss = [&](Tape& tape) {
      faults.follow(tape);
      return cross_entropy(tape, model.forward(tape, batch, {.training = true, .seed = 11, .step = 3}), labels);
    };
    // Selections are constants to the gradient, so the steps must be short enough to flip no key in or out.
    const double step = c.options.method == SparseMethod::learned_span ? 1e-4 : 4e-6;
    const DirectionalReport report = check_directional(loss, tensors_of(model), 2, 7, step);
    INFO(c.name << "\n" << report.str());
    CHECK(report.max_error() <= 1e-6);
  }
}
