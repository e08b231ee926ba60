// The fixtures of tests/golden as a model, a batch and expected values. tests/golden/README.md says what they hold.
#pragma once

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "engine/fail.h"
#include "model/distilbert.h"
#include "tests/support/test_device.h"
#include "weights/safetensors.h"

namespace crisp::test {

/// |a - b| / |b| in the L2 norm; NaN where a is not finite.
inline double relative_l2(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) fail("{} values against {}", a.size(), b.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return difference == 0 ? 0 : std::sqrt(difference / size);
}

inline double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) fail("{} values against {}", a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    if (!(difference <= largest)) largest = difference;  // a NaN stays
  }
  return largest;
}

inline int32_t int32_at(std::span<const std::byte> bytes, size_t i) {
  int32_t value = 0;
  std::memcpy(&value, bytes.data() + 4 * i, 4);
  return value;
}

/// 0 .. n-1 in each sequence.
inline std::vector<int32_t> positions_of(const std::vector<int32_t>& offsets) {
  std::vector<int32_t> positions;
  for (size_t s = 0; s + 1 < offsets.size(); ++s)
    for (int32_t p = 0; p < offsets[s + 1] - offsets[s]; ++p) positions.push_back(p);
  return positions;
}

class Golden {
 public:
  /// `name`: "tiny", "heads64" or "ragged".
  explicit Golden(const std::string& name)
      : file_(SafetensorsFile::open(std::string(CRISP_SOURCE_DIR) + "/tests/golden/" + name + ".safetensors")) {
    config_.vocab_size = size("vocab_size");
    config_.max_positions = size("max_position_embeddings");
    config_.dim = size("dim");
    config_.hidden_dim = size("hidden_dim");
    config_.layers = size("n_layers");
    config_.heads = size("n_heads");
    config_.num_labels = size("num_labels");
    config_.layer_norm_epsilon = number("layer_norm_eps");
    config_.dropout = config_.attention_dropout = config_.classifier_dropout = 0;
  }

  double number(const std::string& key) const { return std::stod(file_.metadata().at(key)); }
  int64_t size(const std::string& key) const { return std::stoll(file_.metadata().at(key)); }

  const DistilBertConfig& config() const { return config_; }

  /// The model with the fixture's parameters; `run` is "f32", "f64", "row" or "head".
  DistilBert model(const std::string& run) const {
    DistilBertConfig config = config_;
    if (run == "row" || run == "head") {
      config.sparsity = parse_sparsity(file_.metadata().at("sparsity"), config.layers);
      config.sparsity.method = run == "row" ? SparseMethod::top_k : SparseMethod::percentile;
    }
    DistilBert model(config, run == "f32" ? DType::f32 : DType::f64, test_device());
    for (const Parameter& p : model.parameters())
      p.tensor.copy_from(Tensor::from(values(p.name), p.tensor.shape(), p.tensor.dtype()));
    return model;
  }

  Batch batch() const {
    const std::vector<int32_t> offsets = integers("input.offsets");
    return {integers("input.ids"), positions_of(offsets), offsets, {.device = test_device()}};
  }
  Tensor labels() const {
    const std::vector<int32_t> labels = integers("input.labels");
    return Tensor::from(labels, {std::ssize(labels)}).to(test_device());
  }

  std::vector<double> values(const std::string& name) const {
    const TensorEntry& e = entry(name);
    std::vector<double> out(e.numel());
    file_.read(e, out);
    return out;
  }

  /// The part of a "grad." or "after." tensor that the fixture stores: of a matrix every row_stride-th row.
  std::vector<double> stored_part(const Tensor& tensor) const {
    const std::vector<double> all = tensor.to_vector();
    if (tensor.rank() != 2) return all;
    std::vector<double> part;
    const int64_t cols = tensor.dim(1), stride = size("row_stride");
    for (int64_t r = 0; r < tensor.dim(0); r += stride)
      part.insert(part.end(), all.begin() + r * cols, all.begin() + (r + 1) * cols);
    return part;
  }

 private:
  const TensorEntry& entry(const std::string& name) const {
    const TensorEntry* found = file_.find(name);
    if (!found) fail("{} has no tensor {}", file_.path(), name);
    return *found;
  }
  std::vector<int32_t> integers(const std::string& name) const {
    const TensorEntry& e = entry(name);
    const auto bytes = file_.bytes(e);
    std::vector<int32_t> out(e.numel());
    for (size_t i = 0; i < out.size(); ++i) out[i] = int32_at(bytes, i);
    return out;
  }

  SafetensorsFile file_;
  DistilBertConfig config_;
};

/// The softmax ignores what a key bias adds to all scores of a row: its true gradient is zero.
inline bool is_key_bias(const std::string& name) { return name.ends_with("k_lin.bias"); }

/// Each fixture with each of its runs.
struct GoldenRun {
  const char *fixture, *run;
};
inline constexpr GoldenRun golden_runs[] = {{"tiny", "f32"},    {"tiny", "f64"},   {"heads64", "f32"},
                                            {"heads64", "f64"}, {"ragged", "f32"}, {"ragged", "f64"},
                                            {"ragged", "row"},  {"ragged", "head"}};

}  // namespace crisp::test
