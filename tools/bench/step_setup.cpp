#include <algorithm>

#include "data/input/file.h"
#include "engine/fail.h"
#include "engine/profile.h"
#include "tools/bench/step.h"
#include "train/inference/model_files.h"

namespace crisp::bench {
namespace {

DistilBert random_model(const StepOptions& o, int64_t vocab_size, int64_t labels) {
  DistilBertConfig config;
  if (o.init != "distilbert-base") config = parse_config(read_input(o.init, input_limit::settings), o.init);
  config.vocab_size = vocab_size;
  config.max_positions = std::max(config.max_positions, o.least_positions);
  config.num_labels = labels;
  if (o.dropout) config.dropout = config.attention_dropout = config.classifier_dropout = *o.dropout;
  DistilBert model(config, dtype_for(o.precision), device_for(o.common.device));
  model.initialise(static_cast<uint64_t>(o.seed));
  return model;
}

}  // namespace

StepSetup set_up_step(StepOptions o, const Context& context) {
  o.sentences.seed = static_cast<uint64_t>(o.seed);
  o.sentences.count = o.batch * std::min<int64_t>(o.warm + o.steps, 64);
  if (o.sentences.fixed > 0) o.sentences.max_length = o.sentences.fixed;
  std::optional<LoadedModel> loaded;
  if (!o.weights.empty()) {
    loaded.emplace(load_model(o.weights, {.vocab = o.sentences.vocab,
                                          .dtype = dtype_for(o.precision),
                                          .device = device_for(o.common.device),
                                          .dropout = o.dropout,
                                          .seed = static_cast<uint64_t>(o.seed)}));
    o.sentences.vocab = loaded->tokenizer.path;
    o.sentences.vocab_size = loaded->model.config().vocab_size;
    o.sentences.labels = loaded->model.config().num_labels;
  }
  Sentences sentences = load_sentences(o.sentences, context.threads());
  const TokenizedDataset& data = *sentences.data;
  DistilBert model =
      loaded ? std::move(loaded->model) : random_model(o, sentences.vocab_size, std::max(data.num_labels(), 2));
  DistilBertConfig& config = model.mutable_config();
  config.sparsity = parse_sparsity(o.sparsity, config.layers);
  if (data.max_tokens() > config.max_positions)
    fail<UsageError>("sentences of {} tokens, but the model has {} positions; --max-length cuts them",
                     data.max_tokens(), config.max_positions);
  if (sentences.vocab_size > config.vocab_size || data.num_labels() > config.num_labels)
    fail<UsageError>("the data has {} tokens and {} labels, the model {} and {}", sentences.vocab_size,
                     data.num_labels(), config.vocab_size, config.num_labels);
  return {std::move(sentences), std::move(model)};
}

int64_t profiled_apart(const StepOptions& o) {
  return device_for(o.common.device) == Device::cpu ? 0 : std::min<int64_t>(o.steps, 10);
}

TrainerOptions train_options(const StepOptions& o) {
  TrainerOptions options;
  // The last step of a run brings every row of the words up to date.
  options.max_steps = o.warm + o.steps + profiled_apart(o) + 1;
  options.learning_rate = o.learning_rate;
  options.schedule = ScheduleType::constant;
  options.warmup_ratio = 0;
  options.batch_size = o.batch;
  options.weight_decay = o.weight_decay;
  options.max_grad_norm = o.max_grad_norm;
  options.seed = static_cast<uint64_t>(o.seed);
  return options;
}

StepTime timed_step(Trainer& trainer, StepReport& report) {
  start_profile();
  const double begin = now();
  trainer.micro_step(report);
  StepTime time{.seconds = now() - begin};
  stop_profile();
  for (const KernelProfile& k : profile()) {
    time.kernel_seconds += k.seconds;
    if (k.kind == KernelKind::attention) time.attention_seconds += k.seconds;
  }
  return time;
}

}  // namespace crisp::bench
