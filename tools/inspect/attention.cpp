// crisp-inspect attention: which keys each query of each head looks at.
#include <fmt/format.h>

#include "tools/inspect/commands.h"
#include "tools/inspect/subject.h"
#include "tools/text_table.h"

namespace crisp::inspect {
namespace {

int show_attention(const SubjectOptions& options) {
  const Subject subject(options, DType::f64);
  std::vector<Tensor> weights;
  ForwardMode mode = subject.mode();
  mode.weights = &weights;
  Tape tape(subject.context(), Tape::Mode::inference);
  subject.model().forward(tape, subject.batch(), mode);
  fmt::print("{} {}\n", weights.size(), weights[0].str());
  return 0;
}

}  // namespace

Command add_attention(CLI::App& program) {
  CLI::App* app = program.add_subcommand("attention", "Which keys each query of each head looks at");
  auto options = std::make_shared<SubjectOptions>();
  add_subject_options(*app, *options);
  return {app, [options] { return show_attention(*options); }};
}

}  // namespace crisp::inspect
