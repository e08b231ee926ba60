#include "train/run/results.h"

#include <nlohmann/json.hpp>

namespace crisp {

using nlohmann::ordered_json;

ordered_json evaluation_json(const Evaluation& e, const Trainer& trainer) {
  ordered_json line{{"step", trainer.state().step},  {"epoch", trainer.epoch()},  {"eval_loss", e.loss},
                    {"eval_accuracy", e.accuracy()}, {"eval_correct", e.correct}, {"eval_total", e.total}};
  double effective = 0;
  for (const LayerSparsity& layer : e.layers) {
    effective += layer.effective / static_cast<double>(e.layers.size());
    line["eval_layer_sparsity_requested"].push_back(layer.requested);
    line["eval_layer_sparsity"].push_back(layer.effective);
    line["eval_head_sparsity"].push_back(layer.head_effective);
    line["eval_attention_entropy"].push_back(layer.head_entropy);
    line["eval_attention_normalised_entropy"].push_back(layer.head_normalised_entropy);
  }
  line["eval_sparsity"] = effective;
  line["eval_flops"] = {{"total", e.flops.total},
                        {"attention", e.flops.attention},
                        {"attention_dense", e.flops.attention_dense},
                        {"attention_scored", e.flops.attention_scored}};
  if (!e.spans.empty()) {
    line["spans"] = e.spans;
    line["span_windows"] = e.span_windows;
  }
  return line;
}

std::string prediction_lines(const Evaluation& e, const Dataset& dev_set) {
  std::string predictions;
  for (size_t i = 0; i < e.predictions.size(); ++i) {
    const Prediction& p = e.predictions[i];
    const ordered_json object{{"text", dev_set.examples[i].text},
                              {"label", dev_set.examples[i].label},
                              {"prediction", p.label},
                              {"logits", p.logits},
                              {"probabilities", p.scores}};
    predictions += object.dump() + "\n";
  }
  return predictions;
}

}  // namespace crisp
