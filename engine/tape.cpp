#include "engine/tape.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "engine/fail.h"
#include "engine/host_memory.h"
#include "engine/op.h"
#include "engine/tensor_impl.h"

namespace crisp {

Tape::Tape(const Context& context, Mode mode) : context_(&context), mode_(mode) {}

// --- record ----------------------------------------------------------------------------------------------------------

Tensor Tape::output(const Op& op, const Shape& shape, DType dtype, std::span<const Tensor> inputs) {
  if (before_each_) before_each_(op);
  Device device = Device::cpu;
  bool requires_grad = false;
  for (const Tensor& t : inputs) {
    if (!t) continue;
    check_made_here(op, t);
    device = t.device();
    requires_grad = requires_grad || t.requires_grad();
  }
  keep_inputs(inputs);
  Tensor out = Tensor::empty(shape, dtype, device);
  mark(op, out.impl(), requires_grad);
  return out;
}

Tensor Tape::output(const Op& op, const Shape& shape, DType dtype, std::initializer_list<Tensor> inputs) {
  return output(op, shape, dtype, std::span(inputs.begin(), inputs.size()));
}

Tensor Tape::output_view(const Op& op, const Tensor& base, const Tensor& view) {
  if (before_each_) before_each_(op);
  check_made_here(op, base);
  keep_inputs(std::span(&base, 1));
  mark(op, view.impl(), base.requires_grad());
  return view;
}

void Tape::keep_inputs(std::span<const Tensor> inputs) {
  inputs_.clear();
  if (!keep_values_) return;
  for (const Tensor& t : inputs)
    if (t) inputs_.push_back(t);
}

void Tape::mark(const Op& op, TensorImpl& result, bool requires_grad) const {
  result.requires_grad = requires_grad && recording();
  result.leaf = false;
  result.recording = result.requires_grad ? recording_ : 0;
  result.made_by = op.name;
  result.scope = scope_;
}

void Tape::append(const Op& op, const Tensor& out, double flops, BackwardFunction&& backward) {
  if (state_ != State::recording) fail("{}: this tape has run backward; clear() it before recording again", op.name);
  nodes_.push_back({{&op, scope_, keep_values_ ? out : out.without_values(), flops, std::exchange(inputs_, {})},
                    std::move(backward)});
}

// --- run backwards, and release --------------------------------------------------------------------------------------

// However a pass ends, nothing runs beside what comes after it.
struct Tape::Running {
  State& state;
  Device device;
  Running(State& s, Device where) : state(s), device(where) { state = State::running; }
  ~Running() {
    ++passes_ended(device);  // first: what another thread writes between the two counts as written after the join
    backend(device).join();
    state = State::consumed;
  }
};

void Tape::backward(const Tensor& loss, double seed) {
  check_start(loss);
  const Running running(state_, loss.device());
  const Context::Use use(*context_);
  // A gradient that an intermediate tensor already has (a caller wrote it, say) is not part of this pass.
  for (const Node& node : nodes_) node.output.clear_grad();
  {
    const GradTarget start = loss.grad_target();
    run(*context_, loss, [&](auto k) { k->fill(1, seed, k(start)); });
  }
  for (size_t i = nodes_.size(); i-- > 0;) {
    Node& node = nodes_[i];
    if (node.output.gradient()) {  // else the loss does not depend on it
      if (before_each_) before_each_(*node.op);
      call_hooks_of(node.output);
      const Tensor dy = node.output.gradient().values();
      node.backward(*context_, dy);
    }
    node.backward = {};  // and with it the saved tensors
    if (!node.output.impl().keep_grad) node.output.clear_grad();
    node.output = {};
    node.inputs.clear();
  }
  call_hooks_of_leaves();
}

void Tape::clear() {
  if (state_ == State::running) fail("clear: this tape is running backward");
  nodes_.clear();
  inputs_.clear();
  closures_.reset();
  hooks_.clear();
  state_ = State::recording;
  recording_ = next_recording();
}

// --- behind the idea: checks -----------------------------------------------------------------------------------------

void Tape::check_start(const Tensor& loss) const {
  if (!recording()) fail("backward: this tape is in inference mode and has recorded nothing");
  if (state_ != State::recording)
    fail("backward: this tape has run backward already and released what it saved; record the step again");
  if (loss.numel() != 1) fail("backward starts from one number; {} has shape {}", loss.label(), loss.shape().str());
  const bool known = std::any_of(nodes_.begin(), nodes_.end(), [&](const Node& n) { return n.output.same_as(loss); });
  if (!known) fail("backward: {} was not recorded on this tape (does any input require a gradient?)", loss.label());
}

void Tape::check_made_here(const Op& op, const Tensor& input) const {
  const TensorImpl& impl = input.impl();
  if (!recording() || !impl.requires_grad || impl.leaf || impl.recording == recording_) return;
  fail(
      "{}: {} of shape {} was recorded on another tape, or before this one's clear(); its gradient cannot reach what "
      "made it{}\n  use its detach() to take it as a constant, or record it again on this tape",
      op.name, input.label(), impl.shape.str(), scope_ ? ", in " + scope_->path() : "");
}

uint64_t Tape::next_recording() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

// --- places in the model, hooks, inspection --------------------------------------------------------------------------

Tape::Scope::Scope(Tape& tape, std::string_view name) : tape_(tape), outer_(tape.scope_) {
  tape.scope_ = std::allocate_shared<ScopeName>(CachedAlloc<ScopeName>(), outer_, std::string(name));
}

void Tape::on_grad(const Tensor& t, std::function<void(const Tensor&)> f) {
  hooks_.push_back({t.without_values(), std::move(f)});
}

void Tape::call_hooks_of(const Tensor& result) const {
  for (const Hook& hook : hooks_)
    if (hook.tensor.same_as(result)) hook.call();
}

void Tape::call_hooks_of_leaves() const {
  for (const Hook& hook : hooks_)
    if (hook.tensor.impl().leaf) hook.call();
}

// f gets a copy, so that one that only looks changes nothing, not even what is known of the gradient.
void Tape::Hook::call() const {
  if (!tensor.gradient()) return;
  backend(tensor.device()).join();  // the hook may look at any gradient
  const Tensor copy = tensor.grad(), given = copy.clone();
  f(copy);
  const Tensor before = given.to(Device::cpu), after = copy.to(Device::cpu);
  if (std::memcmp(before.raw(), after.raw(), after.bytes()) != 0) tensor.set_grad(copy);
}

void Tape::keep_grad(const Tensor& t) { t.impl().keep_grad = true; }

std::vector<NodeInfo> Tape::nodes() const { return {nodes_.begin(), nodes_.end()}; }

std::vector<int64_t> Tape::release(Device device) {
  if (state_ != State::recording) fail("release: this tape has run backward and released what it saved");
  const auto used = backend(device).used_bytes;
  std::vector<int64_t> bytes(nodes_.size());
  for (size_t i = nodes_.size(); i-- > 0;) {
    const int64_t before = used();
    nodes_[i].backward = {};
    nodes_[i].output = {};
    nodes_[i].inputs.clear();
    bytes[i] = before - used();
  }
  state_ = State::consumed;
  return bytes;
}

double Tape::flops() const {
  double sum = 0;
  for (const Node& n : nodes_) sum += n.flops;
  return sum;
}

}  // namespace crisp
