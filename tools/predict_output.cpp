#include "tools/predict_output.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "data/input/text.h"
#include "engine/fail.h"

namespace crisp {

std::string format_prediction(const Prediction& p, const DistilBertConfig& config, bool json, const std::string* text) {
  const std::string name = config.label_name(p.label);
  const double score = p.scores[static_cast<size_t>(p.label)];
  if (!json)
    return fmt::format("{}\t{:.4f}{}{}\n", printable(name), score, text ? "\t" : "", text ? printable(*text) : "");
  nlohmann::ordered_json object{{"label", p.label}, {"label_name", name}, {"logits", p.logits}};
  if (config.head_function() == HeadFunction::none) {
    object["value"] = score;
  } else {
    object["probabilities"] = p.scores;
  }
  if (text) object["text"] = *text;
  return object.dump() + "\n";
}

void explain_not_finite(const NotFinite& error, const LoadedModel& loaded) {
  const std::string broken = describe_broken_weights(loaded);
  if (!broken.empty()) fail<Diverged>("{}: {}, so {}", loaded.weights_path, broken, error.what());
  fail<Diverged>("{}: {}, though the weights hold numbers alone: they are too large for {}{}", loaded.weights_path,
                 error.what(), name_of(loaded.model.dtype()),
                 loaded.model.dtype() == DType::f32 ? "; --precision f64 may do" : "");
}

}  // namespace crisp
