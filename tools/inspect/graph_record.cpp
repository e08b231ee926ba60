#include "tools/inspect/graph_record.h"

#include <algorithm>
#include <chrono>

#include "engine/backend.h"
#include "engine/fail.h"
#include "engine/op.h"

namespace crisp::inspect {
namespace {

using Objective = std::function<Tensor(Tape&)>;
using Clock = std::chrono::steady_clock;

constexpr size_t nowhere = SIZE_MAX;  // an operation that was recorded nowhere: nothing in it requires a gradient

// What the calls of a tape's hook belong to.
struct Structure {
  std::vector<NodeInfo> nodes;
  std::vector<size_t> forward, backward;  // of each call: the node
};

void clear_gradients(const std::vector<NodeInfo>& nodes) {
  for (const NodeInfo& node : nodes)
    for (const Tensor& t : node.inputs) t.clear_grad();
}

Structure structure_of(const Context& context, const Objective& objective, bool backward) {
  Structure s;
  Tape tape(context);
  tape.keep_values();
  std::vector<size_t> counts;  // of nodes before each call
  tape.before_each([&](const Op&) {
    if (tape.running_backward())
      s.backward.push_back(node_about_to_run(tape).value_or(nowhere));
    else
      counts.push_back(tape.nodes().size());
  });
  const Tensor loss = objective(tape);
  s.nodes = tape.nodes();
  counts.push_back(s.nodes.size());
  for (size_t i = 0; i + 1 < counts.size(); ++i) s.forward.push_back(counts[i + 1] > counts[i] ? counts[i] : nowhere);
  if (backward) tape.backward(loss);
  clear_gradients(s.nodes);
  return s;
}

std::vector<int64_t> kept_bytes(const Context& context, const Objective& objective, Device device) {
  Tape tape(context);
  objective(tape);
  return tape.release(device);
}

// Seconds of each node in each pass.
struct Times {
  std::vector<std::vector<double>> forward, backward;
};

void add_times(const std::vector<size_t>& calls, const std::vector<Clock::time_point>& moments,
               std::vector<std::vector<double>>& times) {
  if (moments.size() != calls.size() + 1) fail("the passes did not run the same operations");
  for (size_t i = 0; i < calls.size(); ++i)
    if (calls[i] != nowhere)
      times[calls[i]].push_back(std::chrono::duration<double>(moments[i + 1] - moments[i]).count());
}

Times measure(const Context& context, const Objective& objective, const GraphOptions& options, const Structure& s) {
  Times times{std::vector<std::vector<double>>(s.nodes.size()), std::vector<std::vector<double>>(s.nodes.size())};
  Tape tape(context);
  std::vector<Clock::time_point> moments;
  tape.before_each([&](const Op&) { moments.push_back(Clock::now()); });
  for (int64_t i = 0; i < options.repeats; ++i) {
    moments.clear();
    const Tensor loss = objective(tape);
    moments.push_back(Clock::now());
    add_times(s.forward, moments, times.forward);
    if (options.backward) {
      moments.clear();
      tape.backward(loss);
      moments.push_back(Clock::now());
      add_times(s.backward, moments, times.backward);
    }
    tape.clear();
    clear_gradients(s.nodes);
  }
  return times;
}

std::optional<double> median(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

void add(std::optional<double>& sum, const std::optional<double>& x) {
  if (x) sum = sum.value_or(0) + *x;
}

}  // namespace

Cost& Cost::operator+=(const Cost& other) {
  flops += other.flops;
  kept += other.kept;
  add(forward, other.forward);
  add(backward, other.backward);
  return *this;
}

Cost Graph::total() const {
  Cost sum;
  for (const GraphNode& node : nodes) sum += node.cost;
  return sum;
}

Graph record_graph(const Context& context, const Objective& objective, const GraphOptions& options) {
  const Structure s = structure_of(context, objective, options.backward);
  if (s.nodes.empty()) return {};
  const std::vector<int64_t> kept = kept_bytes(context, objective, s.nodes[0].output.device());
  if (kept.size() != s.nodes.size()) fail("the passes did not run the same operations");
  const Times times = measure(context, objective, options, s);
  Graph graph;
  graph.repeats = options.repeats;
  std::vector<Operation> operations = operations_of(s.nodes);
  for (size_t i = 0; i < operations.size(); ++i) {
    const double flops = operations[i].flops;
    graph.nodes.push_back(
        {std::move(operations[i]), {flops, kept[i], median(times.forward[i]), median(times.backward[i])}});
  }
  return graph;
}

}  // namespace crisp::inspect
