// Training on memory that the host cannot touch: the CPU's bits, and how often a step waits for the device.
#include <fmt/format.h>

#include "tests/support/hidden_device.h"

#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/train/small_run.h"
#include "tests/train/support.h"
#include "train/inference/evaluate.h"
#include "train/inference/to_batch.h"
#include "train/run/checkpoint.h"

using namespace crisp;
using namespace crisp::test;

namespace {

struct Run {
  std::vector<StepReport> reports;
  std::vector<Tensor> state;  // parameters and moments, in host memory
};

Run train(Device device, const DistilBertConfig& config, const TrainerOptions& options, DType type) {
  const TokenizedDataset data = small_data(22, 1, 9);
  DistilBert model = model_on(device, small_run_model(config, type));
  Trainer trainer(model, data, options);
  Run run{finish(trainer), {}};
  for (const Parameter& p : model.parameters()) run.state.push_back(p.tensor.detach().to(Device::cpu));
  for (const auto& moments : {trainer.optimizer().first_moments(), trainer.optimizer().second_moments()})
    for (const Tensor& t : moments) run.state.push_back(t.to(Device::cpu));
  return run;
}

// Everything that a step can do: accumulation, dropout, sparse attention, row gradients, rows that wait, spans.
DistilBertConfig config_with(SparseMethod method, DistilBertConfig config = small_run_config()) {
  SparsityOptions o;
  o.method = method;
  if (method != SparseMethod::learned_span) o.sparsity = "0.5";
  if (method == SparseMethod::learned_span) o.span_penalty = 0.1;
  config.sparsity = make_sparsity(o, config.layers, 1);
  return config;
}

}  // namespace

TEST_CASE("hidden device: AdamW steps of the golden models have the CPU's bits") {
  const HiddenDevice faults;
  for (const GoldenRun& of : golden_runs) {
    INFO(of.fixture << ", run " << of.run);
    const Golden golden(of.fixture);
    const auto steps = [&](Device device) {
      const DistilBert model = model_on(device, golden.model(of.run));
      AdamW optimizer(model.parameters(), {.weight_decay = golden.number("weight_decay")});
      Tape tape;
      std::vector<double> norms;
      for (int64_t step = 0; step < golden.size("steps"); ++step) {
        tape.clear();
        faults.follow(tape);
        const Tensor logits = model.forward(tape, batch_on(device, golden.batch()), {.training = true});
        tape.backward(cross_entropy(tape, logits, golden.labels().to(device)));
        faults.during("the optimizer");
        norms.push_back(optimizer.step(golden.number("lr"), golden.number("clip")).norm);
      }
      std::vector<Tensor> all{Tensor::from(norms, {static_cast<int64_t>(norms.size())}, DType::f64)};
      for (const Tensor& t : tensors_of(model)) all.push_back(t.detach().to(Device::cpu));
      return all;
    };
    const std::vector<Tensor> there = steps(hidden), here = steps(Device::cpu);
    for (size_t i = 0; i < here.size(); ++i) CHECK(same_bits(there[i], here[i]));
  }
}

TEST_CASE("hidden device: a whole run has the CPU's bits") {
  const HiddenDevice faults;
  TrainerOptions options = accumulating_options().trainer();
  options.max_grad_norm = 0.1;  // all of them are clipped
  for (const auto& [method, type] : {std::pair(SparseMethod::top_k, DType::f32),
                                     {SparseMethod::top_k, DType::f64},
                                     {SparseMethod::percentile, DType::f32},
                                     {SparseMethod::lexical, DType::f32},
                                     {SparseMethod::random_k, DType::f32},
                                     {SparseMethod::learned_span, DType::f32}}) {
    INFO(method_name(method) << ", " << name_of(type));
    faults.during("a run with " + method_name(method));
    const DistilBertConfig config = config_with(method);
    const Run there = train(hidden, config, options, type), here = train(Device::cpu, config, options, type);
    REQUIRE(there.reports.size() == here.reports.size());
    for (size_t i = 0; i < here.reports.size(); ++i) {
      CHECK(there.reports[i].loss == here.reports[i].loss);
      CHECK(there.reports[i].grad_norm == here.reports[i].grad_norm);
      CHECK(here.reports[i].grad_norm > 0.1);
    }
    REQUIRE(there.state.size() == here.state.size());
    for (size_t i = 0; i < here.state.size(); ++i) CHECK(same_bits(there.state[i], here.state[i]));
  }
}

TEST_CASE("hidden device: a run resumes from a checkpoint with the CPU's bits") {
  const HiddenDevice faults;
  const TempDir directory;
  const TokenizedDataset data = small_data(22, 1, 9);
  const TrainOptions all = accumulating_options();
  const TrainerOptions options = all.trainer();
  const DistilBertConfig config = config_with(SparseMethod::learned_span);
  const std::string fingerprint = run_fingerprint(all, data, data, config, "");
  const Run whole = train(Device::cpu, config, options, DType::f32);
  StepReport report;
  for (const int cut : {4, 6}) {  // in the middle of an accumulation, and after it
    INFO("stopped after micro-step " << cut);
    DistilBert first = model_on(hidden, small_run_model(config)), second(config, DType::f32, hidden);
    Trainer stopped(first, data, options), resumed(second, data, options);
    for (int i = 0; i < cut; ++i) stopped.micro_step(report);
    const std::string checkpoint = directory / fmt::format("{}", cut);
    std::filesystem::create_directory(checkpoint);
    write_checkpoint(checkpoint, stopped, small_tokenizer(), small_max_length, {}, fingerprint);
    read_checkpoint(checkpoint, resumed, fingerprint);
    finish(resumed);
    for (size_t i = 0; i < second.parameters().size(); ++i)
      CHECK(same_bits(second.parameters()[i].tensor.detach().to(Device::cpu), whole.state[i]));
  }
}

TEST_CASE("hidden device: evaluation has the CPU's numbers") {
  const HiddenDevice faults;
  const TokenizedDataset data = small_data(22, 1, 9);
  const DistilBert model = small_run_model(config_with(SparseMethod::learned_span));
  const Evaluation there = evaluate(model_on(hidden, model), data, 5, Statistics::attention),
                   here = evaluate(model, data, 5, Statistics::attention);
  CHECK(there.loss == here.loss);
  CHECK(there.correct == here.correct);
  CHECK(there.spans == here.spans);
  REQUIRE(there.layers.size() == here.layers.size());
  for (size_t l = 0; l < here.layers.size(); ++l) {
    CHECK(there.layers[l].head_effective == here.layers[l].head_effective);
    CHECK(there.layers[l].head_entropy == here.layers[l].head_entropy);
  }
}

// What a warmed-up optimizer step of 6 layers asks of the device.
DeviceRecord record_of_step(const HiddenDevice& faults, const std::string& method, int64_t of_step) {
  DistilBertConfig config = small_run_config();
  config.layers = 6;
  if (method == "dense") {
    config.sparsity = parse_sparsity("dense", config.layers);
  } else {
    config.sparsity = config_with(*parse_method(method), config).sparsity;
  }
  const TokenizedDataset data = small_data(72, 1, 9);
  DistilBert model = model_on(hidden, small_run_model(config));
  TrainerOptions options;
  options.batch_size = 8;
  options.epochs = 3;
  options.gradient_accumulation_steps = of_step;
  Trainer trainer(model, data, options);
  StepReport report;
  const auto step = [&] {
    while (!trainer.micro_step(report)) continue;
  };
  for (int i = 0; i < 5; ++i) step();
  int operation = 0;
  trainer.check_between_operations([&] { faults.during(fmt::format("operation {}", ++operation)); });
  faults.take();
  step();
  CHECK(std::isfinite(report.loss));
  CHECK((report.span_penalty > 0) == (method == "learned-span"));
  return faults.take();
}

// Of each micro-step the device is given its batch with the plans, and the rows that catch up; lists of keys come layer
// by layer. The host waits once, for losses, norms and the penalty together, at the end of the optimizer step; for
// lexical lists also at the begin of each micro-step, since they are made of the words' weights.
TEST_CASE("hidden device: a warmed-up step waits for the device once, at its end") {
  const HiddenDevice faults;
  struct Case {
    const char* method;
    int64_t lists, reads;  // of a micro-step
  };
  for (const auto& [method, lists, reads] : {Case{"dense", 0, 0},
                                             {"top-k", 0, 0},
                                             {"percentile", 0, 0},
                                             {"learned-span", 0, 0},
                                             {"random-k", 6, 0},
                                             {"lexical", 6, 1}}) {
    for (const int64_t of_step : {1, 3}) {
      const DeviceRecord record = record_of_step(faults, method, of_step);
      INFO(method << ", " << of_step << " micro-steps\n" << record.str());
      CHECK(record.to_device() <= of_step * (3 + lists));
      CHECK(record.to_host() == of_step * reads + 1);
      CHECK(record.waits == of_step * reads + 1);
      CHECK(record.kernels() <= of_step * 240 + 75);  // an operation that falls apart into several would show
    }
  }
}

// The lists of learned spans are made of each layer's span; without a sparse layer nothing is read.
TEST_CASE("hidden device: an evaluation's forward pass reads no more than its lists need") {
  const HiddenDevice faults;
  const TokenizedDataset data = small_data(8, 2, 9);
  const auto reads = [&](DistilBertConfig config, bool training) {
    const DistilBert model = model_on(hidden, small_run_model(config));
    PackedBatch packed;
    fill_batch(data, sequential_order(8), packed);
    const Batch batch = to_batch(packed, model, Labels::without);
    std::vector<AttentionStats> stats;
    Tape tape(Context::standard(), Tape::Mode::inference);
    faults.take();
    const Tensor logits = model.forward(tape, batch, {.training = training, .stats = &stats});
    const DeviceRecord record = faults.take();
    CHECK(std::ssize(stats) == config.layers);
    CHECK(record.waits == record.to_host());
    return record.to_host();
  };
  for (const SparseMethod method : {SparseMethod::top_k, SparseMethod::percentile, SparseMethod::random_k})
    CHECK(reads(config_with(method), false) == 0);
  DistilBertConfig lexical = config_with(SparseMethod::lexical), spans = config_with(SparseMethod::learned_span);
  CHECK(reads(lexical, false) == 1);
  CHECK(reads(spans, false) == spans.layers);
  CHECK(reads(spans, true) == 0);
  lexical.sparsity.in_training = false;
  CHECK(reads(lexical, true) == 0);
}
