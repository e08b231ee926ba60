// Fine-tuning: the loop from batches to changed weights, without files.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/batch.h"
#include "model/distilbert.h"
#include "train/core/divergence.h"
#include "train/core/optimizer.h"
#include "train/core/schedule.h"
#include "train/core/trainer_options.h"
#include "train/inference/evaluate.h"

namespace crisp {

/// Where a run is. A micro-step is one batch through the model; an optimizer step is gradient_accumulation_steps of
/// them (fewer at the end of an epoch). Everything that a checkpoint must remember beside tensors.
struct TrainState {
  int64_t step = 0;         // optimizer steps done
  int64_t micro_step = 0;   // micro-steps done, over all epochs
  int64_t accumulated = 0;  // micro-steps since the last optimizer step: their gradients are pending
  double loss_sum = 0;      // over the optimizer steps since the last log line
  double pending_loss = 0;  // of the unfinished optimizer step: its micro-steps' losses by their share of sentences, as
                            // far as Trainer::read_losses() has read them
  int64_t loss_count = 0;
  double total_loss_sum = 0;  // over all optimizer steps
  double train_seconds = 0;   // in micro-steps, over all processes of the run
  int64_t train_tokens = 0;   // the same
  int64_t best_step = -1;     // of the best evaluation; -1: none yet
  double best_accuracy = -1;
  int64_t evaluations_without_gain = 0;
  int64_t last_evaluation = -1;  // its step; -1: none yet
};

/// The outcome of one optimizer step.
struct StepReport {
  double loss = 0;           // mean over the sentences of all its micro-batches, without the penalty
  double span_penalty = 0;   // of learned spans, before the step: part of what the step lowers
  double grad_norm = 0;      // before clipping
  double learning_rate = 0;  // used for the step
};

/// The training loop without files: it owns the optimizer and the position in the data, so that a test or an embedding
/// program can drive it step by step. Same seed, same bits: at any thread count, and when state() after
/// read_losses(), parameters, moments and pending gradients are saved and restored at any micro-step.
class Trainer {
 public:
  /// What it is given must outlive the trainer, the model with the parameters that it has now: after
  /// DistilBert::set_sparsity() with other learned spans every use of the trainer throws Error. Throws UsageError when
  /// the data has no labels or no examples.
  Trainer(DistilBert& model, const TokenizedDataset& data, const TrainerOptions& options,
          const Context& context = Context::standard());
  /// Of options that have more in them Trainer would follow a part only: give it options.trainer().
  template <std::derived_from<TrainerOptions> Options>
  requires(!std::same_as<Options, TrainerOptions>)
      Trainer(DistilBert& model, const TokenizedDataset& data, const Options& options,
              const Context& context = Context::standard())
  = delete;

  const Context& context() const { return tape_.context(); }
  /// On which its steps run, for who looks on: where in the model a step is, and in which direction it goes.
  const Tape& tape() const { return tape_; }

  int64_t total_steps() const { return schedule_.total_steps(); }
  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  bool finished() const { return state_.step >= total_steps(); }
  /// Epochs done, with its fraction.
  double epoch() const;
  /// The same after `step` optimizer steps.
  double epoch_at(int64_t step) const;

  /// One micro-step; true when it completed an optimizer step, which `report` then describes. The step's gradient is
  /// the mean over the sentences of its micro-batches, whatever their sizes. Throws StepDiverged, naming the step and
  /// the first tensor in time that is not finite, before any weight is changed by it; for a gradient the step's
  /// micro-batches run once more, watched. A loss that is not finite is told when the step is complete, or by
  /// read_losses(). After any exception but one from `check` below the trainer cannot go on.
  bool micro_step(StepReport& report);
  /// One micro-step whose result the host need not wait for; true when it completed an optimizer step. On a device that
  /// launches kernels up to `steps_ahead` optimizer steps may be unread when it returns: state() counts them as done,
  /// but for the sums of losses, which settle() brings up to date. The device has work meanwhile, and every bit is that
  /// of micro_step(). A step that is not finite is told by a later advance() or settle(), with state(), the model and
  /// the StepDiverged of micro_step(): no weight has changed since. Elsewhere each step is read at once.
  bool advance();
  /// Reads what is unread, and returns the report of the last optimizer step that this trainer has done. Throws
  /// StepDiverged as micro_step() does.
  const StepReport& settle();
  static constexpr size_t steps_ahead = 2;
  /// Calls `check` before each operation of a micro-step for as long as the micro-step can be given up without a trace;
  /// `check` does that by throwing. Not while gradients are added to those of earlier micro-steps.
  void check_between_operations(std::function<void()> check);
  /// The sentences of a micro-step, by their places in the data.
  std::vector<int32_t> examples(int64_t micro_step) const;
  /// How a micro-step of the optimizer step that is at work runs.
  ForwardMode mode(int64_t micro_step) const;
  /// Tokens that the last micro-step processed.
  int64_t last_tokens() const { return last_tokens_; }

  const TrainState& state() const { return state_; }
  TrainState& state() { return state_; }
  /// With every step read: see settle().
  AdamW& optimizer() {
    check_parameters();
    settle();
    return optimizer_;
  }
  /// The model with all parameters up to date. Between two micro-steps, before the run is finished, the rows of the
  /// word embeddings that the last steps did not need wait in the model that was given to the constructor: look at it
  /// through this function, which reads all steps as settle() does.
  DistilBert& model() {
    optimizer().catch_up();
    return model_;
  }

  /// Settles, and brings state().pending_loss up to date, for who saves the state in the middle of an optimizer step:
  /// the losses of its micro-steps stay on the device until it is complete. Throws Diverged as micro_step() does.
  void read_losses();
  /// Sets the position in the data after state() has been restored.
  void restore_position();

 private:
  // The optimizer step that a micro-step belongs to.
  struct Group {
    int64_t first, count;  // its micro-steps
    int64_t sentences;     // in all of them
  };
  // An optimizer step that has been called for, as it was when its result would have been read at once.
  struct Unread {
    TrainState state = {};
    double learning_rate = 0;
    std::vector<Tensor> losses = {};
    std::vector<double> shares = {};
  };
  void check_parameters() const;
  Group group_of(int64_t micro_step) const;
  void prepare(int64_t micro_step);
  Tensor forward(int64_t micro_step);
  void backward(const Tensor& loss, double share);
  void clear_gradients();
  void forget_losses();
  void forget_unread();
  void read_pending_losses();
  void read_oldest();
  void go_back();
  [[noreturn]] void report_loss(double loss, int64_t micro_step);
  [[noreturn]] void report_norm(double norm);
  BrokenTensor first_broken_value(int64_t micro_step);
  BrokenTensor first_broken_gradient(const Group& group, int64_t& micro_step);

  DistilBert& model_;
  const TokenizedDataset& data_;
  const TrainerOptions options_;
  int64_t batches_per_epoch_, steps_per_epoch_;
  Schedule schedule_;
  AdamW optimizer_;
  Tape tape_;
  std::function<void()> check_;
  PackedBatch batch_;
  std::optional<Batch> inputs_;  // the same on the device
  int64_t prepared_ = -1;        // whose micro-step they are; -1: nobody's
  int64_t last_tokens_ = 0;
  std::vector<int32_t> order_;
  int64_t order_epoch_ = -1;
  Tensor span_penalty_;         // of the last micro-step
  std::vector<Tensor> losses_;  // of the micro-steps since the last optimizer step whose losses nobody has read yet
  std::vector<double> shares_;  // what each counts for in the step's loss
  std::vector<Unread> unread_;  // as many of them as the optimizer has, the oldest first
  StepReport report_;           // of the last step that was read
  TrainState state_;
};

/// Optimizer steps of a whole run with these options over `examples` training examples. Throws UsageError for a batch
/// size or a number of steps that is out of the range of trainer_options.h.
int64_t total_steps_of(const TrainerOptions& options, int64_t examples);

}  // namespace crisp
