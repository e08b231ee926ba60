#include "tools/inspect/pass_options.h"

namespace crisp::inspect {

void add_number_type(CLI::App& app, DType& type) {
  add_choice<DType>(app, "precision", type, {{"f32", DType::f32}, {"f64", DType::f64}}, "f32|f64", "of all numbers");
}

GraphTitle title_of(const SubjectOptions& options, const Subject& subject, DType type) {
  return {.objective = subject.objective_name(),
          .text = subject.text(),
          .model = model_or_weights(options.model, options.weights),
          .attention = subject.config().sparsity.describe(),
          .precision = std::string(name_of(type)),
          .tokens = subject.pieces(),
          .threads = subject.context().threads()};
}

}  // namespace crisp::inspect
