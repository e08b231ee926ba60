// How an operation declares itself (engine/ops/*.cpp) and what its file needs: checks, samples, registration.
//
// An operation's file holds its shape rule, forward, what it saves, backward, FLOP count and sample inputs. Every
// operation is named in the list of engine/ops/list.cpp; the tests walk that list.
#pragma once

#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "engine/tape.h"
#include "engine/tensor.h"

namespace crisp {

/// One case for the tests: f64 inputs and a function of them. Every input that requires a gradient is checked against
/// central differences, element by element, to `tolerance` (relative).
struct Sample {
  std::string what;
  std::vector<Tensor> inputs;
  std::function<Tensor(Tape&, std::span<const Tensor>)> run;
  double tolerance = 1e-7;
};

struct Op {
  const char* name;
  std::vector<Sample> (*samples)();
};

/// Every operation with a gradient, in the order of engine/ops.h.
std::span<const Op* const> all_ops();

// --- sample inputs ------------------------------------------------------------------------------------------------

/// f64 normal numbers that require a gradient; `seed` tells inputs apart.
Tensor sample_input(const Shape& shape, uint64_t seed, double mean = 0, double deviation = 1);
/// i32 values, no gradient.
Tensor sample_ids(std::initializer_list<int32_t> ids);

// --- checks, each throwing an Error that names the operands ----------------------------------------------------------

/// An operand under the name that the message should use.
struct Operand {
  const char* role;
  const Tensor& tensor;
};

/// "linear: inner dimensions differ", the operands with shapes, dtypes, devices and names, and the place in the model.
[[noreturn]] void fail_operands(const Tape& tape, const Op& op, const std::string& problem,
                                std::initializer_list<Operand> operands);
/// All operands on one device and of one floating-point dtype (empty handles are ignored).
void check_same_type(const Tape& tape, const Op& op, std::initializer_list<Operand> operands);
/// ids is i32 and every value lies in [0, limit). Reads the values: they must be on the CPU or are copied there.
void check_ids(const Tape& tape, const Op& op, const Operand& ids, int64_t limit);

}  // namespace crisp
