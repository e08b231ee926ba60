// One page for all heads of a text: small pictures, one head large, and the sentence shaded by what a token looks at.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tools/inspect/attention_view.h"
#include "tools/inspect/png.h"
#include "train/page/html.h"

namespace crisp::inspect {
namespace {

constexpr int64_t most_whole = 128;  // tokens of a text whose weights are all on the page
constexpr int64_t listed_keys = 16;  // else of each query
constexpr int64_t picture_size = 128;
constexpr uint32_t heat = 0x0b4f8a;  // --heat of the style sheet

constexpr uint8_t least_kept = 28;  // in pictures, so that a kept key of next to no weight differs from a dropped one

// In steps of the square root, so that small weights differ; 0 is a dropped key alone.
uint8_t shade(double weight) {
  return weight == 0 ? 0 : static_cast<uint8_t>(std::clamp(std::lround(255 * std::sqrt(weight)), 1L, 255L));
}

// The largest weight in each pixel's square of queries and keys.
std::string picture(const Head& head) {
  const int64_t size = std::min(head.tokens, picture_size);
  std::vector<uint8_t> alpha(static_cast<size_t>(size * size));
  for (int64_t q = 0; q < head.tokens; ++q)
    for (int64_t k = 0; k < head.tokens; ++k) {
      uint8_t& pixel = alpha[static_cast<size_t>(q * size / head.tokens * size + k * size / head.tokens)];
      if (head.at(q, k) != 0) pixel = std::max({pixel, shade(head.at(q, k)), least_kept});
    }
  const std::string png = shaded_png(size, size, alpha, heat);
  return "data:image/png;base64," + base64(std::span(reinterpret_cast<const uint8_t*>(png.data()), png.size()));
}

// What the script reads: of each head and query a shade for every key, or how many keys it keeps (16 bits) and its
// strongest ones (16 bits) with their shades.
std::string packed(const AttentionView& view, bool whole) {
  std::vector<uint8_t> bytes;
  const auto put16 = [&](int64_t value) {
    bytes.push_back(static_cast<uint8_t>(value & 0xFF));
    bytes.push_back(static_cast<uint8_t>(value >> 8));
  };
  for (const Head& head : view.all)
    for (int64_t q = 0; q < head.tokens; ++q) {
      if (whole) {
        for (int64_t k = 0; k < head.tokens; ++k) bytes.push_back(shade(head.at(q, k)));
        continue;
      }
      const std::vector<int64_t> keys = head.strongest(q);
      put16(std::ssize(keys));
      for (int64_t i = 0; i < listed_keys; ++i) {
        const bool is_there = i < std::ssize(keys);
        put16(is_there ? keys[static_cast<size_t>(i)] : 0);
        bytes.push_back(is_there ? shade(head.at(q, keys[static_cast<size_t>(i)])) : 0);
      }
    }
  return base64(bytes);
}

constexpr const char* style = R"css(
.heads { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .75rem; }
.head { margin: 0; padding: .3rem; border: 1px solid var(--line); border-radius: 6px; background: none; color: inherit; font: inherit; text-align: left; cursor: pointer; }
.head img { display: block; width: 100%; aspect-ratio: 1; image-rendering: pixelated; border: 1px solid var(--line); }
.head[aria-pressed="true"] { outline: 2px solid var(--accent); } .head:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.head small { display: block; color: var(--soft); font-size: .75rem; line-height: 1.35; }
#one + section h2 { margin-top: .5rem; border-top: 0; }
#one { position: sticky; top: 0; background: var(--page); z-index: 1; border-bottom: 1px solid var(--line); padding: .5rem 0; max-height: 45vh; overflow: auto; }
#tokens { line-height: 2; margin: .25rem 0; max-width: none; } #tokens button { font: inherit; color: inherit; border: 1px solid transparent; border-radius: 4px; padding: 0 .15rem; margin: 0 .05rem; cursor: pointer; background: none; }
#tokens button[aria-pressed="true"] { border-color: var(--lost); } #tokens button:focus-visible { outline: 2px solid var(--accent); } #said { min-height: 3em; }
@media screen and (prefers-color-scheme: dark) { .head img { filter: brightness(2.4) saturate(.8); } }
@media print { #one { display: none; } .heads { grid-template-columns: repeat(6, 1fr); } .head { break-inside: avoid; } }
)css";

constexpr const char* script = R"js(
const data = JSON.parse(document.getElementById("data").textContent);
const bytes = Uint8Array.from(atob(data.weights), c => c.charCodeAt(0));
const n = data.tokens.length, row = data.whole ? n : 2 + 3 * data.listed;
const heads = [...document.querySelectorAll(".head")], box = document.getElementById("tokens"), said = document.getElementById("said");
let head = 0, query = Math.min(1, n - 1);
function look(h, q) {
  const at = (h * n + q) * row, weights = new Float64Array(n);
  let kept = 0;
  if (data.whole) for (let k = 0; k < n; ++k) { weights[k] = (bytes[at + k] / 255) ** 2; kept += bytes[at + k] > 0; }
  else {
    kept = bytes[at] + 256 * bytes[at + 1];
    for (let i = 0; i < data.listed; ++i) {
      const p = at + 2 + 3 * i, k = bytes[p] + 256 * bytes[p + 1];
      if (bytes[p + 2] > 0) weights[k] = (bytes[p + 2] / 255) ** 2;
    }
  }
  return {weights, kept};
}
const buttons = data.tokens.map((token, i) => {
  const b = document.createElement("button");
  b.type = "button"; b.textContent = token; b.id = "token-" + i;
  b.addEventListener("click", () => { query = i; show(); });
  b.addEventListener("mouseenter", () => { query = i; show(); });
  b.addEventListener("focus", () => { query = i; show(); });
  box.append(b, " ");
  return b;
});
function show() {
  const {weights, kept} = look(head, query), l = Math.floor(head / data.heads), h = head % data.heads;
  const order = [...weights.keys()].filter(k => weights[k] > 0).sort((a, b) => weights[b] - weights[a] || a - b);
  buttons.forEach((b, k) => {
    b.style.background = weights[k] > 0 ? `color-mix(in srgb, var(--heat) ${Math.round(6 + 70 * Math.sqrt(weights[k]))}%, transparent)` : "";
    b.setAttribute("aria-pressed", k === query);
    b.title = data.tokens[query] + " → " + data.tokens[k] + ": " + (weights[k] > 0 ? weights[k].toFixed(3) : data.whole || kept <= data.listed ? "dropped" : "dropped, or not among its " + data.listed + " strongest keys");
  });
  heads.forEach((e, i) => e.setAttribute("aria-pressed", i === head));
  said.textContent = `Layer ${l}, head ${h}: query ${query} (${data.tokens[query]}) keeps ${kept} of ${n} keys: ` +
    order.slice(0, 6).map(k => `${data.tokens[k]} ${weights[k].toFixed(2)}`).join(", ") + (order.length > 6 ? ", …" : "");
}
heads.forEach((e, i) => e.addEventListener("click", () => { head = i; show(); }));
document.addEventListener("keydown", e => {
  const step = {ArrowLeft: -1, ArrowRight: 1}[e.key];
  if (step === undefined || e.altKey || e.ctrlKey || e.metaKey) return;
  query = (query + step + n) % n; show(); e.preventDefault();
});
document.getElementById("one").hidden = false;
show();
)js";

// The whole text is below, token by token.
std::string shortened(const std::string& text) {
  constexpr size_t most = 160;
  if (text.size() <= most) return text;
  size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // within a character
  return text.substr(0, end) + "…";
}

std::string number(double value, int decimals) { return page::fixed(value, decimals); }

}  // namespace

std::string attention_page(const AttentionView& view, const std::string& model) {
  const auto n = static_cast<int64_t>(view.pieces.size());
  const bool whole = n <= most_whole;
  std::string body =
      "<section id=\"one\" hidden=\"hidden\"><div id=\"tokens\" aria-label=\"The text: choose a query\"></div><p "
      "id=\"said\" "
      "class=\"small\" aria-live=\"polite\"></p></section>\n";
  page::Table table("Entropy of the weights in nats, mean over queries; its part of the largest possible; keys kept");
  table.header({"layer, head", "entropy", "of most", "kept", "of all pairs"});
  for (int64_t l = 0; l < view.layers; ++l) {
    std::string heads;
    for (int64_t h = 0; h < view.heads; ++h) {
      const Head& head = view.head(l, h);
      const double part = static_cast<double>(head.kept()) / static_cast<double>(n * n);
      heads += fmt::format(
          "<button type=\"button\" class=\"head\" id=\"head-{0}-{1}\" aria-pressed=\"false\"><img alt=\"Weights of "
          "layer {0}, "
          "head {1}: a row for each query\" src=\"{2}\"/><small>head {1}</small><small>entropy "
          "{3}{4}</small></button>\n",
          l, h, picture(head), number(head.entropy(), 2),
          part < 1 ? fmt::format("<br/>{} kept", page::percent(part, 0)) : "");
      table.row({fmt::format("{}, {}", l, h), number(head.entropy(), 3), number(head.normalised_entropy(), 3),
                 page::grouped(head.kept()), page::percent(part, 1)});
    }
    body += page::section(fmt::format("layer-{}", l), fmt::format("Layer {}", l),
                          "<div class=\"heads\">" + heads + "</div>\n");
  }
  body += page::section("numbers", "Entropy and kept keys", table.html());
  nlohmann::ordered_json data{{"tokens", nlohmann::ordered_json::array()},
                              {"heads", view.heads},
                              {"whole", whole},
                              {"listed", listed_keys},
                              {"weights", packed(view, whole)}};
  for (const std::string& piece : view.pieces) data["tokens"].push_back(piece);
  body += "<p id=\"data\" hidden=\"hidden\">" +
          page::escape(data.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace)) + "</p>\n";
  page::Document document{
      .title = "Attention",
      .lead = fmt::format("\u201C{}\u201D \u00B7 {}, attention {}", page::escape(shortened(view.text)),
                          page::escape(model), page::escape(view.sparsity)),
      .body = std::move(body),
      .footer = "",
      .style = style,
      .script = script};
  document.footer = fmt::format(
      "Weights of {} by the kernel that computes them, in f64; attention {}. A picture has a row for each query and a "
      "column "
      "for each key; its opacity is the square root of the weight{}, and at least a tenth where a key is kept. Choose "
      "a head and a token; the arrow keys go on "
      "to the "
      "next.{}",
      page::escape(model), page::escape(view.sparsity),
      n > picture_size ? ", the largest of those that share a point" : "",
      whole ? ""
            : fmt::format(" Of each query the {} strongest keys are here; --output has all weights.", listed_keys));
  return document.html();
}

std::string head_svg(const AttentionView& view, const Head& head) {
  const int64_t n = head.tokens;
  const double cell = n <= 40 ? 18 : 720.0 / static_cast<double>(n), label = n <= 80 ? 110 : 0, top = label + 30;
  const double side = cell * static_cast<double>(n);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "role=\"img\">\n<style>svg {{ --page: #fff; --text: #1b1f24; --line: #d8dee4; --heat: #0b4f8a; background: "
      "var(--page); }}"
      "\n@media (prefers-color-scheme: dark) {{ svg {{ --page: #0f1318; --text: #e6e9ed; --line: #323a44; --heat: "
      "#7cc7f5; }} }}\n"
      "text {{ font: {2:.1f}px system-ui, \"DejaVu Sans\", sans-serif; fill: var(--text); }} rect {{ fill: "
      "var(--heat); }} "
      ".frame {{ fill: none; stroke: var(--line); }}</style>\n<text x=\"4\" y=\"16\" style=\"font-size: 13px\">Layer "
      "{3}, head "
      "{4}, attention {5}; a row for each query</text>\n",
      std::max(label + side + 10, 440.0), top + side + 10, std::clamp(cell * 0.7, 6.0, 12.0), head.layer, head.head,
      page::escape(view.sparsity));
  for (int64_t i = 0; i < n; ++i) {
    const double middle = cell * (static_cast<double>(i) + 0.7);
    if (label > 0)
      svg += fmt::format(
          "<text x=\"{0:.1f}\" y=\"{1:.1f}\" text-anchor=\"end\">{2}</text><text transform=\"translate({3:.1f} "
          "{4:.1f}) rotate(-60)\">{2}</text>\n",
          label - 4, top + middle, page::escape(view.pieces[static_cast<size_t>(i)]), label + middle, top - 4);
    for (int64_t k = 0; k < n; ++k) {
      const double w = head.at(i, k);
      if (w == 0) continue;
      svg += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill-opacity=\"{:.3f}\">",
                         label + cell * static_cast<double>(k), top + cell * static_cast<double>(i), cell, cell,
                         std::max(least_kept / 255.0, std::sqrt(w)));
      if (n <= 80)
        svg += fmt::format("<title>{} → {}: {:.4f}</title>", page::escape(view.pieces[static_cast<size_t>(i)]),
                           page::escape(view.pieces[static_cast<size_t>(k)]), w);
      svg += "</rect>\n";
    }
  }
  return svg + fmt::format("<rect class=\"frame\" x=\"{0}\" y=\"{1}\" width=\"{2:.1f}\" height=\"{2:.1f}\"/>\n</svg>\n",
                           label, top, side);
}

}  // namespace crisp::inspect
