// crisp-inspect grad: gradients of a model's answer, or of its loss, for one text.
#include "tools/inspect/grad.h"

#include <fmt/format.h>

#include "data/input/text.h"
#include "engine/fail.h"
#include "tools/inspect/commands.h"
#include "tools/inspect/output.h"
#include "tools/inspect/pass_options.h"
#include "tools/inspect/values_file.h"

namespace crisp::inspect {
namespace {

constexpr const char* token_group = "Of tokens";

void refuse_token_options(const CLI::App& app) {
  const std::string given = first_given(app, token_group);
  if (!given.empty()) fail<UsageError>("{} belongs to --of tokens", given);
}

int grad(const CLI::App& app, const GradOptions& o) {
  if (!o.output.empty() && is_npy("--output", o.output) && o.of.empty())
    fail<UsageError>("--output {}: a .npy holds one tensor; choose it by --of, or write a .safetensors",
                     printable(o.output));
  if (o.activations && !o.of.empty()) fail<UsageError>("give either --activations or --of, not both");
  if (o.of == "tokens") return show_attribution(o);
  refuse_token_options(app);
  return o.of.empty() ? show_gradients(o) : show_gradient_of(o);
}

}  // namespace

Command add_grad(CLI::App& program) {
  CLI::App* app = add_command(
      program, "grad", "Gradients of one text's loss or logit: by parameters, by activations, by tokens (attribution)");
  auto o = std::make_shared<GradOptions>();
  add_subject_options(*app, o->subject);
  add_objective_options(*app, o->subject);
  add_text(*app, "of", o->of, "one tensor, by (an end of) its name; or the text's tokens: what each contributes",
           "PARAMETER|ACTIVATION|tokens");
  add_flag(*app, "activations", o->activations, "all results of operations, in place of the parameters");
  add_integer(*app, "elements", o->elements, 0, 1000, "of one tensor: how many to show, the largest and the first");
  add_text(*app, "output", o->output, "write the numbers: one tensor to .npy, all that is shown to .safetensors",
           "FILE");
  add_number_type(*app, o->type);
  add_flag(*app, "json", o->json, "print one JSON object");

  using Word = GradOptions::BaselineWord;
  using Colour = GradOptions::Colour;
  const auto for_tokens = [](CLI::Option* option) { put_in_group(option, token_group); };
  for_tokens(add_choice<Word>(*app, "baseline", o->baseline,
                              {{"pad", Word::pad}, {"mask", Word::mask}, {"unk", Word::unk}, {"zero", Word::zero}},
                              "pad|mask|unk|zero", "what integrated gradients begin with, in the place of each token"));
  for_tokens(add_integer(*app, "steps", o->steps, 0, 1'000'000,
                         "points of their integral; 0: doubled from 8 to 1024, until they are complete to 1 %"));
  for_tokens(add_choice<Colour>(*app, "colour,color", o->colour,
                                {{"auto", Colour::automatic}, {"always", Colour::always}, {"never", Colour::never}},
                                "auto|always|never", "shade the text; auto: on a terminal, unless NO_COLOR is set"));
  for_tokens(add_text(*app, "html", o->html, "a page with the shaded text and all numbers", "FILE"));
  return {app, [app, o] { return grad(*app, *o); }};
}

}  // namespace crisp::inspect
