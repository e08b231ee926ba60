#include "weights/name_map.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>
#include <type_traits>
#include <utility>

#include "data/input/text.h"
#include "engine/fail.h"
#include "weights/safetensors_header.h"

namespace crisp {
namespace {

using NamePair = std::pair<std::string_view, std::string_view>;  // BERT's, DistilBERT's

constexpr std::array<NamePair, 8> layer_parts = {{
    {"attention.self.query.", "attention.q_lin."},
    {"attention.self.key.", "attention.k_lin."},
    {"attention.self.value.", "attention.v_lin."},
    {"attention.output.dense.", "attention.out_lin."},
    {"attention.output.LayerNorm.", "sa_layer_norm."},
    {"intermediate.dense.", "ffn.lin1."},
    {"output.dense.", "ffn.lin2."},
    {"output.LayerNorm.", "output_layer_norm."},
}};

constexpr std::string_view distilbert_layers = "transformer.layer.";
constexpr std::string_view bert_layers = "encoder.layer.";
constexpr std::string_view token_type_weight = "embeddings.token_type_embeddings.weight";
constexpr std::string_view position_weight = "distilbert.embeddings.position_embeddings.weight";

constexpr std::array<NamePair, 5> left_out_of_distilbert = {{
    {"embeddings.position_ids", "a constant table 0, 1, 2, ..."},
    {"vocab_transform.", "the masked-LM head"},
    {"vocab_layer_norm.", "the masked-LM head"},
    {"vocab_projector.", "the masked-LM head"},
    {"qa_outputs.", "a question-answering head"},
}};

constexpr std::array<NamePair, 5> left_out_of_bert = {{
    {"embeddings.position_ids", "a constant table 0, 1, 2, ..."},
    {"pooler.", "the pooler: DistilBERT has none"},
    {"cls.", "the masked-LM and next-sentence heads"},
    {"qa_outputs.", "a question-answering head"},
    {"classifier.", "BERT's classifier: it reads the pooler, which DistilBERT does not have"},
}};

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// "3.rest" -> 3 and "rest". Only the usual spelling of a number counts, so that no two names mean one layer.
std::optional<uint64_t> take_layer_number(std::string_view& text) {
  uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  const auto digits = static_cast<size_t>(end - text.data());
  if (error != std::errc{} || digits == text.size() || *end != '.' || (digits > 1 && text[0] == '0')) return {};
  text.remove_prefix(digits + 1);
  return n;
}

// TensorFlow's names of LayerNorm's two vectors, still found in old files.
std::string modern_layer_norm(std::string_view name) {
  for (const auto& [old, modern] : {NamePair{"gamma", "weight"}, NamePair{"beta", "bias"}}) {
    for (const std::string_view layer : {"LayerNorm.", "layer_norm."}) {
      if (name.ends_with(std::string(layer) + std::string(old))) {
        return std::string(name.substr(0, name.size() - old.size())) + std::string(modern);
      }
    }
  }
  return std::string(name);
}

TensorUse use_of(Architecture architecture, std::string_view name) {
  using Kind = TensorUse::Kind;
  const bool bert = architecture == Architecture::bert;
  const bool prefixed = take_prefix(name, bert ? "bert." : "distilbert.");
  const auto starts = [&](const NamePair& known) { return name.starts_with(known.first); };
  const std::span<const NamePair> known = bert ? std::span<const NamePair>(left_out_of_bert) : left_out_of_distilbert;
  if (const auto found = std::find_if(known.begin(), known.end(), starts); found != known.end()) {
    return {Kind::left_out, std::string(found->second)};
  }
  if (bert && name == token_type_weight) return {Kind::token_types};
  if (!bert && !prefixed && (name.starts_with("pre_classifier.") || name.starts_with("classifier."))) {
    return {Kind::parameter, std::string(name)};
  }
  const std::string modern = modern_layer_norm(name);
  if (modern.starts_with("embeddings.")) return {Kind::parameter, "distilbert." + modern};

  std::string_view rest = modern;
  if (!take_prefix(rest, bert ? bert_layers : distilbert_layers)) return {};
  const std::optional<uint64_t> layer = take_layer_number(rest);
  if (!layer) return {};
  std::string part(rest);
  if (bert) {
    const auto pair = std::find_if(layer_parts.begin(), layer_parts.end(),
                                   [&](const NamePair& p) { return rest.starts_with(p.first); });
    if (pair == layer_parts.end()) return {};
    part = std::string(pair->second) + std::string(rest.substr(pair->first.size()));
  }
  return {Kind::parameter, fmt::format("distilbert.{}{}.{}", distilbert_layers, *layer, part), layer};
}

Architecture architecture_of(const SafetensorsFile& file) {
  for (const TensorEntry& t : file.tensors()) {
    std::string_view name = t.name;
    if (!take_prefix(name, "distilbert.")) take_prefix(name, "bert.");
    if (name.starts_with(distilbert_layers)) return Architecture::distilbert;
    if (name.starts_with(bert_layers)) return Architecture::bert;
  }
  std::string some;
  for (const TensorEntry& t : file.tensors().first(std::min<size_t>(3, file.tensors().size()))) {
    some += (some.empty() ? "" : ", ") + quote(t.name);
  }
  fail<BadInput>("{}: holds no DistilBERT or BERT encoder (no tensor like {}0. or {}0.); it begins with {}",
                 file.path(), distilbert_layers, bert_layers, some.empty() ? "nothing: it has no tensors" : some);
}

// Every tensor of a file by what it means.
struct Inventory {
  Architecture architecture;
  std::map<std::string, const TensorEntry*> parameters;  // by the model's name
  const TensorEntry* token_types = nullptr;
  std::vector<LoadPlan::LeftOut> left_out;
  std::vector<std::string> unknown;
  std::set<uint64_t> layers;
};

Inventory take_inventory(const SafetensorsFile& file) {
  Inventory all{architecture_of(file), {}, nullptr, {}, {}, {}};
  const auto twice = [&](const TensorEntry& a, const TensorEntry& b) {
    fail<BadInput>("{}: tensors {} and {} are the same parameter", file.path(), quote(a.name), quote(b.name));
  };
  for (const TensorEntry& t : file.tensors()) {
    TensorUse use = use_of(all.architecture, t.name);
    switch (use.kind) {
      case TensorUse::Kind::parameter: {
        const auto [at, is_new] = all.parameters.emplace(std::move(use.text), &t);
        if (!is_new) twice(*at->second, t);
        if (use.layer) all.layers.insert(*use.layer);
        break;
      }
      case TensorUse::Kind::token_types:
        if (all.token_types != nullptr) twice(*all.token_types, t);
        all.token_types = &t;
        break;
      case TensorUse::Kind::left_out:
        all.left_out.push_back({t.name, std::move(use.text)});
        break;
      case TensorUse::Kind::foreign:
        all.unknown.push_back(t.name);
        break;
    }
  }
  return all;
}

// "bert.encoder.layer.0.attention.self.query.weight" for the model's name, so that a user finds it in the file.
std::string name_in_bert(std::string_view name) {
  take_prefix(name, "distilbert.");
  std::string_view rest = name;
  if (!take_prefix(rest, distilbert_layers)) return std::string(name);
  const size_t dot = rest.find('.');
  if (dot == std::string_view::npos) return std::string(name);
  const std::string_view number = rest.substr(0, dot);
  rest.remove_prefix(dot + 1);
  for (const auto& [bert, distilbert] : layer_parts) {
    if (rest.starts_with(distilbert)) {
      return fmt::format("{}{}.{}{}", bert_layers, number, bert, rest.substr(distilbert.size()));
    }
  }
  return std::string(name);
}

// The problems of a whole file, reported together.
class Problems {
 public:
  void missing(const WantedTensor& wanted, Architecture architecture) {
    const std::string also = architecture == Architecture::bert ? fmt::format(" ({})", name_in_bert(wanted.name)) : "";
    add("missing", fmt::format("{}{} {}", wanted.name, also, shape_string(wanted.shape)));
  }
  void missing(std::string_view name) { add("missing", std::string(name)); }
  void shape(const TensorEntry& found, const std::string& expected) {
    add("wrong shape",
        fmt::format("{}: expected {}, found {}", quote(found.name), expected, shape_string(found.shape)));
  }
  void dtype(const TensorEntry& found) {
    if (is_readable_float(found.dtype)) return;
    add("wrong dtype",
        fmt::format("{}: {}; only F64, F32, BF16 and F16 can be loaded", quote(found.name), name_of(found.dtype)));
  }
  void report(const std::string& path) const {
    if (lines_.empty()) return;
    std::string text;
    for (const std::string& line : lines_) text += "\n  " + line;
    fail<BadInput>("{}: does not fit the model; {} {}:{}", path, lines_.size(),
                   lines_.size() == 1 ? "tensor is at fault" : "tensors are at fault", text);
  }

 private:
  void add(std::string_view what, std::string line) { lines_.push_back(fmt::format("{}: {}", what, line)); }
  std::vector<std::string> lines_;
};

template <class T>
void read_source_as(const SafetensorsFile& file, const LoadPlan::Source& source, std::span<T> out) {
  file.read(*source.tensor, out);
  if (source.add_row0 == nullptr || out.empty()) return;
  std::vector<T> row(source.tensor->shape.back());
  file.read_part(*source.add_row0, 0, row);
  for (size_t i = 0; i < out.size(); ++i) out[i] += row[i % row.size()];
}

}  // namespace

std::string_view name_of(Architecture a) { return a == Architecture::bert ? "BERT" : "DistilBERT"; }

std::vector<TensorUse> tensor_uses(const SafetensorsFile& file) {
  const Architecture architecture = architecture_of(file);
  std::vector<TensorUse> uses;
  for (const TensorEntry& t : file.tensors()) uses.push_back(use_of(architecture, t.name));
  return uses;
}

EncoderDims infer_dims(const SafetensorsFile& file) {
  const Inventory all = take_inventory(file);
  Problems problems;
  const auto matrix = [&](const std::string& name) -> std::array<uint64_t, 2> {
    const auto found = all.parameters.find(name);
    if (found == all.parameters.end()) {
      problems.missing(all.architecture == Architecture::bert ? name_in_bert(name) : name);
      return {};
    }
    const TensorEntry& t = *found->second;
    if (t.shape.size() == 2 && t.shape[0] > 0 && t.shape[1] > 0) return {t.shape[0], t.shape[1]};
    problems.shape(t, "two dimensions, neither of them 0");
    return {};
  };
  EncoderDims dims;
  dims.architecture = all.architecture;
  dims.vocab_size = matrix("distilbert.embeddings.word_embeddings.weight")[0];
  dims.max_positions = matrix(std::string(position_weight))[0];
  const auto lin1 = matrix(fmt::format("distilbert.{}0.ffn.lin1.weight", distilbert_layers));
  dims.hidden_dim = lin1[0];
  dims.dim = lin1[1];
  if (all.parameters.contains("classifier.weight")) dims.num_labels = matrix("classifier.weight")[0];
  for (const auto& [name, tensor] : all.parameters) dims.f64 |= tensor->dtype == SafeDType::F64;
  problems.report(file.path());
  dims.n_layers = all.layers.size();
  // The set is sorted: with a hole, its last number is not its size - 1. A hostile number allocates nothing.
  if (*all.layers.rbegin() != dims.n_layers - 1) {
    fail<BadInput>("{}: has {} layers, but the last is number {}; they must be numbered from 0 without a hole",
                   file.path(), dims.n_layers, *all.layers.rbegin());
  }
  return dims;
}

LoadPlan plan_load(const SafetensorsFile& file, std::span<const WantedTensor> wanted) {
  Inventory all = take_inventory(file);
  LoadPlan plan;
  plan.architecture = all.architecture;
  plan.left_out = std::move(all.left_out);
  plan.unused = std::move(all.unknown);
  const bool has_head = std::any_of(wanted.begin(), wanted.end(),
                                    [&](const WantedTensor& w) { return w.head && all.parameters.contains(w.name); });

  Problems problems;
  for (const WantedTensor& w : wanted) {
    const auto found = all.parameters.find(w.name);
    if (found == all.parameters.end()) {
      if (w.head && !has_head) {
        plan.initialised_head.push_back(w.name);
      } else {
        problems.missing(w, all.architecture);
      }
      continue;
    }
    const TensorEntry& t = *found->second;
    all.parameters.erase(found);
    problems.dtype(t);
    if (t.shape != w.shape) problems.shape(t, shape_string(w.shape));
    LoadPlan::Source source{&t, nullptr};
    if (all.architecture == Architecture::bert && w.name == position_weight) {
      source.add_row0 = all.token_types;
      if (all.token_types == nullptr) {
        problems.missing(token_type_weight);
      } else {
        const TensorEntry& types = *all.token_types;
        problems.dtype(types);
        if (types.shape.size() != 2 || types.shape[0] == 0 || types.shape[1] != w.shape.back()) {
          problems.shape(types, fmt::format("[at least 1, {}]", w.shape.back()));
        }
      }
    }
    plan.sources.emplace(w.name, source);
  }
  problems.report(file.path());
  for (const auto& [name, tensor] : all.parameters) plan.unused.push_back(tensor->name);
  std::sort(plan.unused.begin(), plan.unused.end());
  return plan;
}

void read_source(const SafetensorsFile& file, const LoadPlan::Source& source, std::span<float> out) {
  read_source_as(file, source, out);
}

void read_source(const SafetensorsFile& file, const LoadPlan::Source& source, std::span<double> out) {
  read_source_as(file, source, out);
}

std::vector<std::string> load_notes(const LoadPlan& plan) {
  const auto join = [](const std::vector<std::string>& names, bool quoted) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + (quoted ? quote(name) : name);
    return text;
  };
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const auto& [name, reason] : plan.left_out) by_reason[reason].push_back(name);
  std::vector<std::string> lines;
  for (const auto& [reason, names] : by_reason)
    lines.push_back(fmt::format("left out ({}): {}", reason, join(names, true)));
  if (!plan.unused.empty()) lines.push_back("not used (unknown to this model): " + join(plan.unused, true));
  if (!plan.initialised_head.empty()) {
    lines.push_back("newly initialised: " + join(plan.initialised_head, false));
  }
  return lines;
}

}  // namespace crisp
