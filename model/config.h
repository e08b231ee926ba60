// The shape of a DistilBERT and the settings that travel with it, as in Hugging Face's config.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/input/interval.h"
#include "engine/dtype.h"
#include "model/sparsity.h"

namespace crisp {

// What settings may be, in options and in files.
constexpr Interval dropout_range{.low = 0, .high = 1, .open_high = true};
constexpr Interval layer_norm_epsilon_range{.low = 1e-15, .high = 1};
constexpr Interval initializer_range_range{.low = 0, .high = 1};

/// config.json's problem_type; transformers sets none before the first training.
enum class ProblemType : uint8_t { unset, single_label, multi_label, regression };
/// What turns logits into scores.
enum class HeadFunction : uint8_t { softmax, sigmoid, none };

/// Defaults are those of distilbert-base-uncased.
struct DistilBertConfig {
  int64_t vocab_size = 30522;
  int64_t max_positions = 512;
  int64_t dim = 768;
  int64_t hidden_dim = 3072;
  int64_t layers = 6;
  int64_t heads = 12;
  int64_t num_labels = 2;
  double dropout = 0.1;             // embeddings and feed-forward output
  double attention_dropout = 0.1;   // attention weights
  double classifier_dropout = 0.2;  // before the classifier
  double layer_norm_epsilon = 1e-12;
  double initializer_range = 0.02;
  std::vector<std::string> label_names;  // empty: LABEL_0, LABEL_1, ...
  ProblemType problem_type = ProblemType::unset;
  std::string other_head;   // of "architectures", where that is no sequence classifier's: "BertForTokenClassification"
  SparsityConfig sparsity;  // key "crisp" of config.json, which transformers ignores

  int64_t head_dim() const { return dim / heads; }
  std::string label_name(int64_t label) const;
  /// As transformers' text-classification pipeline takes it.
  HeadFunction head_function() const;
};

/// Reads the text of a config.json of model_type "distilbert" or "bert" (the encoder's keys map one to one). `where`
/// names the file in messages. Throws BadInput for anything that this model cannot reproduce: another model_type, an
/// activation other than exact gelu, sinusoidal or relative positions.
DistilBertConfig parse_config(const std::string& text, const std::string& where);

/// The text of a config.json that transformers loads as DistilBertForSequenceClassification; dtype is
/// that of the tensors beside it. Throws BadInput, as check_config() does, instead of writing what parse_config()
/// refuses.
std::string config_json(const DistilBertConfig& config, DType dtype = DType::f32);

/// Throws BadInput (naming `where`) when a number is out of its range, or they contradict each other, e.g. heads do not
/// divide dim.
void check_config(const DistilBertConfig& config, const std::string& where);

}  // namespace crisp
