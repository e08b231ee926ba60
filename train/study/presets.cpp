// The studies that crisp-study knows by name, as study files.
#include <utility>

#include "engine/fail.h"
#include "train/study/study.h"

namespace crisp {
namespace {

constexpr const char* crisp_preset = R"({
  // The four configurations of "Crisp Attention" (arXiv 2508.06016). The per-layer sparsities are ours: model/README.md.
  "name": "crisp",
  "description": "Crisp Attention's four configurations: dense, uniform, light and aggressive sparsity",
  "baseline": "dense",
  "seeds": 4,
  "arms": [
    {"name": "dense", "options": {"sparsity": "dense"}},
    {"name": "uniform", "options": {"sparsity": "uniform"}},
    {"name": "light", "options": {"sparsity": "light"}},
    {"name": "aggressive", "options": {"sparsity": "aggressive"}}
  ]
}
)";

// {topk, neighbour, random, lexical, syntax} x {all, early, late, all-0.4}.
std::string method_arms(bool with_parses) {
  std::vector<std::pair<const char*, const char*>> methods{
      {"topk", "top-k"}, {"neighbour", "neighbour"}, {"random", "random-k"}, {"lexical", "lexical"}};
  if (with_parses) methods.push_back({"syntax", "syntax"});
  std::string arms;
  struct Layers {
    const char *name, *layers;
    double sparsity;
  };
  for (const auto& [name, method] : methods)
    for (const Layers& where : {Layers{"all", "all", 0.8}, Layers{"early", "early", 0.8}, Layers{"late", "late", 0.8},
                                Layers{"all-0.4", "all", 0.4}})
      arms += fmt::format(
          "    {{\"name\": \"{}-{}\", \"options\": {{\"sparse-method\": \"{}\", \"sparsity\": {}, "
          "\"sparse-layers\": \"{}\"}}}},\n",
          name, where.name, method, where.sparsity, where.layers);
  return arms;
}

constexpr const char* breaking_bert_head = R"({
  // After "Breaking BERT" (arXiv 2210.03841): what decides which keys are kept, and in which layers.
  "name": "breaking-bert",
  "description": "Fixed and content-based masks in all, early and late layers; mixes of neighbour, random and global keys; learned degrees",
  "baseline": "dense",
  "seeds": 3,
  "arms": [
    {"name": "dense", "options": {"sparsity": "dense"}},

    // In a sparse layer every row keeps the same number of keys, whatever chooses them. With an even number of layers,
    // early and late are half of them: at 0.8 there, the whole model removes about as much as all-0.4 does, and half of
    // what all does. With an odd number the middle layer is in neither, and it removes less.
)";

constexpr const char* breaking_bert_tail = R"(
    // Six keys a row: neighbours (the token itself included), random ones, global ones. The rows of global tokens see
    // all keys, so mixes with global ones remove less: on short sentences 0.45 of the keys (0-3-3), 0.46 (3-0-3) and
    // 0.49 (2-2-2), without global ones 0.56. Compare them by effective sparsity.
    {"name": "degrees-6-0-0", "description": "six keys a row; compare by effective sparsity",
     "options": {"sparse-method": "bigbird", "bigbird": "6,0,0"}},
    {"name": "degrees-0-3-3", "description": "six keys a row, all keys in global tokens' rows; compare by effective sparsity",
     "options": {"sparse-method": "bigbird", "bigbird": "0,3,3"}},
    {"name": "degrees-3-0-3", "description": "six keys a row, all keys in global tokens' rows; compare by effective sparsity",
     "options": {"sparse-method": "bigbird", "bigbird": "3,0,3"}},
    {"name": "degrees-3-3-0", "description": "six keys a row; compare by effective sparsity",
     "options": {"sparse-method": "bigbird", "bigbird": "3,3,0"}},
    {"name": "degrees-2-2-2", "description": "six keys a row, all keys in global tokens' rows; compare by effective sparsity",
     "options": {"sparse-method": "bigbird", "bigbird": "2,2,2"}},

    // Learned degrees of neighbour connections; our stand-in for the paper's algorithm. At this rate windows can move by
    // about 8 positions in 300 steps.
    {"name": "learned-0.001", "options": {"sparse-method": "learned-span", "span-penalty": 0.001, "span-learning-rate": 0.05}},
    {"name": "learned-0.01", "options": {"sparse-method": "learned-span", "span-penalty": 0.01, "span-learning-rate": 0.05}},
    {"name": "learned-0.1", "options": {"sparse-method": "learned-span", "span-penalty": 0.1, "span-learning-rate": 0.05}}
  ]
}
)";

}  // namespace

const std::vector<std::string>& study_preset_names() {
  static const std::vector<std::string> names{"crisp", "breaking-bert"};
  return names;
}

std::string study_preset(const std::string& name, bool with_parses) {
  if (name == "crisp") return crisp_preset;
  if (name == "breaking-bert") return breaking_bert_head + method_arms(with_parses) + breaking_bert_tail;
  fail<UsageError>("there is no study '{}'; there are {}", name, fmt::join(study_preset_names(), " and "));
}

}  // namespace crisp
