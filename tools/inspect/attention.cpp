// crisp-inspect attention: which keys each query of each head looks at.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "data/input/parse_text.h"
#include "data/input/text.h"
#include "engine/fail.h"
#include "tools/inspect/attention_view.h"
#include "tools/inspect/commands.h"
#include "tools/inspect/output.h"
#include "tools/text_table.h"

namespace crisp::inspect {
namespace {

using nlohmann::ordered_json;

struct AttentionOptions {
  SubjectOptions subject;
  int64_t layer = -1, head = -1;
  std::string html, svg, output;
  bool json = false;
};

void print_table(const AttentionView& view, int64_t layer) {
  TextTable table({{"layer"},
                   {"head"},
                   {"entropy"},
                   {"of most"},
                   {"kept"},
                   {""},
                   {"strongest between words", TextTable::Kind::flexible}});
  for (const Head& head : view.all) {
    if (layer >= 0 && head.layer != layer) continue;
    int64_t query = 0, key = 0;
    double most = -1;
    for (int64_t q = 1; q + 1 < head.tokens; ++q)
      for (int64_t k = 1; k + 1 < head.tokens; ++k)
        if (head.at(q, k) > most) most = head.at(q, k), query = q, key = k;
    const double part = static_cast<double>(head.kept()) / static_cast<double>(head.tokens * head.tokens);
    const auto piece = [&](int64_t i) { return printable(view.pieces[static_cast<size_t>(i)]); };
    table.row({fmt::format("{}", head.layer), fmt::format("{}", head.head), fmt::format("{:.3f}", head.entropy()),
               std::isnan(head.normalised_entropy()) ? "-" : fmt::format("{:.3f}", head.normalised_entropy()),
               fmt::format("{}", head.kept()), fmt::format("{:.0f} %", 100 * part),
               most < 0 ? "-" : fmt::format("{:.2f} {} -> {}", most, piece(query), piece(key))});
  }
  fmt::print("{}", table.text());
}

ordered_json to_json(const AttentionView& view, const Head& head, bool weights) {
  ordered_json json{{"layer", head.layer}, {"head", head.head}, {"entropy", head.entropy()}};
  const double normalised = head.normalised_entropy();
  json["normalised_entropy"] = std::isnan(normalised) ? ordered_json(nullptr) : ordered_json(normalised);
  json["kept"] = head.kept();
  json["pairs"] = head.tokens * head.tokens;
  if (!weights) return json;
  json["weights"] = ordered_json::array();
  for (size_t q = 0; q < view.pieces.size(); ++q) {
    const auto row = head.weights.begin() + static_cast<std::ptrdiff_t>(q * view.pieces.size());
    json["weights"].push_back(std::vector<double>(row, row + static_cast<std::ptrdiff_t>(view.pieces.size())));
  }
  return json;
}

void save_weights(const AttentionView& view, const std::string& path) {
  const auto n = static_cast<int64_t>(view.pieces.size());
  std::vector<NamedTensor> tensors;
  for (int64_t l = 0; l < view.layers; ++l) {
    std::vector<double> values;
    for (int64_t h = 0; h < view.heads; ++h) {
      const std::vector<double>& of_head = view.head(l, h).weights;
      values.insert(values.end(), of_head.begin(), of_head.end());
    }
    tensors.push_back({fmt::format("layer.{}.attention", l), Tensor::from(values, {view.heads, n, n}, DType::f64)});
  }
  save_tensors(path, tensors);
  say_written(path);
}

void check_index(const char* option, int64_t value, int64_t count) {
  if (value >= count) fail<UsageError>("{} {}: the model has {} (0 to {})", option, value, count, count - 1);
}

int show_attention(const AttentionOptions& o) {
  const bool one = o.layer >= 0 && o.head >= 0;
  if (o.head >= 0 && o.layer < 0) fail<UsageError>("--head needs --layer");
  if (!o.svg.empty() && !one) fail<UsageError>("--svg draws one head: give --layer and --head");
  const Subject subject(o.subject, DType::f64);
  check_index("--layer", o.layer, subject.config().layers);
  check_index("--head", o.head, subject.config().heads);
  const AttentionView view = view_attention(subject);
  if (!o.html.empty()) write_output(o.html, attention_page(view, subject.loaded().source));
  if (!o.svg.empty()) write_output(o.svg, head_svg(view, view.head(o.layer, o.head)));
  if (!o.output.empty()) save_weights(view, o.output);
  if (o.json) {
    ordered_json json{{"text", view.text}, {"tokens", view.pieces}, {"sparsity", view.sparsity}};
    json["heads"] = ordered_json::array();
    for (const Head& head : view.all)
      if ((o.layer < 0 || head.layer == o.layer) && (o.head < 0 || head.head == o.head))
        json["heads"].push_back(to_json(view, head, one));
    print_json(json);
    return subject.exit_code();
  }
  fmt::print("{}\n{} tokens, {} layers of {} heads, attention {}\n\n", quote(view.text, 60), view.pieces.size(),
             view.layers, view.heads, view.sparsity);
  if (one) {
    const Head& head = view.head(o.layer, o.head);
    const int width = output_width();
    fmt::print("layer {}, head {}: entropy {:.4f} nats, {} of {} pairs kept\n{}", head.layer, head.head, head.entropy(),
               head.kept(), head.tokens * head.tokens, head_text(view, head, width > 0 ? width : 80));
  } else {
    print_table(view, o.layer);
  }
  return subject.exit_code();
}

}  // namespace

Command add_attention(CLI::App& program) {
  CLI::App* app = add_command(program, "attention", "Which keys each query of each head looks at, and what is dropped");
  auto o = std::make_shared<AttentionOptions>();
  add_subject_options(*app, o->subject);
  const auto add_index = [&](const char* name, int64_t& variable, const char* description) {
    const auto parse = [&variable](const std::string& text) -> std::string {
      const std::optional<int64_t> n = parse_number<int64_t>(text);
      if (!n || *n < 0) return "must be a whole number from 0 on, not '" + text + "'";
      variable = *n;
      return "";
    };
    add_parsed(*app, name, "N", "", parse, description);
  };
  add_index("layer", o->layer, "this layer alone");
  add_index("head", o->head, "with --layer: this head, its weights in full");
  add_text(*app, "html", o->html, "all heads as a page", "FILE");
  add_text(*app, "svg", o->svg, "with --layer and --head: that head as a picture", "FILE");
  add_text(*app, "output", o->output, "all weights, layer.L.attention [heads, tokens, tokens], as safetensors", "FILE");
  add_flag(*app, "json", o->json, "print one JSON object; with --layer and --head its weights, too");
  return {app, [o] { return show_attention(*o); }};
}

}  // namespace crisp::inspect
