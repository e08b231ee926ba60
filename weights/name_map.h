// How the tensors of a Hugging Face checkpoint fill this project's DistilBERT: names, shapes, and what is left out.
//
// The names used here are those of transformers' DistilBertForSequenceClassification: `distilbert.embeddings.*`,
// `distilbert.transformer.layer.N.*`, and for the head `pre_classifier.*` and `classifier.*`. Accepted files:
// DistilBERT (base, masked-LM, classification; with or without the `distilbert.` prefix) and BERT encoders (with or
// without `bert.`), which compute the same function once the first token type's embedding is added to every position's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/safetensors.h"

namespace crisp {

enum class Architecture : uint8_t { distilbert, bert };
std::string_view name_of(Architecture a);

/// What the shapes in a file tell about the model. The number of heads is not among it (64 values a head is usual).
struct EncoderDims {
  Architecture architecture = Architecture::distilbert;
  uint64_t vocab_size = 0;
  uint64_t max_positions = 0;
  uint64_t dim = 0;
  uint64_t hidden_dim = 0;
  uint64_t n_layers = 0;
  uint64_t num_labels = 0;  // 0: the file has no head that this model can use
  bool f64 = false;         // some tensor of the model is of F64; others in the file do not count
};

/// Throws BadInput when the file holds no DistilBERT or BERT encoder, or its layers are not numbered 0, 1, 2, ...
EncoderDims infer_dims(const SafetensorsFile& file);

/// What one tensor of a file is, told by its name.
struct TensorUse {
  enum class Kind : uint8_t {
    parameter,    // of the model, if that has one of this name
    token_types,  // BERT's: the first row is added to every position
    left_out,
    foreign  // nothing that the model knows
  } kind = Kind::foreign;
  std::string text = {};               // the parameter's name in the model; or why it is left out
  std::optional<uint64_t> layer = {};  // of a parameter of a layer
};

/// Of each tensor, in the file's order. Throws BadInput when the file holds no DistilBERT or BERT encoder.
std::vector<TensorUse> tensor_uses(const SafetensorsFile& file);

/// A parameter of the model. `head`: of the classification head, which a file may lack as a whole.
struct WantedTensor {
  std::string name;
  std::vector<uint64_t> shape;
  bool head = false;
};

struct LoadPlan {
  struct Source {
    const TensorEntry* tensor = nullptr;
    const TensorEntry* add_row0 = nullptr;  // when set, its first row is added to every row of `tensor`
  };
  struct LeftOut {
    std::string name;  // in the file
    std::string reason;
  };
  Architecture architecture = Architecture::distilbert;
  std::map<std::string, Source> sources;      // by the model's name; entries point into the file object
  std::vector<std::string> initialised_head;  // wanted head tensors, all of them or none: the file has no head
  std::vector<LeftOut> left_out;              // known and deliberately not used
  std::vector<std::string> unused;            // in the file, but nothing that the model knows or wants
};

/// Plans the loading of `wanted` from `file`, which must outlive the plan. Throws one BadInput that lists every missing
/// tensor, every wrong shape (expected and found), every dtype that cannot be loaded, and a head present only in part.
LoadPlan plan_load(const SafetensorsFile& file, std::span<const WantedTensor> wanted);

/// Reads a parameter as planned; `out` holds all its elements. Throws BadInput as SafetensorsFile::read does.
void read_source(const SafetensorsFile& file, const LoadPlan::Source& source, std::span<float> out);
void read_source(const SafetensorsFile& file, const LoadPlan::Source& source, std::span<double> out);

/// Lines for the user: what was left out and why, what is unused, that the head is new. Empty when all was used.
std::vector<std::string> load_notes(const LoadPlan& plan);

}  // namespace crisp
