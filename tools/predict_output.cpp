#include "tools/predict_output.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "data/input/text.h"
#include "tools/json_text.h"

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
  return json_text(object) + "\n";
}

}  // namespace crisp
