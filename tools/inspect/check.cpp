// crisp-inspect check: proves derivatives of a model, by its values.
#include <fmt/format.h>

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "data/input/text.h"
#include "engine/fail.h"
#include "engine/op_check.h"
#include "tools/inspect/commands.h"
#include "tools/inspect/curve.h"
#include "tools/inspect/output.h"
#include "tools/inspect/proof.h"
#include "tools/inspect/row_pairs.h"
#include "tools/text_table.h"
#include "train/durable/console.h"

namespace crisp::inspect {
namespace {

using nlohmann::ordered_json;

struct CheckOptions {
  SubjectOptions subject;
  std::vector<std::string> parameters;
  int64_t elements = 20, each = 0, directions = 1, draw = 1;
  double tolerance = 1e-6, largest = 0.25;
  bool kinks = false, operations = false, json = false;
  std::string svg;
};

std::vector<Line> lines_of(const CheckOptions& o, const Subject& subject) {
  const DistilBert& model = subject.model();
  const auto seed = static_cast<uint64_t>(o.draw);
  std::vector<Element> elements;
  std::vector<Line> lines;
  for (const std::string& text : o.parameters) {
    const Element element = find_element(model, text);
    if (element.index >= 0) {
      elements.push_back(element);
      continue;
    }
    const Parameter& p = find_parameter(model, text);
    for (Element& e : random_elements_of(subject, p, std::min(o.elements, p.tensor.numel()), seed))
      elements.push_back(std::move(e));
    lines.emplace_back("all of " + short_name(p.name), std::vector<Parameter>{p}, seed);
  }
  if (o.each > 0)
    for (const Parameter& p : model.parameters())
      for (Element& e : random_elements_of(subject, p, std::min(o.each, p.tensor.numel()), seed))
        elements.push_back(std::move(e));
  if (o.parameters.empty() && o.each == 0) elements = random_elements(subject, o.elements, seed);
  std::vector<Line> all;
  for (const Element& e : elements) all.emplace_back(e);
  for (Line& line : lines) all.push_back(std::move(line));
  if (o.parameters.empty())
    for (int64_t d = 0; d < o.directions; ++d)
      all.emplace_back(fmt::format("direction {}", d + 1), model.parameters(), seed + static_cast<uint64_t>(d));
  return all;
}

std::string verdict(const DerivativeProof& p, double tolerance) {
  if (!p.decided()) return "kink";  // too near for a step on this side of it
  if (!p.passes(tolerance)) return "WRONG";
  return p.proof.is_zero() ? "zero" : "ok";
}

std::string slope_text(const LineProof& proof) { return proof.slope ? fmt::format("{:.3f}", *proof.slope) : "-"; }

void print_crossings(const DerivativeProof& p, const Subject& subject) {
  for (const Crossing& c : p.crossings) {
    fmt::print("\n{} moved by {:+.10g}\n(within {:.1g}) crosses a kink:\n", printable(p.name), c.at, c.width);
    constexpr size_t shown = 8;
    for (size_t i = 0; i < c.flips.size() && i < shown; ++i)
      fmt::print("  {}\n", describe(c.flips[i], subject.pieces()));
    if (c.flips.size() > shown) fmt::print("  and {} more\n", c.flips.size() - shown);
    fmt::print("  value jumps by {:+.3g}; derivative {:.9g} before, {:.9g} behind\n", c.jump, c.before, c.after);
  }
}

void print_one(const DerivativeProof& p) {
  const LineProof& proof = p.proof;
  fmt::print("\n  backward pass  {:.15g}\n", proof.analytic);
  if (!p.decided()) {
    fmt::print("  differences    none: a kink is nearer than {:.1g}\n",
               proof.steps.empty() ? p.limit : proof.steps.back().step);
    return;
  }
  fmt::print("  differences    {:.15g}   (step {:.2g}, sure to {:.1g})\n", proof.numeric, proof.numeric_step,
             proof.resolution);
  fmt::print(
      "  relative error {:.2g}\n  slope of Taylor's remainder {}\n\n", proof.error,
      proof.slope ? fmt::format("{:.4f} (2: right, 1: wrong)", *proof.slope) : "not measurable: too straight here");
  TextTable table({{"step h"}, {"(f(h) - f(-h)) / 2h"}, {"error"}, {"remainder"}});
  for (size_t i = 0; i < proof.steps.size(); i += 2) {
    const LineStep& s = proof.steps[i];
    table.row({fmt::format("{:.2e}", s.step), fmt::format("{:.12g}", s.central), fmt::format("{:.1e}", s.error),
               fmt::format("{:.1e}", s.remainder)});
  }
  fmt::print("{}\n{}", table.text(), curve_text(proof));
}

ordered_json to_json(const DerivativeProof& p, const Subject& subject, double tolerance) {
  const LineProof& proof = p.proof;
  ordered_json json{{"name", p.name},
                    {"verdict", verdict(p, tolerance)},
                    {"analytic", proof.analytic},
                    {"numeric", proof.numeric},
                    {"step", proof.numeric_step},
                    {"resolution", proof.resolution},
                    {"error", proof.error},
                    {"slope", proof.slope ? ordered_json(*proof.slope) : ordered_json(nullptr)},
                    {"limit", std::isfinite(p.limit) ? ordered_json(p.limit) : ordered_json(nullptr)}};
  json["steps"] = ordered_json::array();
  for (const LineStep& s : proof.steps)
    json["steps"].push_back({{"step", s.step}, {"central", s.central}, {"error", s.error}, {"remainder", s.remainder}});
  json["crossings"] = ordered_json::array();
  for (const Crossing& c : p.crossings) {
    ordered_json flips = ordered_json::array();
    for (const Flip& f : c.flips)
      flips.push_back({{"layer", f.layer < 0 ? ordered_json(nullptr) : ordered_json(f.layer)},
                       {"head", f.head},
                       {"query", f.query},
                       {f.layer < 0 ? "unit" : "key", f.key},
                       {"on", f.on},
                       {"text", describe(f, subject.pieces())}});
    json["crossings"].push_back({{"at", c.at},
                                 {"width", c.width},
                                 {"jump", c.jump},
                                 {"derivative_before", c.before},
                                 {"derivative_after", c.after},
                                 {"flips", flips}});
  }
  return json;
}

// Which backward functions are wrong; all of them are looked at.
std::vector<OpCheck> wrong_operations(const Subject& subject, size_t& checked) {
  const std::vector<OpCheck> checks =
      check_operations([&](Tape& tape) { return subject.objective(tape); }, subject.context());
  checked = checks.size();
  std::vector<OpCheck> wrong;
  for (const OpCheck& check : checks)
    if (!check.passes(OpCheckOptions().tolerance)) wrong.push_back(check);
  return wrong;
}

int check(CheckOptions o) {
  const Subject subject(o.subject, DType::f64);
  if (const int code = subject.exit_code(); code != 0) return code;  // NaN has no derivatives
  std::vector<Line> lines = lines_of(o, subject);
  if (lines.empty()) fail<UsageError>("nothing is to be checked: --elements or --directions must be above 0");
  if (!o.svg.empty() && lines.size() != 1) fail<UsageError>("--svg draws one derivative: give one NAME[i,j]");
  std::vector<DerivativeProof> proofs;
  const bool progress = ::isatty(2) == 1 && lines.size() > 1;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (progress) write_message(2, fmt::format("\r{} of {} ", i + 1, lines.size()));
    // A kink that leaves no room is looked at in any case.
    proofs.push_back(prove(subject, lines[i], {.largest = o.largest, .crossings = o.kinks || lines.size() == 1}));
  }
  if (progress) write_message(2, "\r\x1b[K");
  size_t wrong = 0, undecided = 0, zero = 0, beside_kinks = 0, operations = 0;
  for (const DerivativeProof& p : proofs) {
    wrong += p.decided() && !p.passes(o.tolerance);
    undecided += !p.decided();
    zero += p.decided() && p.passes(o.tolerance) && p.proof.is_zero();
    beside_kinks += std::isfinite(p.limit);
  }
  const size_t proved = proofs.size() - wrong - undecided;
  std::vector<OpCheck> faults;
  if (wrong > 0 || o.operations) faults = wrong_operations(subject, operations);
  const int exit_code = wrong > 0 || proved == 0 || !faults.empty() ? 1 : 0;
  if (!o.svg.empty()) write_output(o.svg, curve_svg(proofs[0], subject.objective_name()));

  if (o.json) {
    ordered_json json{{"objective", subject.objective_name()}, {"value", proofs[0].proof.value}};
    json["proofs"] = ordered_json::array();
    for (const DerivativeProof& p : proofs) json["proofs"].push_back(to_json(p, subject, o.tolerance));
    json["operations_checked"] = operations;
    json["wrong_operations"] = ordered_json::array();
    for (const OpCheck& f : faults)
      json["wrong_operations"].push_back(
          {{"operation", f.op}, {"scope", f.scope}, {"input", f.input}, {"error", f.error}});
    print_json(json);
    return exit_code;
  }

  fmt::print("{}", headline(subject, proofs[0].proof.value));
  if (proofs.size() == 1) {
    fmt::print("\nd f / d {}: {}\n", printable(proofs[0].name), verdict(proofs[0], o.tolerance));
    print_one(proofs[0]);
  } else {
    RowPairs table({{"derivative by", TextTable::Kind::flexible}, {"", TextTable::Kind::text}},
                   {{"backward"}, {"differences"}, {"error"}, {"slope"}});
    for (const DerivativeProof& p : proofs) {
      const bool has_error = p.decided() && !p.proof.is_zero();
      table.row({p.name, verdict(p, o.tolerance)},
                {fmt::format("{:.4e}", p.proof.analytic),
                 p.decided() ? fmt::format("{:.4e}", p.proof.numeric) : std::string("-"),
                 has_error ? fmt::format("{:.0e}", p.proof.error) : std::string("-"), slope_text(p.proof)});
    }
    fmt::print("\n{}", table.text());
  }
  for (const DerivativeProof& p : proofs) print_crossings(p, subject);
  if (beside_kinks > 0 && !o.kinks && proofs.size() > 1)
    fmt::print("\nin {} of {} a step of {:g} crosses a kink (see --kinks); smaller ones count\n", beside_kinks,
               proofs.size(), o.largest);
  fmt::print("\n{} of {} proved to {:g}{}{}\n", proved, proofs.size(), o.tolerance,
             zero > 0 ? fmt::format(", {} of them 0 both ways", zero) : "",
             undecided > 0 ? fmt::format(", {} too near to a kink to tell", undecided) : "");
  for (const OpCheck& f : faults) fmt::print("wrong backward pass: {}\n", f.str());
  if (operations > 0 && faults.empty()) fmt::print("{} backward functions by themselves: all are right\n", operations);
  return exit_code;
}

}  // namespace

Command add_check(CLI::App& program) {
  CLI::App* app = add_command(program, "check", "Proves derivatives, of single weights and of directions, by values",
                              "Exit code 1: a derivative, or a backward function by itself, is wrong, or none could be "
                              "decided.");
  auto o = std::make_shared<CheckOptions>();
  add_subject_options(*app, o->subject);
  add_positional(
      *app, "PARAMETER", o->parameters,
      "NAME[i,j]: one derivative, with its curve over the step; NAME: some of a tensor. Default: some of all");
  add_objective_options(*app, o->subject);
  add_integer(*app, "elements", o->elements, 0, 1'000'000, "elements by chance, of all tensors or of the one named");
  add_integer(*app, "each", o->each, 0, 1'000'000, "instead: so many of each tensor");
  add_integer(*app, "directions", o->directions, 0, 1000, "directions by chance, through all parameters");
  add_integer(*app, "draw", o->draw, 0, INT64_MAX, "which elements and directions: the seed of chance");
  add_real(*app, "tolerance", o->tolerance, {.low = 0, .high = 1}, "relative error up to which a derivative is proved");
  add_real(*app, "largest-step", o->largest, {.low = 1e-6, .high = 16}, "the first step; each further one is half");
  add_flag(*app, "kinks", o->kinks, "show what changes at the nearest kink on either side, and both derivatives there");
  add_flag(*app, "operations", o->operations, "check every backward function by itself, too (done where one is wrong)");
  add_text(*app, "svg", o->svg, "draw the curve of one derivative", "FILE");
  add_flag(*app, "json", o->json, "print one JSON object");
  return {app, [o] { return check(*o); }};
}

}  // namespace crisp::inspect
