#include "train/core/trainer_settings.h"

#include <fmt/format.h>

#include "data/input/text.h"
#include "train/inference/limits.h"

namespace crisp {

using namespace setting;

namespace {

// Before --warmup-ratio: of a record, which has both, the ratio is read last.
Setting<TrainerOptions> warmup_steps_setting() {
  Setting<TrainerOptions> made =
      number("warmup-steps", &TrainerOptions::warmup_steps, WholeNumbers{0, most_steps},
             "Steps in which the learning rate rises, instead of --warmup-ratio; 0: no warmup");
  made.set = [set = made.set](TrainerOptions& o, const std::string& text) {
    std::string complaint = set(o, text);
    if (complaint.empty() && o.warmup_steps == 0) o.warmup_ratio = 0;
    return complaint;
  };
  return made;
}

}  // namespace

std::string with_quoted(std::string complaint, const std::string& text) {
  const std::string as_it_is = fmt::format("'{}'", text);
  if (const size_t at = complaint.find(as_it_is); at != std::string::npos)
    complaint.replace(at, as_it_is.size(), quote(text));
  return complaint;
}

const Settings<TrainerOptions>& trainer_settings() {
  using O = TrainerOptions;
  constexpr Interval part{.low = 0, .high = 1}, above_0{.low = 0, .open_low = true},
      part_below_1{.low = 0, .high = 1, .open_high = true};
  constexpr WholeNumbers steps{0, most_steps}, batch{1, largest_batch};
  static const Settings<O> all = [&] {
    Settings<O> s;
    append_settings<O, O>(
        s, "Optimisation",
        {recorded(number("epochs,num-train-epochs", &O::epochs, Interval{.low = 0, .high = most_epochs},
                         "Passes over the training data; may be a fraction; 0 saves the model as it is",
                         default_epochs)),
         recorded(number("max-steps", &O::max_steps, steps, "Optimizer steps, instead of --epochs; 0: by --epochs")),
         fingerprint(
             number("learning-rate,lr", &O::learning_rate, above_0, "Peak learning rate", default_learning_rate)),
         fingerprint(number("batch-size,per-device-train-batch-size,per-gpu-train-batch-size,train-batch-size",
                            &O::batch_size, batch, "Sequences of a batch")),
         fingerprint(number("gradient-accumulation-steps", &O::gradient_accumulation_steps, batch,
                            "Batches whose gradients make one optimizer step")),
         fingerprint(word("schedule,lr-scheduler-type", &O::schedule,
                          {{"linear", ScheduleType::linear},
                           {"cosine", ScheduleType::cosine},
                           {"constant", ScheduleType::constant},
                           {"constant_with_warmup", ScheduleType::constant}},
                          "linear|cosine|constant", "Course of the learning rate after the warmup")),
         fingerprint(warmup_steps_setting()),
         fingerprint(
             number("warmup-ratio", &O::warmup_ratio, part, "Part of all steps in which the learning rate rises")),
         fingerprint(
             number("weight-decay", &O::weight_decay, Interval{}, "AdamW weight decay (not on biases and LayerNorm)")),
         fingerprint(number("beta1,adam-beta1", &O::beta1, part_below_1, "AdamW beta 1")),
         fingerprint(number("beta2,adam-beta2", &O::beta2, part_below_1, "AdamW beta 2")),
         fingerprint(number("epsilon,adam-epsilon", &O::epsilon, above_0, "AdamW epsilon")),
         fingerprint(
             number("max-grad-norm", &O::max_grad_norm, Interval{}, "Largest norm of the gradient; 0: no clipping"))});
    append_settings<O, O>(
        s, "Computation",
        {fingerprint(number("seed", &O::seed, Seeds{}, "Of all random numbers; the same seed gives the same bits"))});
    return s;
  }();
  return all;
}

}  // namespace crisp
