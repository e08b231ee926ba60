#include "engine/tape.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "engine/fail.h"
#include "engine/host_memory.h"
#include "engine/op.h"
#include "engine/tensor_impl.h"

namespace crisp {
namespace {

constexpr size_t block_bytes = size_t{64} << 10;

uint64_t next_recording() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

// The hook gets a copy, so that one that only looks changes nothing, not even what is known of the gradient.
void call_hook(const std::function<void(const Tensor&)>& hook, const Tensor& t) {
  if (!t.gradient()) return;
  const Tensor copy = t.grad();
  hook(copy);
  const Tensor before = t.grad().to(Device::cpu), after = copy.to(Device::cpu);
  if (std::memcmp(before.raw(), after.raw(), after.bytes()) != 0) t.set_grad(copy);
}

}  // namespace

std::string ScopeName::path() const { return parent ? parent->path() + " > " + name : name; }

Tape::Tape(const Context& context, Mode mode) : context_(&context), mode_(mode), recording_(next_recording()) {}

Tape::Scope::Scope(Tape& tape, std::string_view name) : tape_(tape), outer_(tape.scope_) {
  tape.scope_ = std::allocate_shared<ScopeName>(CachedAlloc<ScopeName>(), outer_, std::string(name));
}

void Tape::check_made_here(const Op& op, const Tensor& input) const {
  const TensorImpl& impl = input.impl();
  if (!recording() || !impl.requires_grad || impl.leaf || impl.recording == recording_) return;
  fail(
      "{}: {} of shape {} was recorded on another tape, or before this one's clear(); its gradient cannot reach what "
      "made it{}\n  use its detach() to take it as a constant, or record it again on this tape",
      op.name, input.label(), impl.shape.str(), scope_ ? ", in " + scope_->path() : "");
}

void Tape::mark(const Op& op, TensorImpl& result, bool requires_grad) const {
  result.requires_grad = requires_grad && recording();
  result.leaf = false;
  result.recording = result.requires_grad ? recording_ : 0;
  result.made_by = op.name;
  result.scope = scope_;
}

Tensor Tape::output(const Op& op, const Shape& shape, DType dtype, std::span<const Tensor> inputs) {
  if (before_each_) before_each_();
  Device device = Device::cpu;
  bool needs_grad = false;
  for (const Tensor& t : inputs) {
    if (!t) continue;
    check_made_here(op, t);
    device = t.device();
    needs_grad = needs_grad || t.requires_grad();
  }
  Tensor out = Tensor::empty(shape, dtype, device);
  mark(op, out.impl(), needs_grad);
  return out;
}

Tensor Tape::output(const Op& op, const Shape& shape, DType dtype, std::initializer_list<Tensor> inputs) {
  return output(op, shape, dtype, std::span(inputs.begin(), inputs.size()));
}

Tensor Tape::output_view(const Op& op, const Tensor& base, const Tensor& view) {
  check_made_here(op, base);
  mark(op, view.impl(), base.requires_grad());
  return view;
}

void* Tape::arena(size_t bytes) {
  constexpr size_t align = alignof(std::max_align_t);
  bytes = (bytes + align - 1) / align * align;
  if (bytes > block_bytes) fail("a backward function captures {} bytes; at most {} fit", bytes, block_bytes);
  if (used_ + bytes > block_bytes) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) blocks_.push_back(std::make_unique<std::byte[]>(block_bytes));
  void* place = blocks_[block_].get() + used_;
  used_ += bytes;
  return place;
}

void Tape::append(Node node) {
  if (consumed_) {
    node.destroy(node.closure);
    fail("{}: this tape has run backward; clear() it before recording again", node.op->name);
  }
  if (!keep_values_) node.output = node.output.without_values();
  nodes_.push_back(std::move(node));
}

void Tape::backward(const Tensor& loss, double seed) {
  if (!recording()) fail("backward: this tape is in inference mode and has recorded nothing");
  if (consumed_) fail("backward: this tape has run backward already and released what it saved; record the step again");
  if (loss.numel() != 1) fail("backward starts from one number; {} has shape {}", loss.label(), loss.shape().str());
  const bool known = std::any_of(nodes_.begin(), nodes_.end(), [&](const Node& n) { return n.output.same_as(loss); });
  if (!known) fail("backward: {} was not recorded on this tape (does any input require a gradient?)", loss.label());

  consumed_ = true;
  struct Running {
    bool& flag;
    explicit Running(bool& f) : flag(f) { flag = true; }
    ~Running() { flag = false; }
  } const running(running_);
  const Context::Use use(*context_);
  // A gradient that an intermediate tensor already has (a caller wrote it, say) is not part of this pass.
  for (const Node& node : nodes_) node.output.clear_grad();
  {
    const GradTarget start = loss.grad_target();
    run(*context_, loss, [&](auto k) { k->fill(1, seed, k(start)); });
  }
  for (size_t i = nodes_.size(); i-- > 0;) {
    Node& node = nodes_[i];
    if (node.output.gradient()) {
      if (before_each_) before_each_();
      for (const auto& [tensor, hook] : hooks_)
        if (tensor.same_as(node.output)) call_hook(hook, tensor);
      const Tensor gradient = node.output.gradient().values();
      node.run(node.closure, *context_, gradient);
    }
    node.destroy(node.closure);
    node.closure = nullptr;
    if (!node.output.impl().keep_grad) node.output.clear_grad();
    node.output = {};
  }
  for (const auto& [tensor, hook] : hooks_)
    if (tensor.impl().leaf) call_hook(hook, tensor);
}

Tape::~Tape() { drop_nodes(); }

void Tape::drop_nodes() {
  for (Node& node : nodes_)
    if (node.closure) node.destroy(node.closure);
  nodes_.clear();
}

void Tape::clear() {
  if (running_) fail("clear: this tape is running backward");
  drop_nodes();
  hooks_.clear();
  block_ = used_ = 0;
  consumed_ = false;
  recording_ = next_recording();
}

void Tape::keep_grad(const Tensor& t) { t.impl().keep_grad = true; }

void Tape::on_grad(const Tensor& t, std::function<void(const Tensor&)> f) {
  hooks_.emplace_back(t.without_values(), std::move(f));
}

std::vector<NodeInfo> Tape::nodes() const {
  std::vector<NodeInfo> infos;
  for (const Node& n : nodes_) infos.push_back({n.op, n.scope, n.output, n.flops});
  return infos;
}

double Tape::flops() const {
  double sum = 0;
  for (const Node& n : nodes_) sum += n.flops;
  return sum;
}

}  // namespace crisp
