// The tape: reverse-mode automatic differentiation. Record, run backwards, release.
//
//   Tape tape;
//   Tensor y = gelu(tape, x);           // recorded, because x requires a gradient
//   tape.backward(sum(tape, y));        // x.grad() now holds d(sum y)/dx
//   tape.clear();                       // ready for the next step, its memory kept
//
// Record: an operation computes its output and appends a node with the output and a backward function. Nodes stand in
// the order of execution, so a node stands behind all that it depends on.
//
// Run backwards: given dy, the gradient of the loss with respect to the output y, a backward function computes for each
// input x the vector-Jacobian product (VJP) dx = J' dy, where J = dy/dx is never made itself, and accumulates it: adds
// it to the gradient of x, because x may be used more than once. backward() starts with d(loss)/d(loss) = 1 and takes
// the nodes from the last to the first. When it comes to a node, all that used its output has run, so dy is complete.
// What is left in the end are the gradients of the leaves: tensors that no node made, parameters for example.
//
// Release: what a backward function captured are the node's saved tensors. They go as soon as it has run.
//
// First derivatives only: a backward pass is not itself recorded, so there are no higher-order gradients.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <list>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/backward_function.h"
#include "engine/context.h"
#include "engine/scope.h"
#include "engine/tensor.h"

namespace crisp {

struct Op;  // engine/op.h

/// One recorded operation, as inspection sees it.
struct NodeInfo {
  const Op* op;
  ScopeHandle scope;                // where in the model
  Tensor output;                    // without values unless the tape keeps them; empty once the node has run backward
  double flops;                     // of the forward pass; of attention for all pairs of query and key, kept or not
  std::vector<Tensor> inputs = {};  // what the operation was given, while the tape keeps values; else none
};

class Tape {
 public:
  enum class Mode { record, inference };  // inference records nothing

  explicit Tape(Mode mode = Mode::record) : Tape(Context::standard(), mode) {}
  /// All that is recorded computes with `context`, forward and backward; it must outlive the tape.
  explicit Tape(const Context& context, Mode mode = Mode::record);
  explicit Tape(const Context&& temporary, Mode mode = Mode::record) = delete;
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  bool recording() const { return mode_ == Mode::record; }
  const Context& context() const { return *context_; }

  // --- record: what an operation calls, in this order ---------------------------------------------------------------

  /// A new tensor for the result of `op`; it requires a gradient if the tape records and any input requires one. Throws
  /// Error when such an input is a result that this tape has not recorded since its last clear(): the gradient would
  /// stop at it silently. detach() makes it a constant.
  Tensor output(const Op& op, const Shape& shape, DType dtype, std::initializer_list<Tensor> inputs);
  Tensor output(const Op& op, const Shape& shape, DType dtype, std::span<const Tensor> inputs);
  /// The same for an operation whose result is a view of `base`.
  Tensor output_view(const Op& op, const Tensor& base, const Tensor& view);

  /// Appends a node if `out` requires a gradient. `backward(context, dy)` gets the tape's context and the gradient of
  /// `out`. It captures the tensors that the node saves, and accumulates into the grad_target() of each input.
  template <class F>
  void record(const Op& op, const Tensor& out, double flops, F backward) {
    if (out.requires_grad()) append(op, out, flops, closures_.keep(std::move(backward)));
  }

  // --- run backwards ------------------------------------------------------------------------------------------------

  /// Runs the tape backwards from `loss`, which must have one element; its own gradient is `seed`. Gradients accumulate
  /// into grad() of every leaf that requires one, onto what is there from earlier calls. Throws Error when the tape was
  /// consumed already, or when nothing on it leads to `loss`.
  void backward(const Tensor& loss, double seed = 1.0);

  // --- release ------------------------------------------------------------------------------------------------------

  /// Drops all nodes and keeps their memory for the next step. Throws Error within backward().
  void clear();

  // --- behind the idea: places in the model, hooks, inspection ------------------------------------------------------

  /// Names the part of the model that follows, until the object dies: const Tape::Scope scope(tape, "layer.2").
  class Scope;
  const ScopeHandle& scope() const { return scope_; }

  /// Calls f with a copy of the complete gradient of t during backward(): for an intermediate tensor before the node
  /// that made it runs, for a leaf at the end. What f changes in the copy becomes the gradient (of a table that takes
  /// it by rows, the rows that are not 0; slow for a large table), and so does what it gives to t.set_grad(). What a
  /// hook adds is called, too, if its tensor's turn is still to come.
  void on_grad(const Tensor& t, std::function<void(const Tensor&)> f);
  /// Calls f with each operation before it runs, forward and backward, until another takes its place; {}: nothing. f
  /// may throw to give the pass up, which leaves gradients half made; the tape is then good for clear() alone. Before
  /// it looks at gradients it calls the backend's join().
  void before_each(std::function<void(const Op&)> f) { before_each_ = std::move(f); }
  /// Whether backward() is at work.
  bool running_backward() const { return state_ == State::running; }

  /// Keeps the gradient of an intermediate tensor after backward(), for inspection.
  void keep_grad(const Tensor& t);
  /// Whether the tape holds every operation's inputs, and the values of its result, until its node has run backward,
  /// for inspection. Otherwise a result's memory is free as soon as no handle outside and no backward function has a
  /// use for it. Holds for what is recorded from now on.
  void keep_values(bool on = true) { keep_values_ = on; }
  /// The recorded nodes in execution order; flops() is the sum over them.
  std::vector<NodeInfo> nodes() const;
  double flops() const;
  /// Gives up what backward functions saved, from the last node to the first as backward() does, without running them.
  /// Returns how many bytes on `device` each node's release gave back, in execution order: what is saved for several
  /// counts for the first of them. The tape is then good for clear() alone. Of what other threads use meanwhile
  /// nothing is known.
  std::vector<int64_t> release(Device device);

 private:
  struct Node : NodeInfo {
    BackwardFunction backward;
  };
  struct Hook {
    Tensor tensor;
    std::function<void(const Tensor&)> f;
    void call() const;
  };
  enum class State { recording, running, consumed };  // running: backward() is at work
  struct Running;

  void append(const Op& op, const Tensor& out, double flops, BackwardFunction&& backward);
  void keep_inputs(std::span<const Tensor> inputs);
  void mark(const Op& op, TensorImpl& result, bool requires_grad) const;
  void check_made_here(const Op& op, const Tensor& input) const;
  void check_start(const Tensor& loss) const;
  void call_hooks_of(const Tensor& result) const;
  void call_hooks_of_leaves() const;
  static uint64_t next_recording();

  const Context* context_;
  Mode mode_;
  State state_ = State::recording;
  uint64_t recording_ = next_recording();  // tells this tape, between two calls of clear(), from every other; never 0
  ClosureArena closures_;
  std::vector<Node> nodes_;

  ScopeHandle scope_;
  std::list<Hook> hooks_;  // one that runs may add others
  std::function<void(const Op&)> before_each_;
  bool keep_values_ = false;
  std::vector<Tensor> inputs_;  // of the operation that is being recorded, while values are kept
};

class Tape::Scope {
 public:
  Scope(Tape& tape, std::string_view name);
  ~Scope() { tape_.scope_ = std::move(outer_); }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  Tape& tape_;
  ScopeHandle outer_;
};

}  // namespace crisp
