// A run that is saved and restored at any micro-step goes on with the bits of the run that never stopped.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/train/small_run.h"
#include "tests/train/support.h"
#include "train/durable/sha256.h"
#include "train/run/checkpoint.h"

using namespace crisp;
using namespace crisp::test;

namespace {

std::vector<int> every_cut() {
  std::vector<int> cuts;
  for (int cut = 0; cut <= micro_steps; ++cut) cuts.push_back(cut);
  return cuts;
}

std::string fingerprint_of(const TrainOptions& options, const TokenizedDataset& data, const DistilBert& model) {
  return run_fingerprint(options, data, data, model.config(), "");
}

// A run of its own model over the common data.
struct Run {
  Run(const TokenizedDataset& data, DType dtype, uint64_t seed = 3)
      : model(small_run_config(), dtype, test_device()),
        trainer(start(model, seed), data, accumulating_options().trainer()) {}
  static DistilBert& start(DistilBert& model, uint64_t seed) {
    model.initialise(seed);
    return model;
  }
  void advance(int n) {
    StepReport report;
    for (int i = 0; i < n; ++i) trainer.micro_step(report);
  }
  DistilBert model;
  Trainer trainer;
};

}  // namespace

TEST_CASE("a checkpoint says which random numbers its run drew, and one of sparse dropout by other ones is told") {
  const CheckpointState now{.train = {}, .logs = {}, .kernels = "avx2", .settings = "{}"};
  const std::string written = format_checkpoint_state(now);
  CHECK(parse_checkpoint_state(written, "state").random_numbers == drawn_numbers);
  nlohmann::json document = nlohmann::json::parse(written);
  document.erase("random_numbers");
  const CheckpointState before = parse_checkpoint_state(document.dump(), "state");
  CHECK(before.random_numbers == 1);
  DistilBertConfig config = small_run_config();
  config.attention_dropout = 0.1;
  config.sparsity = {};
  CHECK(random_numbers_note(before, config).empty());  // dense
  config.sparsity.layers.assign(static_cast<size_t>(config.layers), 0.8);
  CHECK(random_numbers_note(now, config).empty());
  CHECK(random_numbers_note(before, config).find("drew other numbers") != std::string::npos);
  config.sparsity.in_training = false;
  CHECK(random_numbers_note(before, config).empty());
  config.sparsity.key_dropout = 0.6;
  CHECK_FALSE(random_numbers_note(before, config).empty());
  config.sparsity.in_training = true;
  config.attention_dropout = 0;
  CHECK(random_numbers_note(before, config).empty());
}

TEST_CASE("resuming at any micro-step gives the bits of the run that never stopped") {
  const TempDir directory;
  const TokenizerFiles vocabulary = small_tokenizer();
  const TokenizedDataset data = small_data(22, 1, 9);
  for (const DType dtype : {DType::f32, DType::f64}) {
    Run whole(data, dtype);
    const std::string fingerprint = fingerprint_of(accumulating_options(), data, whole.model);
    whole.advance(micro_steps);
    REQUIRE(whole.trainer.finished());
    const std::vector<Tensor> expected = weights_now(whole.model);
    // f64 and other devices take the same path: four cuts will do, at and within steps and at the end of the epoch.
    for (const int cut :
         dtype == DType::f32 && test_device() == Device::cpu ? every_cut() : std::vector<int>{3, 5, 7, 8}) {
      INFO(name_of(dtype) << ", stopped after micro-step " << cut);
      Run stopped(data, dtype);
      stopped.advance(cut);
      const std::string checkpoint = directory / fmt::format("{}-{}", name_of(dtype), cut);
      std::filesystem::create_directory(checkpoint);
      write_checkpoint(checkpoint, stopped.trainer, vocabulary, small_max_length, {12, "events", 34}, fingerprint);

      Run resumed(data, dtype, 999);  // other weights, so that what is not restored shows
      const LogPositions logs = read_checkpoint(checkpoint, resumed.trainer, fingerprint).logs;
      CHECK(logs.metrics_bytes == 12);
      CHECK(logs.event_file == "events");
      CHECK(logs.event_bytes == 34);
      same_state(resumed.trainer.state(), stopped.trainer.state());
      CHECK(first_difference(resumed.model, weights_now(stopped.model)) == "");
      resumed.advance(micro_steps - cut);
      CHECK(resumed.trainer.finished());
      CHECK(first_difference(resumed.model, expected) == "");
      same_state(resumed.trainer.state(), whole.trainer.state());

      // Saving is only looking: the run that was saved goes on unharmed.
      stopped.advance(micro_steps - cut);
      CHECK(first_difference(stopped.model, expected) == "");
    }
  }
}

TEST_CASE("a trainer that has pending gradients of its own can go back to a checkpoint") {
  const TempDir directory;
  const TokenizerFiles vocabulary = small_tokenizer();
  const TokenizedDataset data = small_data(22, 1, 9);
  for (const int cut : {3, 4}) {  // without and with pending gradients
    Run run(data, DType::f32);
    const std::string fingerprint = fingerprint_of(accumulating_options(), data, run.model);
    run.advance(cut);
    const std::string checkpoint = directory / fmt::format("{}", cut);
    std::filesystem::create_directory(checkpoint);
    write_checkpoint(checkpoint, run.trainer, vocabulary, small_max_length, {}, fingerprint);
    run.advance(micro_steps - cut);
    const std::vector<Tensor> expected = weights_now(run.model);

    Run other(data, DType::f32);
    other.advance(10);  // in the middle of an accumulation
    read_checkpoint(checkpoint, other.trainer, fingerprint);
    other.advance(micro_steps - cut);
    CHECK(first_difference(other.model, expected) == "");
  }
}

TEST_CASE("what has no gradient in the middle of an accumulation has none after the checkpoint") {
  const TempDir directory;
  const TokenizedDataset data = small_data(22, 1, 9);
  Run run(data, DType::f32), other(data, DType::f32);
  run.advance(4);
  const std::string fingerprint = fingerprint_of(accumulating_options(), data, run.model);
  const auto &saved = run.model.parameters(), &restored = other.model.parameters();
  for (size_t i = 0; i < saved.size(); i += 2) saved[i].tensor.clear_grad();
  write_checkpoint(directory.path(), run.trainer, small_tokenizer(), small_max_length, {}, fingerprint);

  other.advance(10);
  read_checkpoint(directory.path(), other.trainer, fingerprint);
  for (size_t i = 0; i < saved.size(); ++i) {
    INFO(saved[i].name);
    const Tensor before = saved[i].tensor.grad(), after = restored[i].tensor.grad();
    CHECK(static_cast<bool>(before) == (i % 2 == 1));
    REQUIRE(static_cast<bool>(after) == static_cast<bool>(before));
    if (before) CHECK(after.to_vector() == before.to_vector());
  }
}

TEST_CASE("counts that no run can have are refused by name") {
  const TempDir directory;
  const TokenizedDataset data = small_data(22, 1, 9);
  Run run(data, DType::f32);
  run.advance(4);
  const std::string fingerprint = fingerprint_of(accumulating_options(), data, run.model);
  write_checkpoint(directory.path(), run.trainer, small_tokenizer(), small_max_length, {}, fingerprint);
  const std::string path = directory / "trainer_state.json", intact = read_file(path);
  for (const char* key : {"step", "micro_step", "accumulated", "loss_count", "train_tokens", "best_step",
                          "evaluations_without_gain", "last_evaluation"}) {
    for (const char* value : {"-2", "9223372036854775807", "18446744073709551615", "1e300", "1.5", "\"1\"", "null"}) {
      INFO(key << " " << value);
      nlohmann::ordered_json state = nlohmann::ordered_json::parse(intact);
      state[key] = nlohmann::ordered_json::parse(value);
      write_file(path, state.dump());
      const auto read = [&] { read_checkpoint(directory.path(), run.trainer, fingerprint); };
      const std::string message = message_of<BadInput>(read);
      CHECK(contains(message, fmt::format("{}: \"{}\" is ", path, key)));
      CHECK(contains(message, state[key].is_null() ? "missing" : "it must be a whole number from"));
    }
  }
  write_file(path, intact);
  read_checkpoint(directory.path(), run.trainer, fingerprint);
  CHECK(run.trainer.state().micro_step == 4);
}

TEST_CASE("a checkpoint of other settings is refused, naming them") {
  const TempDir directory;
  const TokenizedDataset data = small_data(22, 1, 9);
  Run run(data, DType::f32);
  const std::string fingerprint = fingerprint_of(accumulating_options(), data, run.model);
  write_checkpoint(directory.path(), run.trainer, small_tokenizer(), small_max_length, {}, fingerprint);
  TrainOptions other = accumulating_options();
  other.learning_rate = 0.5;
  other.seed = 43;
  const std::string message = message_of<UsageError>(
      [&] { read_checkpoint(directory.path(), run.trainer, fingerprint_of(other, data, run.model)); });
  INFO(message);
  CHECK(contains(message, "learning_rate: 0.01 then, 0.5 now"));
  CHECK(contains(message, "seed: 42 then, 43 now"));
  CHECK_FALSE(contains(message, "batch_size"));
}

TEST_CASE("other weights and another dev set are another run, wherever the files lie") {
  const TempDir directory;
  const TokenizedDataset data = small_data(22, 1, 9), dev = small_data(5, 1, 9), other = small_data(6, 1, 9);
  const DistilBertConfig config = small_run_config();
  const TrainOptions options = accumulating_options();
  write_file(directory / "a", "weights");
  write_file(directory / "copy", "weights");
  write_file(directory / "b", "other weights");
  const std::string fingerprint = run_fingerprint(options, data, dev, config, sha256_file(directory / "a"));
  CHECK_NOTHROW(
      check_same_run(fingerprint, run_fingerprint(options, data, dev, config, sha256_file(directory / "copy")), "out"));
  const auto difference = [&](const TokenizedDataset& dev_now, const std::string& weights) {
    const std::string hash = weights.empty() ? "" : sha256_file(weights);
    return message_of<UsageError>(
        [&] { check_same_run(fingerprint, run_fingerprint(options, data, dev_now, config, hash), "out"); });
  };
  CHECK(contains(difference(dev, directory / "b"), "\n  initial_weights_sha256: "));
  CHECK(contains(difference(dev, ""), "\n  initial_weights_sha256: "));
  CHECK(contains(difference(other, directory / "a"), "\n  dev_data_sha256: "));
  CHECK_FALSE(contains(difference(other, directory / "a"), "training_data"));
}

TEST_CASE("a micro-step that is given up at any of its operations leaves no trace") {
  const TokenizedDataset data = small_data(22, 1, 9);
  Run whole(data, DType::f32);
  whole.advance(micro_steps);
  Run run(data, DType::f32);
  int left = 0, given_up = 0;
  run.trainer.check_between_operations([&] {
    if (left-- == 0) fail("given up");
  });
  StepReport report;
  for (int i = 0; i < micro_steps; ++i) {
    const int64_t pending = run.trainer.state().accumulated;
    int tries = 0;
    for (bool done = false; !done; ++tries) {
      left = 5 * tries;
      try {
        run.trainer.micro_step(report);
        done = true;
      } catch (const Error&) {
        ++given_up;
        CHECK(run.trainer.state().micro_step == i);
        CHECK(run.trainer.state().accumulated == pending);
      }
    }
    CHECK(tries > 2);
  }
  CHECK(given_up > 3 * micro_steps);
  CHECK(first_difference(run.model, weights_now(whole.model)) == "");
  same_state(run.trainer.state(), whole.trainer.state());
}
