#include "train/core/step_memory.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "train/core/trainer.h"
#include "train/inference/to_batch.h"

namespace crisp {
namespace {

namespace label = step_memory_label;

// The kernels' scratch memory and the gradients of a step are there from the second one on; the third is as the second.
constexpr int64_t steps = 3;
// An accumulation of more micro-batches takes as much.
constexpr int64_t most_accumulated = 4;

// "layer.2" of "DistilBert > layer.2 > attention".
std::string module_of(const ScopeName& scope) {
  const ScopeName* part = &scope;
  while (part->parent && part->parent->parent) part = part->parent.get();
  return part->name;
}

// What a block is for that is allocated now.
struct Purpose {
  const DistilBert* model = nullptr;
  const Tape* tape = nullptr;  // on which a step runs
  const char* phase = label::weights;
  meta::Meter* meter = nullptr;

  std::string operator()() const {
    if (!tape) return phase;
    // Whose gradient a block is, is known when it is there.
    for (const Parameter& p : model->parameters())
      if (const Tensor& gradient = p.tensor.gradient().values()) meter->relabel(gradient.raw(), label::gradients);
    if (tape->running_backward()) return label::backward;
    return tape->scope() ? module_of(*tape->scope()) : label::others;
  }
};

}  // namespace

meta::Meter::Peak step_memory(const DistilBertConfig& config, const TokenizedDataset& sentences,
                              const StepMemoryOptions& options, const Context::Settings& settings) {
  Purpose purpose;
  const Device device = options.on_gpu ? Device::meta_cuda : Device::meta;
  meta::Meter meter(device, [&purpose] { return purpose(); });
  purpose.meter = &meter;
  const Context context(settings);  // with scratch memory that is counted from the first byte on
  DistilBert model(config, options.dtype, device);
  purpose.model = &model;
  const int32_t batch = sentences.size();
  if (options.inference) {
    Tape tape(context, Tape::Mode::inference);
    purpose.tape = &tape;
    PackedBatch packed;
    for (int64_t i = 0; i < steps; ++i) {
      fill_batch(sentences, sequential_order(batch), packed);
      model.forward(tape, to_batch(packed, model, Labels::without), {}).to_vector();
    }
    return meter.peak();
  }

  // All batches are the same sentences.
  const int64_t accumulated = std::min(options.gradient_accumulation_steps, most_accumulated);
  std::vector<int32_t> examples;
  for (int64_t i = 0; i < accumulated; ++i)
    for (int32_t s = 0; s < batch; ++s) examples.push_back(s);
  const TokenizedDataset data = sentences.subset(examples);
  purpose.phase = label::moments;
  TrainerOptions training;
  training.batch_size = batch;
  training.gradient_accumulation_steps = accumulated;
  training.max_steps = steps + 1;  // the last one of a run makes the next batch no more
  Trainer trainer(model, data, training, context);
  purpose.tape = &trainer.tape();
  while (trainer.state().step < steps) trainer.advance();
  return meter.peak();
}

}  // namespace crisp
