// Trainer::advance(): a run whose steps are read late is the run whose steps are read at once, bit for bit, also where
// it ends as divergence, is saved or is given up on the way.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "engine/backend.h"
#include "tests/support/catch.h"
#include "tests/train/small_run.h"
#include "tests/train/support.h"
#include "train/run/checkpoint.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// Optimizer steps of which the host need not know the result.
int64_t steps_ahead() {
  return backend(test_device()).launches_kernels ? static_cast<int64_t>(Trainer::steps_ahead) : 0;
}

void same_report(const StepReport& a, const StepReport& b) {
  CHECK(a.loss == b.loss);
  CHECK(a.span_penalty == b.span_penalty);
  CHECK(a.grad_norm == b.grad_norm);
  CHECK(a.learning_rate == b.learning_rate);
}

// Parameters and moments.
std::vector<Tensor> everything(Trainer& trainer) {
  std::vector<Tensor> all = weights_now(trainer.model());
  for (const auto& moments : {trainer.optimizer().first_moments(), trainer.optimizer().second_moments()})
    for (const Tensor& t : moments) all.push_back(t.clone());
  return all;
}

bool same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_bits);
}

// A run of its own model.
struct Run {
  Run(const DistilBertConfig& config, const TokenizedDataset& data, const TrainerOptions& options,
      const std::function<void(const DistilBert&)>& spoil = {})
      : model(small_run_model(config)), trainer(model, data, options) {
    if (spoil) spoil(model);
  }
  // To the next optimizer step.
  void advance() {
    while (!trainer.advance()) continue;
  }
  DistilBert model;
  Trainer trainer;
};

// What ends the run as divergence, by advance() or by micro_step(), and after how many calls that made a step.
struct End {
  std::string message, cause, tensor;
  int64_t step = 0, micro_step = 0, steps_called = 0;
};
std::optional<End> end_of(Run& run, bool ahead) {
  StepReport report;
  int64_t called = 0;
  try {
    while (!run.trainer.finished()) called += (ahead ? run.trainer.advance() : run.trainer.micro_step(report)) ? 1 : 0;
    return {};
  } catch (const StepDiverged& divergence) {
    return End{.message = divergence.what(),
               .cause = divergence.cause(),
               .tensor = divergence.first_broken().name,
               .step = divergence.step(),
               .micro_step = divergence.micro_step(),
               .steps_called = called};
  }
}

// Returns the step at which both end.
int64_t check_same_end(Run& at_once, Run& ahead) {
  const std::optional<End> expected = end_of(at_once, false), end = end_of(ahead, true);
  REQUIRE(expected.has_value());
  REQUIRE(end.has_value());
  INFO(expected->message);
  CHECK(end->message == expected->message);
  CHECK(end->cause == expected->cause);
  CHECK(end->tensor == expected->tensor);
  CHECK(end->step == expected->step);
  CHECK(end->micro_step == expected->micro_step);
  CHECK(expected->steps_called == expected->step - 1);
  const int64_t left = ahead.trainer.total_steps() - expected->steps_called;
  // All but the last step of a run are read later, where the device lets the host run ahead.
  CHECK(end->steps_called == expected->steps_called + std::min(steps_ahead(), left - 1));
  same_state(ahead.trainer.state(), at_once.trainer.state());
  CHECK(ahead.trainer.optimizer().steps() == expected->step - 1);
  CHECK(same(everything(ahead.trainer), everything(at_once.trainer)));
  return expected->step;
}

// One word each; the batch of one of them is broken, since its embedding is.
TokenizedDataset single_words(int n) {
  Dataset sentences{.path = "sentences", .examples = {}, .num_labels = 2};
  for (int i = 0; i < n; ++i) sentences.examples.push_back({fmt::format("w{}", i), i % 2});
  return {sentences, WordPiece::from_tokens(small_vocabulary()), small_max_length};
}

void break_word(const DistilBert& model, int word) {
  const std::vector<std::string> vocabulary = small_vocabulary();
  const auto at = std::find(vocabulary.begin(), vocabulary.end(), fmt::format("w{}", word)) - vocabulary.begin();
  for (const Parameter& p : model.parameters())
    if (p.name == "distilbert.embeddings.word_embeddings.weight")
      p.tensor.detach().view_rows(at, 1).copy_from(Tensor::full({1, p.tensor.dim(1)}, DType::f32, INFINITY));
}

}  // namespace

TEST_CASE("a run that is ahead of its results has the bits, the reports and the sums of one that is not") {
  const TokenizedDataset data = small_data(22, 1, 9);
  for (const SparseMethod method : {SparseMethod::top_k, SparseMethod::learned_span}) {
    for (const int64_t accumulation : {1, 3}) {
      INFO(method_name(method) << ", " << accumulation << " batches a step");
      DistilBertConfig config = small_sparse_config(method);
      const bool learns = method == SparseMethod::learned_span;
      if (learns) {  // all of them are brought to 0, and back to it at each step from then on
        config.sparsity.span_penalty = 100;
        config.sparsity.span_learning_rate = 6;
      }
      TrainerOptions options = options_for(3, accumulation, 3);
      options.max_grad_norm = 0.5;
      Run at_once(config, data, options), ahead(config, data, options);
      StepReport report;
      int64_t step = 0;
      while (!ahead.trainer.finished()) {
        while (!at_once.trainer.micro_step(report)) continue;
        ahead.advance();
        CHECK(ahead.trainer.state().step == ++step);
        CHECK(ahead.trainer.epoch() == at_once.trainer.epoch());
        if (step % 4 != 0 && !ahead.trainer.finished()) continue;
        same_report(ahead.trainer.settle(), report);
        same_state(ahead.trainer.state(), at_once.trainer.state());
        for (Run* run : {&at_once, &ahead}) {  // as after a line of the log
          run->trainer.state().loss_sum = 0;
          run->trainer.state().loss_count = 0;
        }
        if (step == 4) CHECK(same(everything(ahead.trainer), everything(at_once.trainer)));
      }
      CHECK(at_once.trainer.finished());
      CHECK(same(everything(ahead.trainer), everything(at_once.trainer)));
      if (!learns) continue;
      const std::vector<std::vector<double>> spans = ahead.model.spans();
      REQUIRE(!spans.empty());
      for (const std::vector<double>& layer : spans) CHECK(layer == std::vector<double>(layer.size(), 0.0));
    }
  }
}

TEST_CASE("a loss that breaks in the middle of a run that is ahead ends it as one that is not") {
  constexpr int words = 12;
  const TokenizedDataset data = single_words(words);
  for (const int64_t accumulation : {1, 2}) {
    const TrainerOptions options = options_for(1, accumulation, 1);
    const std::vector<int32_t> order = epoch_order(options.seed, 0, words);
    for (const size_t broken : {0, 5, 8, 10, 11}) {
      INFO("micro-step " << broken << ", " << accumulation << " batches a step");
      const auto spoil = [&](const DistilBert& model) { break_word(model, order[broken]); };
      Run at_once(small_run_config(), data, options, spoil), ahead(small_run_config(), data, options, spoil);
      CHECK(check_same_end(at_once, ahead) == static_cast<int64_t>(broken) / accumulation + 1);
    }
  }
}

TEST_CASE("a learning rate that is far too large ends a run that is ahead at the same step") {
  const TokenizedDataset data = small_data(12, 2, 6);
  for (const double rate : {1e30, 1e5}) {  // by decay the second makes weights some thousand times as large a step
    TrainerOptions options = options_for(4, 1, 100);
    options.learning_rate = rate;
    options.max_grad_norm = 0;
    options.warmup_ratio = 0;
    Run at_once(small_run_config(), data, options), ahead(small_run_config(), data, options);
    CHECK(check_same_end(at_once, ahead) > (rate == 1e5 ? 3 : 1));
  }
}

TEST_CASE("learned spans out of their bounds stay there if the first step is not finite") {
  const TokenizedDataset data = single_words(6);
  const TrainerOptions options = options_for(1, 1, 1);
  const int first = epoch_order(options.seed, 0, 6)[0];
  const auto spoil = [&](const DistilBert& model) {
    break_word(model, first);
    for (const Parameter& p : model.parameters())
      if (p.is_span) p.tensor.copy_from(Tensor::full(p.tensor.shape(), p.tensor.dtype(), -1));
  };
  const DistilBertConfig config = small_sparse_config(SparseMethod::learned_span);
  Run at_once(config, data, options, spoil), ahead(config, data, options, spoil);
  CHECK(check_same_end(at_once, ahead) == 1);
  for (const std::vector<double>& layer : ahead.model.spans()) CHECK(layer == std::vector<double>(layer.size(), -1.0));
}

TEST_CASE("a checkpoint of a run that is ahead is one of its last step, and goes on with the same bits") {
  const TempDir directory;
  const TokenizedDataset data = small_data(22, 1, 9);
  const TrainOptions all = accumulating_options();
  const DistilBertConfig config = small_run_config();
  const std::string fingerprint = run_fingerprint(all, data, data, config, "");
  Run whole(config, data, all.trainer());
  finish(whole.trainer);
  const std::vector<Tensor> expected = everything(whole.trainer);
  for (const int cut : {4, 8, 14}) {  // in the middle of a step, at the end of an epoch, and late
    INFO("stopped after micro-step " << cut);
    Run stopped(config, data, all.trainer()), at_once(config, data, all.trainer()),
        resumed(config, data, all.trainer());
    StepReport report;
    for (int i = 0; i < cut; ++i) {
      stopped.trainer.advance();
      at_once.trainer.micro_step(report);
    }
    const std::string checkpoint = directory / fmt::format("{}", cut);
    std::filesystem::create_directory(checkpoint);
    write_checkpoint(checkpoint, stopped.trainer, small_tokenizer(), small_max_length, {}, fingerprint);
    at_once.trainer.read_losses();
    same_state(stopped.trainer.state(), at_once.trainer.state());
    // Into a trainer with a past of its own, of which nothing has been read.
    while (resumed.trainer.state().step < 2) resumed.trainer.advance();
    read_checkpoint(checkpoint, resumed.trainer, fingerprint);
    same_state(resumed.trainer.state(), at_once.trainer.state());
    for (Run* run : {&stopped, &resumed}) {
      while (!run->trainer.finished()) run->trainer.advance();
      same_state(run->trainer.state(), whole.trainer.state());
      CHECK(same(everything(run->trainer), expected));
    }
  }
}

TEST_CASE("a micro-step that is given up leaves no trace in a run that is ahead") {
  const TokenizedDataset data = small_data(22, 1, 9);
  const TrainerOptions options = options_for(4, 1, 2);
  Run undisturbed(small_run_config(), data, options), disturbed(small_run_config(), data, options);
  finish(undisturbed.trainer);
  int operations = 0, given_up = 0;
  disturbed.trainer.check_between_operations([&] {
    if (++operations % 97 == 0) throw UsageError("not now");
  });
  while (!disturbed.trainer.finished()) try {
      disturbed.trainer.advance();
    } catch (const UsageError&) {
      ++given_up;
    }
  CHECK(given_up > 5);
  same_state(disturbed.trainer.state(), undisturbed.trainer.state());
  CHECK(same(everything(disturbed.trainer), everything(undisturbed.trainer)));
}
