// A tape's nodes as people read them: what was done, where in the model, to what.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/tape.h"

namespace crisp::inspect {

/// What an operation was given: the result of an earlier one, or a leaf.
struct OperationInput {
  std::optional<size_t> made_by;  // the operation; none for a leaf
  std::string name;               // of a leaf: its own name, "" without
  Shape shape;
  bool trained = false;  // a leaf that requires a gradient: a parameter
};

struct Operation {
  std::string name;                    // "linear"
  std::vector<std::string> scope;      // from the outermost: "DistilBert", "layer.0", "ffn"; empty outside of all
  std::vector<OperationInput> inputs;  // each tensor once; results of others first
  Shape output;
  double flops = 0;  // of the forward pass
};

/// Of the nodes of a tape that keeps values.
std::vector<Operation> operations_of(std::span<const NodeInfo> nodes);
/// The tensors that node i was given: those of Operation::inputs.
std::vector<Tensor> distinct_inputs(std::span<const NodeInfo> nodes, size_t i);

/// Which node's backward function is about to run, for a hook of Tape::before_each(); none when all have.
std::optional<size_t> node_about_to_run(const Tape& tape);

/// "12x768"; "1" for a scalar.
std::string shape_text(const Shape& shape);
/// "DistilBert > layer.0 > ffn", or "objective" outside of all.
std::string scope_text(const Operation& operation);
/// The same as a name to ask for, with the operation: "layer.0.ffn.feed_forward". The model itself, "DistilBert", is
/// left out.
std::string dotted_name(const Operation& operation);
std::string dotted_name(const NodeInfo& node);
/// A parameter's last two parts, which tell it from the others of its layer: "q_lin.weight".
std::string last_words(const std::string& parameter);

/// What an operation computes, and its gradients, in a line each; ' is the transpose, * goes element by element.
struct Formula {
  const char *forward, *backward;
};
/// Empty lines for an operation that is not in the engine's list.
Formula formula_of(const std::string& operation);

}  // namespace crisp::inspect
