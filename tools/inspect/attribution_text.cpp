#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "data/input/parse_text.h"
#include "data/input/text.h"
#include "tools/inspect/attribution_output.h"
#include "tools/text_table.h"

namespace crisp::inspect {
namespace {

using nlohmann::ordered_json;

// Five shades of orange for what raises f, of blue for what lowers it, in the 256 colours of terminals; all light
// enough for black text.
constexpr std::array<int, 5> raising{230, 223, 216, 214, 208}, lowering{195, 153, 117, 75, 39};

std::string shaded(const std::string& text, double share) {
  const auto level = static_cast<int>(std::min(5.0, std::abs(share) * 6));
  if (level == 0) return text;
  const int colour = (share > 0 ? raising : lowering)[static_cast<size_t>(level - 1)];
  return fmt::format("\x1b[48;5;{}m\x1b[38;5;16m{}\x1b[0m", colour, text);
}

// "    --|      " and "      |++++  "
std::string bar(double share) {
  constexpr int most = 8;
  const auto length = static_cast<size_t>(std::min<double>(most, std::round(std::abs(share) * most)));
  const std::string none(most - length, ' '), empty(most, ' ');
  return share < 0 ? none + std::string(length, '-') + "|" + empty : empty + "|" + std::string(length, '+') + none;
}

std::string in_lines(const std::string& text, size_t width) {
  std::string lines;
  size_t column = 0;
  for (const std::string& word : split(text, ' ')) {
    const bool fits = column + 1 + word.size() <= width;
    if (column > 0) lines += fits ? ' ' : '\n';
    column = column > 0 && fits ? column + 1 + word.size() : word.size();
    lines += word;
  }
  return lines + "\n";
}

std::string number(double x) { return fmt::format("{:+.4g}", x); }

}  // namespace

std::vector<double> shares(const std::vector<double>& scores) {
  double largest = 0;
  for (const double s : scores) largest = std::max(largest, std::abs(s));
  std::vector<double> all;
  for (const double s : scores) all.push_back(largest > 0 ? s / largest : 0);
  return all;
}

std::vector<AttributedText::Word> AttributedText::split_words() const {
  std::vector<Word> words;
  for (size_t i = 0; i < pieces.size();) {
    size_t end = i + 1;
    while (end < pieces.size() && pieces[end].starts_with("##")) ++end;
    const size_t from = tokens[i].begin, to = tokens[end - 1].end;
    if (end - i > 1) words.push_back({i, end - i, to > from ? text.substr(from, to - from) : pieces[i]});
    i = end;
  }
  return words;
}

std::vector<AttributedText::Part> AttributedText::parts() const {
  std::vector<Part> parts;
  size_t shown = 0;  // bytes of the text
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto token = static_cast<int64_t>(i);
    const TokenSpan& t = tokens[i];
    if (t.begin == t.end || t.begin < shown) {  // of no text, or of one that is shown already
      if (i > 0) parts.push_back({" "});
      parts.push_back({pieces[i], token});
      continue;
    }
    if (i > 0 && (t.begin > shown || shown == 0))
      parts.push_back({shown == 0 ? " " : text.substr(shown, t.begin - shown)});
    parts.push_back({text.substr(t.begin, t.end - t.begin), token});
    shown = t.end;
  }
  return parts;
}

std::string AttributedText::baseline_text() const {
  std::vector<std::string> runs;
  for (size_t i = 0; i < baseline_pieces.size();) {
    size_t end = i + 1;
    while (end < baseline_pieces.size() && baseline_pieces[end] == baseline_pieces[i]) ++end;
    runs.push_back(end - i > 1 ? fmt::format("{} x {}", baseline_pieces[i], end - i) : baseline_pieces[i]);
    i = end;
  }
  return fmt::format("{}", fmt::join(runs, " "));
}

std::string AttributedText::completeness_text() const {
  const std::string error = fmt::format("{:.3g} % of the difference", 100 * attribution.error());
  const std::string wanted = fmt::format("{:g} %", 100 * attribution.tolerance);
  return attribution.reached() ? fmt::format("{} (at most {} wanted)", error, wanted)
                               : fmt::format("{}: {} not reached", error, wanted);
}

std::string AttributedText::jump_text() const {
  if (!may_jump || attribution.reached()) return "";
  return "on the way from the baseline, attention may change which keys it keeps; where it does, f jumps, and no "
         "gradient tells by how much: more points need not help";
}

std::string attribution_text(const AttributedText& a, bool coloured) {
  const Attribution& n = a.attribution;
  const std::vector<double> simple = n.by_token(n.gradient_x_input), integrated = n.by_token(n.integrated_gradients);
  const std::vector<double> share = shares(integrated);
  const Attribution::Trial& last = n.trials.back();
  std::string text = fmt::format("f = {}\nat {}\nattention {}\nbaseline: {}\n\n", a.objective, quote(a.text, 50),
                                 a.attention, printable(a.baseline_text()));
  text += fmt::format(
      "f(text)                    {:+.9g}\nf(baseline)                {:+.9g}\ndifference                 {:+.9g}\n"
      "integrated gradients' sum  {:+.9g}  with {} points\ncompleteness error         {}\n",
      n.value, n.baseline_value, n.difference(), last.sum, last.steps, a.completeness_text());
  if (const std::string why = a.jump_text(); !why.empty()) text += in_lines(why, 80);
  text += "\n";
  if (coloured) {
    for (const AttributedText::Part& part : a.parts()) {
      const std::string shown = printable(part.text);
      text += part.token < 0 ? shown : shaded(shown, share[static_cast<size_t>(part.token)]);
    }
    text += "\n" + shaded(" lowers f ", -1) + shaded("  ", -0.5) + "  " + shaded("  ", 0.5) + shaded(" raises f ", 1) +
            "  by integrated gradients\n\n";
  }
  TextTable table({{"token"},
                   {"", TextTable::Kind::flexible},
                   {"gradient x input"},
                   {"integrated gradients"},
                   {"- lowers f   + raises f", TextTable::Kind::text}});
  for (size_t i = 0; i < a.pieces.size(); ++i)
    table.row({std::to_string(i), a.pieces[i], number(simple[i]), number(integrated[i]), bar(share[i])});
  text += table.text();
  const std::vector<AttributedText::Word> words = a.split_words();
  if (words.empty()) return text;
  TextTable sums({{"word in pieces", TextTable::Kind::flexible},
                  {"tokens", TextTable::Kind::text},
                  {"gradient x input"},
                  {"integrated gradients"}});
  for (const AttributedText::Word& w : words) {
    double s = 0, g = 0;
    for (size_t i = w.first; i < w.first + w.count; ++i) s += simple[i], g += integrated[i];
    sums.row({w.text, fmt::format("{}-{}", w.first, w.first + w.count - 1), number(s), number(g)});
  }
  return text + "\n" + sums.text();
}

ordered_json attribution_json(const AttributedText& a) {
  const Attribution& n = a.attribution;
  const std::vector<double> simple = n.by_token(n.gradient_x_input), integrated = n.by_token(n.integrated_gradients);
  ordered_json json{
      {"objective", a.objective},           {"attention", a.attention},        {"value", n.value},
      {"baseline_value", n.baseline_value}, {"difference", n.difference()},    {"sum", n.trials.back().sum},
      {"steps", n.trials.back().steps},     {"completeness_error", n.error()}, {"reached", n.reached()},
      {"baseline", a.baseline_pieces}};
  json["trials"] = ordered_json::array();
  for (const Attribution::Trial& t : n.trials)
    json["trials"].push_back({{"steps", t.steps}, {"sum", t.sum}, {"completeness_error", n.error(t)}});
  json["tokens"] = ordered_json::array();
  for (size_t i = 0; i < a.pieces.size(); ++i)
    json["tokens"].push_back({{"piece", a.pieces[i]},
                              {"id", a.tokens[i].id},
                              {"begin", a.tokens[i].begin},
                              {"end", a.tokens[i].end},
                              {"gradient_x_input", simple[i]},
                              {"integrated_gradients", integrated[i]}});
  json["words"] = ordered_json::array();
  for (const AttributedText::Word& w : a.split_words()) {
    double s = 0, g = 0;
    for (size_t i = w.first; i < w.first + w.count; ++i) s += simple[i], g += integrated[i];
    json["words"].push_back({{"word", w.text},
                             {"first", w.first},
                             {"count", w.count},
                             {"gradient_x_input", s},
                             {"integrated_gradients", g}});
  }
  return json;
}

}  // namespace crisp::inspect
