// crisp-inspect grad: what its parts share.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "tools/inspect/subject.h"

namespace crisp::inspect {

struct GradOptions {
  SubjectOptions subject;
  std::string of, output;
  DType type = DType::f64;
  bool activations = false, json = false;
  int64_t elements = 8;
  // Of --of tokens.
  std::string html;
  enum class BaselineWord : uint8_t { pad, mask, unk, zero } baseline = BaselineWord::pad;
  enum class Colour : uint8_t { automatic, always, never } colour = Colour::automatic;
  int64_t steps = 0;
};

/// Norms of the gradients by all parameters, or by all results of operations.
int show_gradients(const GradOptions& options);
/// One of them, with its values.
int show_gradient_of(const GradOptions& options);
int show_attribution(const GradOptions& options);

}  // namespace crisp::inspect
