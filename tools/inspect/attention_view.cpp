#include "tools/inspect/attention_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "data/input/text.h"
#include "tools/text_table.h"

namespace crisp::inspect {
namespace {

std::string percent_of(double weight) {
  if (weight == 0) return " .";
  return weight > 0.995 ? "**" : fmt::format("{:2.0f}", 100 * weight);
}

std::string cut(const std::string& piece, int width) {
  std::string text = printable(piece);
  while (display_width(text) > width) text.resize(text.size() - 1);
  while (find_invalid_utf8(text) != std::string::npos) text.resize(text.size() - 1);
  return text + std::string(static_cast<size_t>(width - display_width(text)), ' ');
}

}  // namespace

int64_t Head::kept(int64_t query) const {
  const auto row = weights.begin() + query * tokens;
  return tokens - std::count(row, row + tokens, 0.0);
}

int64_t Head::kept() const { return tokens * tokens - std::count(weights.begin(), weights.end(), 0.0); }

double Head::entropy() const {
  double sum = 0;
  for (const double w : weights)
    if (w != 0) sum -= w * std::log(w);  // NaN stays
  return sum / static_cast<double>(tokens);
}

double Head::normalised_entropy() const {
  double most = 0;
  for (int64_t q = 0; q < tokens; ++q) most += std::log(static_cast<double>(kept(q)));
  return most == 0 ? std::nan("") : entropy() * static_cast<double>(tokens) / most;
}

std::vector<int64_t> Head::strongest(int64_t query) const {
  std::vector<int64_t> keys;
  for (int64_t k = 0; k < tokens; ++k)
    if (at(query, k) != 0) keys.push_back(k);
  std::stable_sort(keys.begin(), keys.end(), [&](int64_t a, int64_t b) { return at(query, a) > at(query, b); });
  return keys;
}

AttentionView view_attention(const Subject& subject) {
  std::vector<Tensor> weights;
  Tape tape(subject.context(), Tape::Mode::inference);
  subject.logits(tape, &weights);
  const DistilBertConfig& config = subject.config();
  AttentionView view{.pieces = subject.pieces(),
                     .layers = config.layers,
                     .heads = config.heads,
                     .all = {},
                     .text = subject.text(),
                     .sparsity = config.sparsity.describe()};
  const auto n = static_cast<int64_t>(view.pieces.size());
  for (int64_t l = 0; l < view.layers; ++l) {
    const std::vector<double> values = weights[static_cast<size_t>(l)].to_vector();  // [tokens, heads, tokens]
    for (int64_t h = 0; h < view.heads; ++h) {
      Head head{l, h, n, {}};
      for (int64_t q = 0; q < n; ++q) {
        const auto row = values.begin() + (q * view.heads + h) * n;
        head.weights.insert(head.weights.end(), row, row + n);
      }
      view.all.push_back(std::move(head));
    }
  }
  return view;
}

std::string head_text(const AttentionView& view, const Head& head, int width) {
  constexpr int label = 12;
  const int64_t n = head.tokens;
  std::string text;
  if (label + 4 + 3 * n <= width) {
    text = "weights in %, a row for each query; . was dropped, ** is 100\n" + std::string(label + 4, ' ');
    for (int64_t k = 0; k < n; ++k) text += fmt::format("{:3}", k);
    text += '\n';
    for (int64_t q = 0; q < n; ++q) {
      text += fmt::format("{:3} {}", q, cut(view.pieces[static_cast<size_t>(q)], label));
      for (int64_t k = 0; k < n; ++k) text += ' ' + percent_of(head.at(q, k));
      text += '\n';
    }
    return text;
  }
  TextTable table({{"query"}, {"", TextTable::Kind::text}, {"keeps"}, {"strongest keys", TextTable::Kind::flexible}});
  for (int64_t q = 0; q < n; ++q) {
    const std::vector<int64_t> keys = head.strongest(q);
    std::string list;
    for (size_t i = 0; i < keys.size() && i < 4; ++i)
      list += fmt::format("{}{} {:.2f}", i > 0 ? ", " : "", printable(view.pieces[static_cast<size_t>(keys[i])]),
                          head.at(q, keys[i]));
    table.row({fmt::format("{}", q), view.pieces[static_cast<size_t>(q)], fmt::format("{}", keys.size()), list});
  }
  return table.text(width);
}

}  // namespace crisp::inspect
