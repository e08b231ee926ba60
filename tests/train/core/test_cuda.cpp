// Training on the emulated GPU beside the CPU: the same course, checkpoints that move between the two, and what a step
// asks of the device.
#include <fmt/format.h>

#include "engine/cuda/memory.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/train/small_run.h"
#include "tests/train/support.h"
#include "train/inference/evaluate.h"
#include "train/run/checkpoint.h"

using namespace crisp;
using namespace crisp::test;

namespace {

struct Run {
  std::vector<StepReport> reports;
  std::vector<Tensor> weights;  // in host memory
};

Run train(Device device, const DistilBertConfig& config, const TrainerOptions& options, DType type,
          MatmulPrecision products = MatmulPrecision::f32) {
  const TokenizedDataset data = small_data(22, 1, 9);
  DistilBert model = model_on(device, small_run_model(config, type));
  const Context context({.threads = 1, .products = products});
  Trainer trainer(model, data, options, context);
  Run run{finish(trainer), {}};
  for (const Tensor& t : weights_now(trainer.model())) run.weights.push_back(t.to(Device::cpu));
  return run;
}

}  // namespace

TEST_CASE("20 steps of every sparse method take the CPU's course") {
  TrainerOptions options = options_for(4, 1, 4);  // 24 steps, dropout everywhere
  options.max_grad_norm = 0.5;
  for (const SparseMethod method : {SparseMethod::top_k, SparseMethod::percentile, SparseMethod::random_k,
                                    SparseMethod::lexical, SparseMethod::neighbour, SparseMethod::learned_span}) {
    INFO(method_name(method));
    const DistilBertConfig config = small_sparse_config(method);
    const Run there = train(Device::cuda, config, options, DType::f64),
              here = train(Device::cpu, config, options, DType::f64);
    REQUIRE(there.reports.size() == 24);
    for (size_t i = 0; i < here.reports.size(); ++i) {
      CHECK(there.reports[i].loss == Approx(here.reports[i].loss).epsilon(1e-10));
      CHECK(there.reports[i].grad_norm == Approx(here.reports[i].grad_norm).epsilon(1e-9));
    }
  }
}

TEST_CASE("20 steps in f32, tf32 and bf16 stay near those in f64") {
  const TrainerOptions options = options_for(4, 1, 4);
  const DistilBertConfig config = small_run_config();
  const Run exact = train(Device::cpu, config, options, DType::f64);
  for (const auto& [products, tolerance] :
       {std::pair(MatmulPrecision::f32, 1e-5), {MatmulPrecision::tf32, 5e-3}, {MatmulPrecision::bf16, 3e-2}}) {
    INFO(name_of(products));
    const Run there = train(Device::cuda, config, options, DType::f32, products);
    double largest = 0;
    for (size_t i = 0; i < exact.reports.size(); ++i)
      largest = std::max(largest, std::abs(there.reports[i].loss - exact.reports[i].loss) / exact.reports[i].loss);
    CHECK(largest < tolerance);
    if (products != MatmulPrecision::f32) CHECK(largest > 1e-6);  // the precision is used
  }
}

TEST_CASE("a run has the same bits from run to run, whatever block runs first") {
  const TrainerOptions options = options_for(4, 2, 2);
  const DistilBertConfig config = small_run_config();
  const Run usual = train(Device::cuda, config, options, DType::f32);
  for (const emulator::Order order : {emulator::Order::forward, emulator::Order::reverse, emulator::Order::random}) {
    emulator::settings().threads = emulator::settings().blocks = emulator::settings().branches = order;
    const Run again = train(Device::cuda, config, options, DType::f32);
    for (size_t i = 0; i < usual.weights.size(); ++i) CHECK(same_bits(again.weights[i], usual.weights[i]));
  }
}

TEST_CASE("a checkpoint goes on on the other device") {
  const TempDir directory;
  const TokenizedDataset data = small_data(22, 1, 9);
  const TrainOptions all = accumulating_options();
  const DistilBertConfig config = small_run_config();
  const std::string fingerprint = run_fingerprint(all, data, data, config, "");
  for (const auto& [from, to] : {std::pair(Device::cpu, Device::cuda), {Device::cuda, Device::cpu}}) {
    INFO(name_of(from) << " to " << name_of(to));
    const Run whole = train(to, config, all.trainer(), DType::f64);
    for (const int cut : {4, 6}) {  // in the middle of an accumulation, and after it
      DistilBert first = model_on(from, small_run_model(config, DType::f64)), second(config, DType::f64, to);
      Trainer stopped(first, data, all.trainer()), resumed(second, data, all.trainer());
      StepReport report;
      for (int i = 0; i < cut; ++i) stopped.micro_step(report);
      const std::string checkpoint = directory / fmt::format("{}-{}", name_of(from), cut);
      std::filesystem::create_directory(checkpoint);
      write_checkpoint(checkpoint, stopped, small_tokenizer(), small_max_length, {}, fingerprint);
      const CheckpointState state = read_checkpoint(checkpoint, resumed, fingerprint);
      CHECK(state.kernels != kernels_in_use(MatmulPrecision::f32, to));  // hence a run says that bits may differ
      finish(resumed);
      for (size_t i = 0; i < second.parameters().size(); ++i) {
        INFO(second.parameters()[i].name);
        if (is_key_bias(second.parameters()[i].name)) continue;  // moved by rounding noise alone
        CHECK(relative_l2(second.parameters()[i].tensor.to_vector(), whole.weights[i].to_vector()) < 1e-8);
      }
    }
  }
}

TEST_CASE("evaluation has the CPU's numbers") {
  const TokenizedDataset data = small_data(22, 1, 9);
  for (const SparseMethod method : {SparseMethod::top_k, SparseMethod::learned_span}) {
    const DistilBert model = model_on(Device::cpu, small_run_model(small_sparse_config(method), DType::f64));
    const Evaluation there = evaluate(model_on(Device::cuda, model), data, 5, Statistics::attention),
                     here = evaluate(model, data, 5, Statistics::attention);
    CHECK(there.loss == Approx(here.loss).epsilon(1e-12));
    CHECK(there.correct == here.correct);
    REQUIRE(there.layers.size() == here.layers.size());
    for (size_t l = 0; l < here.layers.size(); ++l) {
      CHECK(there.layers[l].head_effective == here.layers[l].head_effective);
      CHECK(relative_l2(there.layers[l].head_entropy, here.layers[l].head_entropy) < 1e-12);
    }
  }
}

TEST_CASE("a warmed-up step waits once and takes no more memory") {
  CRISP_CUDA_NAMESPACE::Memory::the().keep_blocks(true);
  DistilBertConfig config = small_run_config();
  config.layers = 6;
  config.sparsity = parse_sparsity("0.5", config.layers);
  const TokenizedDataset data = small_data(96, 4, 18);
  DistilBert model = model_on(Device::cuda, small_run_model(config));
  TrainerOptions options = options_for(32, 1, 4);
  Trainer trainer(model, data, options);
  StepReport report;
  for (int i = 0; i < 7; ++i) trainer.micro_step(report);
  const int64_t held = CRISP_CUDA_NAMESPACE::Memory::the().bytes_held();
  emulator::counters() = {};
  trainer.micro_step(report);
  CHECK(std::isfinite(report.loss));
  CHECK(emulator::counters().waits == 1);
  CHECK(emulator::counters().launches <= 170);  // of 6 layers; see engine/cuda/README.md
  CHECK(emulator::counters().graph_kernels == emulator::counters().launches);
  CHECK(emulator::counters().graph_launches == 7);
  CHECK(emulator::counters().graph_updates == 7);  // of those of earlier steps, with other numbers of rows
  CHECK(emulator::counters().graph_instances == 0);
  const Steps& steps = *backend(Device::cuda).steps;
  steps.set_mode(StepMode::one_graph);
  for (const uint64_t made : {1, 0}) {
    emulator::counters() = {};
    trainer.micro_step(report);
    CHECK(emulator::counters().waits == 1);
    CHECK(emulator::counters().graph_kernels == emulator::counters().launches);
    CHECK(emulator::counters().graph_launches == 1);
    CHECK(emulator::counters().graph_instances == made);
  }
  steps.set_mode(StepMode::graphs);
  while (!trainer.finished()) trainer.micro_step(report);
  CHECK(CRISP_CUDA_NAMESPACE::Memory::the().bytes_held() == held);
}

TEST_CASE("in a run that is ahead the host waits for the step before the last, and never for all that it has called") {
  CRISP_CUDA_NAMESPACE::Memory::the().keep_blocks(true);
  const DistilBertConfig config = small_run_config();
  const TokenizedDataset data = small_data(96, 4, 18);
  const TrainerOptions options = options_for(8, 1, 3);
  constexpr int warm = 14, steps = 6;
  // Launches that have run when the host has called for 1, 2, .. steps.
  std::vector<uint64_t> at_once;
  {
    DistilBert model = model_on(Device::cuda, small_run_model(config));
    Trainer trainer(model, data, options);
    StepReport report;
    for (int i = 0; i < warm; ++i) trainer.micro_step(report);
    emulator::counters() = {};
    for (int i = 0; i < steps; ++i) {
      trainer.micro_step(report);
      at_once.push_back(emulator::counters().launches);
    }
    CHECK(emulator::counters().waits == steps);
  }
  DistilBert model = model_on(Device::cuda, small_run_model(config));
  Trainer trainer(model, data, options);
  for (int i = 0; i < warm; ++i) trainer.advance();
  trainer.settle();  // a line of the log
  emulator::counters() = {};
  for (size_t i = 0; i < steps; ++i) {
    trainer.advance();
    constexpr size_t ahead = Trainer::steps_ahead;
    CHECK(emulator::counters().launches == (i < ahead ? 0 : at_once[i - ahead]));
    CHECK(emulator::counters().waits == (i < ahead ? 0 : i + 1 - ahead));  // for the oldest of the steps
  }
  trainer.settle();  // the next one
  CHECK(emulator::counters().launches == at_once.back());
}
