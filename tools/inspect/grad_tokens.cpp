// crisp-inspect grad --of tokens: attribution.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "data/input/text.h"
#include "engine/fail.h"
#include "model/methods/method.h"
#include "tools/inspect/attribution_output.h"
#include "tools/inspect/grad.h"
#include "tools/inspect/output.h"
#include "tools/inspect/values_file.h"
#include "train/durable/console.h"

namespace crisp::inspect {
namespace {

using BaselineWord = GradOptions::BaselineWord;

// [CLS] and [SEP] stay: without them there is no text.
std::vector<int32_t> baseline_of(const Subject& subject, BaselineWord which) {
  const WordPiece& words = subject.tokenizer();
  const std::map<BaselineWord, int32_t> ids{{BaselineWord::pad, words.pad_id()},
                                            {BaselineWord::mask, words.mask_id()},
                                            {BaselineWord::unk, words.unk_id()},
                                            {BaselineWord::zero, AttributionInput::no_word}};
  const int32_t id = ids.at(which);
  if (id < 0 && which != BaselineWord::zero)
    fail<UsageError>("--baseline: the vocabulary has no such token; --baseline zero needs none");
  std::vector<int32_t> baseline;
  for (const TokenSpan& t : subject.tokens())
    baseline.push_back(t.id == words.cls_id() || t.id == words.sep_id() ? t.id : id);
  return baseline;
}

// Whether a layer keeps keys by its scores, or by the words' embeddings; positions, parses and chance stay the same
// along the path, and other normalisers are continuous.
bool chooses_by_embeddings(const Subject& subject) {
  const SparsityConfig& c = subject.config().sparsity;
  return about(c.method).chooses_by_embeddings() && c.applies_somewhere(subject.mode().training);
}

bool coloured(GradOptions::Colour colour) {
  if (colour != GradOptions::Colour::automatic) return colour == GradOptions::Colour::always;
  const char* refused = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (!refused || !*refused);
}

void write_tensors(const GradOptions& o, const Subject& subject, const Attribution& a) {
  const Shape shape{a.tokens, a.dim};
  if (is_npy("--output", o.output)) {
    const NamedValues one{"integrated_gradients", shape, a.integrated_gradients};
    return write_values(o.output, {&one, 1}, subject.model().dtype());
  }
  const std::vector<NamedValues> all{{"embeddings", shape, a.embeddings},
                                     {"baseline", shape, a.baseline},
                                     {"gradient", shape, a.gradient},
                                     {"gradient_x_input", shape, a.gradient_x_input},
                                     {"integrated_gradients", shape, a.integrated_gradients}};
  write_values(o.output, all, subject.model().dtype());
}

}  // namespace

int show_attribution(const GradOptions& o) {
  SubjectOptions of = o.subject;
  of.logit_by_default = true;
  const Subject subject(of, o.type);
  AttributionInput input{{}, baseline_of(subject, o.baseline), subject.batch().tree_distances()};
  for (const TokenSpan& t : subject.tokens()) input.ids.push_back(t.id);
  AttributionOptions options{.steps = o.steps, .mode = subject.mode()};
  const bool progress = ::isatty(STDERR_FILENO) == 1;
  if (progress)
    options.progress = [](int64_t done, int64_t steps) {
      write_message(STDERR_FILENO, fmt::format("\r{} of {} points ", done, steps));
    };
  AttributedText a{.text = subject.text(),
                   .tokens = subject.tokens(),
                   .pieces = subject.pieces(),
                   .objective = subject.objective_name(),
                   .attention = subject.config().sparsity.describe(),
                   .model = printable(subject.loaded().source),
                   .may_jump = chooses_by_embeddings(subject)};
  if (of.label.empty() && !of.logit) a.objective += ", the predicted one";
  for (const int32_t id : input.baseline)
    a.baseline_pieces.push_back(id == AttributionInput::no_word ? "0" : subject.tokenizer().token(id));
  try {
    a.attribution = attribute(subject.context(), subject.model(), input, subject.objective_of_logits(), options);
  } catch (const Diverged& e) {
    const std::string why = describe_broken_weights(subject.loaded());
    fail<Diverged>("{}{}{}", e.what(), why.empty() ? "" : "; ", why);
  }
  if (progress) write_message(STDERR_FILENO, "\r\x1b[K");
  if (!o.output.empty()) write_tensors(o, subject, a.attribution);
  if (!o.html.empty()) write_output(o.html, attribution_page(a));
  if (o.json) {
    print_json(attribution_json(a));
    return 0;
  }
  fmt::print("{}", attribution_text(a, coloured(o.colour)));
  return 0;
}

}  // namespace crisp::inspect
