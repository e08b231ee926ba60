// Small synthetic checkpoints: 2 layers of 4, feed-forward 6, vocabulary 5, positions 3.
#pragma once

#include "tests/weights/support.h"
#include "weights/name_map.h"

namespace crisp::test {

struct SmallNames {
  std::string layer_prefix;
  std::vector<std::string> square, norm;  // parts of a layer
  std::string lin1, lin2;
};

inline const SmallNames distilbert_names{"transformer.layer.",
                                         {"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"},
                                         {"sa_layer_norm", "output_layer_norm"},
                                         "ffn.lin1",
                                         "ffn.lin2"};
inline const SmallNames bert_names{
    "encoder.layer.",
    {"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"},
    {"attention.output.LayerNorm", "output.LayerNorm"},
    "intermediate.dense",
    "output.dense"};

/// The encoder's tensors, with `prefix` before each name, in the same order for both architectures.
inline Shapes encoder(const std::string& prefix, const SmallNames& names) {
  Shapes all{{prefix + "embeddings.word_embeddings.weight", {5, 4}},
             {prefix + "embeddings.position_embeddings.weight", {3, 4}},
             {prefix + "embeddings.LayerNorm.weight", {4}},
             {prefix + "embeddings.LayerNorm.bias", {4}}};
  for (const char* number : {"0.", "1."}) {
    const std::string layer = prefix + names.layer_prefix + number;
    const auto linear = [&](const std::string& part, uint64_t out, uint64_t in) {
      all.push_back({layer + part + ".weight", {out, in}});
      all.push_back({layer + part + ".bias", {out}});
    };
    for (const std::string& part : names.square) linear(part, 4, 4);
    linear(names.lin1, 6, 4);
    linear(names.lin2, 4, 6);
    for (const std::string& part : names.norm) {
      all.push_back({layer + part + ".weight", {4}});
      all.push_back({layer + part + ".bias", {4}});
    }
  }
  return all;
}

inline Shapes head(uint64_t labels = 2) {
  return {{"pre_classifier.weight", {4, 4}},
          {"pre_classifier.bias", {4}},
          {"classifier.weight", {labels, 4}},
          {"classifier.bias", {labels}}};
}

inline Shapes operator+(Shapes a, const Shapes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// What a model of that size asks for.
inline std::vector<WantedTensor> wanted(bool with_head = true) {
  std::vector<WantedTensor> all;
  for (const auto& [name, shape] : encoder("distilbert.", distilbert_names)) all.push_back({name, shape, false});
  if (with_head) {
    for (const auto& [name, shape] : head()) all.push_back({name, shape, true});
  }
  return all;
}

inline std::vector<float> load(const SafetensorsFile& file, const LoadPlan& plan, const std::string& name) {
  const LoadPlan::Source& source = plan.sources.at(name);
  std::vector<float> out(source.tensor->numel());
  read_source(file, source, std::span<float>(out));
  return out;
}

}  // namespace crisp::test
