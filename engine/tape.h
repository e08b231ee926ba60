// The tape: operations append nodes in execution order; backward() is one reverse loop over them.
//
//   Tape tape;
//   Tensor y = gelu(tape, x);           // recorded, because x requires a gradient
//   tape.backward(sum(tape, y));        // x.grad() now holds d(sum y)/dx
//   tape.clear();                       // ready for the next step, its memory kept
//
// First derivatives only: a backward pass is not itself recorded, so there are no higher-order gradients.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <list>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/context.h"
#include "engine/tensor.h"

namespace crisp {

struct Op;  // engine/op.h

/// A place in the model, for messages: "DistilBert > layer.2 > ffn.lin1". It lives as long as what was made there.
struct ScopeName {
  ScopeName(std::shared_ptr<const ScopeName> of, std::string called) : parent(std::move(of)), name(std::move(called)) {}
  std::string path() const;

  std::shared_ptr<const ScopeName> parent;
  std::string name;
};
using ScopeHandle = std::shared_ptr<const ScopeName>;

/// One recorded operation, as inspection sees it.
struct NodeInfo {
  const Op* op;
  ScopeHandle scope;
  Tensor output;  // without values unless the tape keeps them; empty once the node has run backward
  double flops;   // of the forward pass; of attention for all pairs of query and key, kept or not
};

class Tape {
 public:
  enum class Mode { record, inference };  // inference records nothing

  explicit Tape(Mode mode = Mode::record) : Tape(Context::standard(), mode) {}
  /// All that is recorded computes with `context`, forward and backward; it must outlive the tape.
  explicit Tape(const Context& context, Mode mode = Mode::record);
  explicit Tape(const Context&& temporary, Mode mode = Mode::record) = delete;
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  bool recording() const { return mode_ == Mode::record; }
  const Context& context() const { return *context_; }

  /// Runs the tape backwards from `loss`, which must have one element; its own gradient is `seed`. Gradients accumulate
  /// into grad() of every leaf that requires one. Each node's saved tensors are released as soon as it has run. Throws
  /// Error when the tape was consumed already, or when nothing on it leads to `loss`.
  void backward(const Tensor& loss, double seed = 1.0);

  /// Drops all nodes and keeps their memory for the next step. Throws Error within backward().
  void clear();

  /// Whether the tape holds the values of every result until its node has run backward, for inspection. Otherwise a
  /// result's memory is free as soon as no handle outside and no backward function has a use for it. Holds for what is
  /// recorded from now on.
  void keep_values(bool on = true) { keep_values_ = on; }
  /// Keeps the gradient of an intermediate tensor after backward(), for inspection.
  void keep_grad(const Tensor& t);
  /// Calls f with a copy of the complete gradient of t during backward(): for an intermediate tensor before the node
  /// that made it runs, for a leaf at the end. What f changes in the copy becomes the gradient (of a table that takes
  /// it by rows, the rows that are not 0; slow for a large table). What a hook adds is called, too, if its tensor's
  /// turn is still to come.
  void on_grad(const Tensor& t, std::function<void(const Tensor&)> f);

  /// Calls f before each operation, forward and backward, until another takes its place; {}: nothing. f may throw to
  /// give the pass up, which leaves gradients half made; the tape is then good for clear() alone.
  void before_each(std::function<void()> f) { before_each_ = std::move(f); }

  /// The recorded nodes in execution order; flops() is the sum over them.
  std::vector<NodeInfo> nodes() const;
  double flops() const;

  // --- for operations -------------------------------------------------------------------------------------------

  /// A new tensor for the result of `op`; it requires a gradient if the tape records and any input requires one. Throws
  /// Error when such an input is a result that this tape has not recorded since its last clear(): the gradient would
  /// stop at it silently. detach() makes it a constant.
  Tensor output(const Op& op, const Shape& shape, DType dtype, std::initializer_list<Tensor> inputs);
  Tensor output(const Op& op, const Shape& shape, DType dtype, std::span<const Tensor> inputs);
  /// The same for an operation whose result is a view of `base`.
  Tensor output_view(const Op& op, const Tensor& base, const Tensor& view);

  /// Appends a node if `out` requires a gradient. `backward` is called with the tape's context and the gradient of
  /// `out`; it captures what it needs (that is what the node saves) and writes to grad_target() of its inputs.
  template <class F>
  void record(const Op& op, const Tensor& out, double flops, F backward) {
    if (!out.requires_grad()) return;
    static_assert(alignof(F) <= alignof(std::max_align_t));
    void* place = arena(sizeof(F));
    new (place) F(std::move(backward));
    append({&op, scope_, out, flops, place,
            [](void* f, const Context& context, const Tensor& dy) { (*static_cast<F*>(f))(context, dy); },
            [](void* f) { static_cast<F*>(f)->~F(); }});
  }

  /// Names the part of the model that follows, until the object dies.
  class Scope {
   public:
    Scope(Tape& tape, std::string_view name);
    ~Scope() { tape_.scope_ = std::move(outer_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Tape& tape_;
    ScopeHandle outer_;
  };
  const ScopeHandle& scope() const { return scope_; }

 private:
  struct Node {
    const Op* op;
    ScopeHandle scope;
    Tensor output;
    double flops;
    void* closure;
    void (*run)(void*, const Context&, const Tensor&);
    void (*destroy)(void*);
  };

  void drop_nodes();
  void check_made_here(const Op& op, const Tensor& input) const;
  void mark(const Op& op, TensorImpl& result, bool requires_grad) const;
  void* arena(size_t bytes);
  void append(Node node);

  const Context* context_;
  Mode mode_;
  bool consumed_ = false;
  bool running_ = false;  // backward() is at work
  bool keep_values_ = false;
  uint64_t recording_;  // tells this tape, between two calls of clear(), from every other; never 0
  ScopeHandle scope_;
  std::vector<Node> nodes_;
  std::list<std::pair<Tensor, std::function<void(const Tensor&)>>> hooks_;  // one that runs may add others
  std::function<void()> before_each_;
  std::vector<std::unique_ptr<std::byte[]>> blocks_;  // closures live here; kept across clear()
  size_t block_ = 0, used_ = 0;
};

}  // namespace crisp
