// AdamW over a model's parameters, with the gradient norm that clipping needs.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/adamw.h"
#include "engine/answer.h"
#include "engine/tensor.h"
#include "model/distilbert.h"

namespace crisp {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;  // not on parameters with decays = false
  double span_rate = 1;        // the learning rate of parameters with is_span, as a multiple
  /// Rows without a gradient, of tables that take their gradient as rows, wait until catch_up() asks for them. Whoever
  /// turns this on calls it before each forward pass, for the rows that it reads, and before anything else reads the
  /// parameters.
  bool defer_rows = false;
  /// How many steps may wait for their results to be read while the next one is made: see enqueue().
  size_t steps_ahead = 0;
};

/// Decoupled weight decay, Loshchilov & Hutter, arXiv 1711.05101; the same arithmetic as torch.optim.AdamW, but for
/// first moments too small to matter (engine/cpu/adamw.cpp).
class AdamW {
 public:
  /// The moments start at 0. It keeps handles of its own to the parameters; the context must outlive it.
  AdamW(std::span<const Parameter> parameters, const AdamWOptions& options,
        const Context& context = Context::standard());

  /// Clips the gradients to max_grad_norm (0: not at all) and makes one update with them, then forgets them. The norm
  /// is over all gradients but those of learned spans, which are neither clipped nor counted: in positions, under a
  /// penalty of any size, they must not clip the weights. A parameter without a gradient counts as 0 and is left as it
  /// is. Where a norm or the loss is not finite, nothing changes and (without steps ahead) the gradients stay: see the
  /// result. Throws Error when a row has a gradient, though it waits: the forward pass read an old value.
  ClipResult step(double learning_rate, double max_grad_norm, const StepLoss& loss = {});

  /// The two halves of step(). The first calls for a step and reads nothing; `also`, if given, calls for what belongs
  /// to the step besides, guarded by its clip_gradients(). The next step may be made and called for at once, as if this
  /// one were finite, as long as has_room(); where it was not, no later one changes anything on the device.
  void enqueue(double learning_rate, double max_grad_norm, const StepLoss& loss = {},
               const std::function<void(const Tensor& clip)>& also = {});
  bool has_room() const;
  /// Steps that were called for and whose results nobody has read.
  size_t unread() const { return unread_; }
  size_t steps_ahead() const { return options_.steps_ahead; }
  /// Reads the result of the oldest of them. Where it is not finite, all of them count as never called for.
  ClipResult read_oldest();

  /// Brings these rows (repeated or not) of a parameter up to date. Nothing to do for a parameter that takes its
  /// gradient as an array.
  void catch_up(const Tensor& parameter, std::span<const int32_t> rows);
  /// Brings all parameters and moments up to date. The bits are the same however often and whenever it is called.
  /// Throws Error while steps are unread().
  void catch_up();

  /// Whether these are the parameters that it was made for, in that order.
  bool updates(std::span<const Parameter> parameters) const;

  /// Updates done so far.
  int64_t steps() const { return steps_; }
  /// Before parameters and moments are restored: what rows waited for is forgotten.
  void set_steps(int64_t steps);
  /// First and second moments, in the order of the parameters, up to date: what a checkpoint saves.
  std::span<const Tensor> first_moments() {
    catch_up();
    return m_;
  }
  std::span<const Tensor> second_moments() {
    catch_up();
    return v_;
  }

 private:
  // A table whose rows wait.
  struct Table {
    size_t index;                   // of the parameter
    std::vector<AdamWRates> rates;  // of its steps since everything was up to date
    std::vector<int32_t> done;      // how many of them each row has had
  };
  // What is to be undone if a step was not finite: row `row` of a table had had `done` of its steps, or, where `row` is
  // `a_step`, the table has counted one.
  struct Change {
    static constexpr int32_t a_step = -1;
    size_t table;
    int32_t row, done;
  };
  struct Unread {
    Tensor clip = {};
    Answer answer = {};
    std::vector<Change> changes = {};  // since it was called for, until the next one was
    void clear();
  };
  AdamWPart part(size_t index, double learning_rate, int64_t step) const;
  Tensor last_clip() const;
  void note(const Table& table, int32_t row, int32_t done);
  void clear_gradients();
  void go_back();
  void check_up_to_date(const Table& table) const;
  void note_step(Table& table, const AdamWStep& step);
  void catch_up(Table& table);
  template <class Name>
  void replay(Table& table, size_t count, Name&& name);
  static void forget_rates(Table& table);

  std::vector<Parameter> parameters_;
  AdamWOptions options_;
  const Context* context_;
  std::vector<Tensor> weights_, spans_;  // the parameters that are clipped, and the others
  std::vector<Tensor> m_, v_;
  std::vector<Table> tables_;
  std::vector<AdamWPart> parts_;              // of the step at work
  std::vector<int32_t> due_rows_, due_from_;  // rows that catch up, and since which step they wait
  std::vector<Unread> steps_called_;          // the first unread_ of them, the oldest first
  size_t unread_ = 0;
  int64_t steps_ = 0;
};

}  // namespace crisp
