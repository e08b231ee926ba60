#include "tools/inspect/step_record.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "engine/op.h"

namespace crisp::inspect {
namespace {

// A gradient at one moment: nothing, all of it, or the rows of a table that have been added to.
struct Held {
  bool by_rows = false;
  std::vector<int32_t> rows = {};
  std::vector<double> values = {};
};

Held gradient_of(const Tensor& t) {
  const Gradient& gradient = t.gradient();
  if (!gradient) return {};
  Held held{gradient.by_rows(), {}, gradient.values().to_vector()};
  if (held.by_rows) held.rows.assign(gradient.rows().host.begin(), gradient.rows().host.end());
  return held;
}

// The rows of `before` are among those of `after`.
void subtract_rows(Held& after, const Held& before, int64_t dim) {
  std::map<int32_t, size_t> place;
  for (size_t i = 0; i < before.rows.size(); ++i) place[before.rows[i]] = i;
  const auto width = static_cast<size_t>(dim);
  for (size_t i = 0; i < after.rows.size(); ++i) {
    const auto found = place.find(after.rows[i]);
    if (found == place.end()) continue;
    for (size_t c = 0; c < width; ++c) after.values[i * width + c] -= before.values[found->second * width + c];
  }
}

// What one backward function adds to the gradients of its inputs.
class Watch {
 public:
  Watch(std::span<const NodeInfo> infos, size_t i, StepNode& node, int64_t limit)
      : tensors_(distinct_inputs(infos, i)), node_(node), limit_(limit) {
    if (const Tensor gradient = infos[i].output.grad()) node.gradient = excerpt_of(gradient, limit);
    for (const Tensor& t : tensors_) before_.push_back(gradient_of(t));
  }

  void finish() {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      Held after = gradient_of(tensors_[i]);
      if (after.values.empty()) continue;
      const Held& before = before_[i];
      Shape shape = tensors_[i].shape();
      if (after.by_rows) {
        subtract_rows(after, before, shape.last());
        shape = shape.with(0, static_cast<int64_t>(after.rows.size()));
      } else {
        for (size_t e = 0; e < before.values.size(); ++e) after.values[e] -= before.values[e];
      }
      node_.inputs[i].added = excerpt_of(after.values, shape, limit_);
      node_.inputs[i].rows = std::move(after.rows);
    }
  }

 private:
  std::vector<Tensor> tensors_;
  StepNode& node_;
  int64_t limit_;
  std::vector<Held> before_;
};

void clear_gradients(const std::vector<NodeInfo>& nodes) {
  for (const NodeInfo& node : nodes)
    for (const Tensor& t : node.inputs) t.clear_grad();
}

}  // namespace

Excerpt excerpt_of(std::span<const double> values, const Shape& shape, int64_t limit) {
  Excerpt e;
  e.shape = shape;
  if (!values.empty()) {
    double sum = 0, squares = 0;
    e.least = e.most = values[0];
    for (const double v : values) {
      sum += v;
      squares += v * v;
      e.least = std::isnan(v) || v < e.least ? v : e.least;  // NaN stays
      e.most = std::isnan(v) || v > e.most ? v : e.most;
    }
    e.mean = sum / static_cast<double>(values.size());
    e.norm = std::sqrt(squares);
  }
  const int64_t columns = e.columns();
  for (int64_t r = 0; r < std::min(e.rows(), limit); ++r) {
    const auto row = values.subspan(static_cast<size_t>(r * columns), static_cast<size_t>(std::min(columns, limit)));
    e.corner.emplace_back(row.begin(), row.end());
  }
  return e;
}

Excerpt excerpt_of(const Tensor& tensor, int64_t limit) {
  return excerpt_of(tensor.to_vector(), tensor.shape(), limit);
}

std::vector<StepNode> record_step(const Context& context, const std::function<Tensor(Tape&)>& objective,
                                  int64_t limit) {
  Tape tape(context);
  tape.keep_values();
  const Tensor start = objective(tape);
  const std::vector<NodeInfo> infos = tape.nodes();
  std::vector<StepNode> nodes;
  std::vector<Operation> operations = operations_of(infos);
  for (size_t i = 0; i < infos.size(); ++i) {
    StepNode& node = nodes.emplace_back();
    node.operation = std::move(operations[i]);
    for (const Tensor& t : distinct_inputs(infos, i)) node.inputs.push_back({excerpt_of(t, limit)});
    node.value = excerpt_of(infos[i].output, limit);
  }

  clear_gradients(infos);
  std::optional<Watch> watch;
  tape.before_each([&](const Op&) {
    if (watch) watch->finish();
    const std::optional<size_t> i = node_about_to_run(tape);
    watch.emplace(infos, *i, nodes[*i], limit);
  });
  tape.backward(start);
  if (watch) watch->finish();
  clear_gradients(infos);
  return nodes;
}

}  // namespace crisp::inspect
