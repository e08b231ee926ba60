// Training steps whose calls are gathered, on devices that do that: the same bits as call by call.
#include <functional>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "model/sparsity.h"
#include "tests/support/catch.h"
#include "tests/support/test_device.h"
#include "tests/train/small_run.h"
#include "tests/train/support.h"

using namespace crisp;
using namespace crisp::test;

namespace {

const Steps& steps() {
  REQUIRE(backend(test_device()).steps);
  return *backend(test_device()).steps;
}

// The former mode again, however a test ends.
struct ModeAsBefore {
  StepMode before = steps().mode();
  ModeAsBefore() = default;
  ~ModeAsBefore() { steps().set_mode(before); }
  ModeAsBefore(const ModeAsBefore&) = delete;
  ModeAsBefore& operator=(const ModeAsBefore&) = delete;
};

DistilBertConfig config_with(const std::string& method) {
  if (method != "dense") return small_sparse_config(*parse_method(method));
  DistilBertConfig config = small_run_config();
  config.sparsity = parse_sparsity(method, config.layers);
  return config;
}

struct Run {
  std::vector<StepReport> reports;
  std::vector<Tensor> weights;
  int64_t micro_steps = 0, graphs = 0, made = 0;
};

// `interrupt`, if given, is called before each operation and may give the step up.
Run train(StepMode mode, const DistilBertConfig& config, const TrainerOptions& options,
          const std::function<void()>& interrupt = {}) {
  steps().set_mode(mode);
  const Steps::Counts before = steps().counts();
  const TokenizedDataset data = small_data(22, 1, 9);  // lengths change from batch to batch
  DistilBert model = small_run_model(config);
  Trainer trainer(model, data, options);
  if (interrupt) trainer.check_between_operations(interrupt);
  // What is sent to a GPU goes through pieces of pinned memory of a megabyte, and a step in which one is full becomes
  // two graphs. This fills one, whatever ran before; all that the run sends finds room in the next.
  Tensor::zeros({1 << 18}, DType::f32, Device::cpu).to(test_device());
  Run run;
  StepReport report;
  while (!trainer.finished()) {
    try {
      if (trainer.micro_step(report)) run.reports.push_back(report);
    } catch (const UsageError&) {  // given up, and made again
    }
  }
  run.weights = weights_now(trainer.model());
  run.micro_steps = trainer.state().micro_step;
  run.graphs = steps().counts().launched - before.launched;
  run.made = steps().counts().made - before.made;
  return run;
}

void check_same(const Run& a, const Run& b) {
  REQUIRE(a.reports.size() == b.reports.size());
  for (size_t i = 0; i < a.reports.size(); ++i) {
    CHECK(a.reports[i].loss == b.reports[i].loss);
    CHECK(a.reports[i].grad_norm == b.reports[i].grad_norm);
    CHECK(a.reports[i].span_penalty == b.reports[i].span_penalty);
  }
  for (size_t i = 0; i < a.weights.size(); ++i) CHECK(same_bits(a.weights[i], b.weights[i]));
}

}  // namespace

TEST_CASE("20 steps in graphs have the bits of steps call by call") {
  const ModeAsBefore as_before;
  for (const char* method : {"dense", "top-k", "learned-span"}) {
    for (const int64_t accumulation : {1, 3}) {
      INFO(method << ", " << accumulation << " batches a step");
      TrainerOptions options = options_for(accumulation == 1 ? 4 : 2, accumulation, accumulation == 1 ? 4 : 5);
      options.max_grad_norm = 0.5;
      const DistilBertConfig config = config_with(method);
      const Run calls = train(StepMode::calls, config, options), graphs = train(StepMode::graphs, config, options),
                whole = train(StepMode::one_graph, config, options);
      CHECK(calls.reports.size() >= 20);
      check_same(calls, graphs);
      check_same(calls, whole);
      CHECK(calls.graphs == 0);
      CHECK(graphs.graphs > 2 * graphs.micro_steps);
      CHECK(whole.graphs == whole.micro_steps);
      INFO(graphs.made << " of " << graphs.graphs << " graphs are new, " << whole.made << " of " << whole.graphs);
      CHECK(graphs.made <= 16);
      CHECK(whole.made <= 16);
    }
  }
}

TEST_CASE("a step in graphs that is given up leaves no trace") {
  const ModeAsBefore as_before;
  const DistilBertConfig config = config_with("top-k");
  const TrainerOptions options = options_for(4, 1, 1);
  const Run undisturbed = train(StepMode::calls, config, options);
  int operations = 0, given_up = 0;
  const Run disturbed = train(StepMode::graphs, config, options, [&] {
    for (const int when : {1, 7, 30, 60, 100, 150})
      if (operations == when) {
        ++operations;
        ++given_up;
        throw UsageError("not now");
      }
    ++operations;
  });
  CHECK(given_up == 6);
  check_same(undisturbed, disturbed);
}
