#include <fmt/format.h>

#include <algorithm>

#include "tools/inspect/attribution_output.h"
#include "train/page/html.h"

namespace crisp::inspect {
namespace {

using page::escape;

// Orange and blue of Okabe & Ito's palette, light below dark text and dark below light text; on a page in greys the
// lines below tokens still differ.
constexpr const char* style = R"css(
:root { --up: 230 159 0; --down: 86 180 233; --ink: 27 31 36; }
@media screen and (prefers-color-scheme: dark) { :root { --up: 158 82 0; --down: 0 104 173; --ink: 230 233 237; } }
.sentence { font-size: 1.2rem; line-height: 2.3; max-width: none; white-space: pre-wrap; overflow-wrap: anywhere; margin: .25rem 0 .5rem; }
.token { padding: .2em .03em; margin: 0 .5px; border-radius: 3px; border-bottom: 3px solid transparent; }
.up { background: rgb(var(--up) / var(--a)); border-bottom-color: rgb(var(--up) / var(--a)); }
.down { background: rgb(var(--down) / var(--a)); border-bottom-color: rgb(var(--ink) / calc(var(--a) * .55)); border-bottom-style: dotted; }
.special { font-size: .8em; }
.key { flex-wrap: wrap; } .key .swatches { display: inline-flex; } .key .token { width: 1.1rem; height: 1rem; margin: 0; border-radius: 0; padding: 0; }
.balance { display: block; position: relative; width: 9rem; height: 1.1em; margin: .2em 0; background: linear-gradient(var(--line), var(--line)) 50% 0 / 1px 100% no-repeat; }
.balance span { position: absolute; top: .15em; bottom: .15em; --a: 1; border: 0; } .sides { display: block; text-align: center; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .75rem 0; max-width: 46rem; font-variant-numeric: tabular-nums; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { .key { column-gap: .35rem; } .key .token { width: .5rem; } .sentence { font-size: 1.05rem; } .balance { width: 4rem; } .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: .4rem; } }
)css";

// Four digits of the largest.
int decimals_for(const std::vector<double>& values) {
  double largest = 0;
  for (const double v : values) largest = std::max(largest, std::abs(v));
  return largest > 0 ? std::clamp(3 - static_cast<int>(std::floor(std::log10(largest))), 0, 12) : 0;
}

struct Scores {
  const AttributedText& a;
  std::vector<double> integrated, simple;
  int decimals;

  explicit Scores(const AttributedText& of)
      : a(of),
        integrated(of.attribution.by_token(of.attribution.integrated_gradients)),
        simple(of.attribution.by_token(of.attribution.gradient_x_input)),
        decimals(std::max(decimals_for(integrated), decimals_for(simple))) {}
  std::string text(double value) const { return page::with_sign(value, decimals); }
};

std::string shaded(const std::string& html, double share, const std::string& more = "") {
  return fmt::format("<span class=\"token {}\" style=\"--a:{:.2f}\"{}>{}</span>", share < 0 ? "down" : "up",
                     std::abs(share), more, html);
}

std::string sentence(const Scores& scores, const std::vector<double>& of) {
  const std::vector<double> share = shares(of);
  std::string html = "<p class=\"sentence\">";
  for (const AttributedText::Part& part : scores.a.parts()) {
    if (part.token < 0) {
      html += escape(part.text);
      continue;
    }
    const auto i = static_cast<size_t>(part.token);
    const TokenSpan& token = scores.a.tokens[i];
    const std::string about =
        fmt::format(" title=\"{}: integrated gradients {}, gradient × input {}\"", escape(scores.a.pieces[i]),
                    scores.text(scores.integrated[i]), scores.text(scores.simple[i]));
    const std::string text = escape(part.text);
    html += shaded(token.begin == token.end ? "<span class=\"special\">" + text + "</span>" : text, share[i], about);
  }
  return html + "</p>\n";
}

std::string key(const std::vector<double>& of, int decimals) {
  double largest = 0;
  for (const double s : of) largest = std::max(largest, std::abs(s));
  std::string swatches;
  for (int i = -5; i <= 5; ++i) swatches += shaded("", i / 5.0);
  return fmt::format(
      "<p class=\"key\"><span>lowers <i>f</i></span> {} <span class=\"swatches\" aria-hidden=\"true\">{}</span> {} "
      "<span>raises <i>f</i></span></p>\n",
      page::with_sign(-largest, decimals), swatches, page::with_sign(largest, decimals));
}

std::string balance(double share) {
  const double width = 50 * std::abs(share);
  return fmt::format("<span class=\"balance\"><span class=\"{}\" style=\"left:{:.1f}%;width:{:.1f}%\"></span></span>",
                     share < 0 ? "down" : "up", share < 0 ? 50 - width : 50, width);
}

std::string token_table(const Scores& scores) {
  const std::vector<double> share = shares(scores.integrated);
  page::Table table("Each token, in the order of the text");
  table.header(
      {"Token", "Place", "Integrated gradients", "<span class=\"sides\">lowers | raises</span>", "Gradient × input"});
  for (size_t i = 0; i < scores.a.pieces.size(); ++i)
    table.row({escape(scores.a.pieces[i]), std::to_string(i), scores.text(scores.integrated[i]), balance(share[i]),
               scores.text(scores.simple[i])});
  return table.html();
}

std::string word_table(const Scores& scores) {
  page::Table table("Words in several pieces, and the sums over them");
  table.header({"Word", "Places", "Integrated gradients", "Gradient × input"});
  for (const AttributedText::Word& w : scores.a.split_words()) {
    double s = 0, g = 0;
    for (size_t i = w.first; i < w.first + w.count; ++i) s += scores.simple[i], g += scores.integrated[i];
    table.row({escape(w.text), fmt::format("{}–{}", w.first, w.first + w.count - 1), scores.text(g), scores.text(s)});
  }
  return table.empty() ? "" : table.html();
}

std::string facts(const Scores& scores) {
  const AttributedText& a = scores.a;
  const Attribution& n = a.attribution;
  std::string html = "<dl class=\"facts\">";
  const auto fact = [&](const char* name, const std::string& value) {
    html += fmt::format("<dt>{}</dt><dd>{}</dd>\n", name, value);
  };
  fact("Baseline", escape(a.baseline_text()));
  fact("<i>f</i> of the text", scores.text(n.value));
  fact("<i>f</i> of the baseline", scores.text(n.baseline_value));
  fact("Their difference", scores.text(n.difference()));
  fact("Sum of integrated gradients",
       scores.text(n.trials.back().sum) + " with " + page::counted(n.trials.back().steps, "point", "points"));
  fact("Completeness error", page::keep_percent_signs(escape(a.completeness_text())));
  return html + "</dl>\n";
}

std::string trials(const Scores& scores) {
  const Attribution& n = scores.a.attribution;
  page::Table table("The error as points are doubled");
  table.header({"Points", "Sum", "Completeness error"});
  for (const Attribution::Trial& t : n.trials)
    table.row({page::grouped(t.steps), scores.text(t.sum),
               page::keep_percent_signs(fmt::format("{:.3g} %", 100 * n.error(t)))});
  return table.html();
}

}  // namespace

std::string attribution_page(const AttributedText& a) {
  const Scores scores(a);
  page::Document document{.title = "What each token contributes",
                          .lead = "<i>f</i> is " + escape(a.objective) + ". Model " + escape(a.model) + ", attention " +
                                  escape(a.attention) + "."};
  document.style = style;
  document.body =
      page::section("integrated", "Integrated gradients",
                    sentence(scores, scores.integrated) + key(scores.integrated, scores.decimals) + facts(scores)) +
      page::section("simple", "Gradient × input",
                    sentence(scores, scores.simple) + key(scores.simple, scores.decimals)) +
      page::section("numbers", "Numbers", token_table(scores) + word_table(scores)) +
      page::section(
          "exactness", "How exact they are",
          page::paragraph("Integrated gradients add up what <i>f</i> gains while every word embedding moves on a "
                          "straight line from the baseline’s to its own, so that their sum is the difference of the "
                          "two values of <i>f</i>. The integral is computed from some points of that line; how far "
                          "the sum is from the difference is the completeness error.") +
              (a.jump_text().empty() ? "" : page::paragraph("Here " + escape(a.jump_text()) + ".")) + trials(scores));
  document.footer =
      "Integrated gradients: Sundararajan, Taly and Yan, arXiv 1703.01365, with Gauss and Legendre’s quadrature. Both "
      "kinds are sums over the elements of a token’s word embedding, before its position is added; each is shaded in "
      "proportion to its largest magnitude.";
  return document.html();
}

}  // namespace crisp::inspect
