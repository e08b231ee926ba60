#include "tools/predict_output.h"

#include <fmt/format.h>

#include <cstdio>
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

Answered print_answers(const Predictor& predictor, const TokenizedDataset& data, std::span<const Example> examples,
                       const AnswerStyle& style, int64_t before) {
  Answered answered{.evaluation = predictor.answer(data, style.batch_size, before)};
  std::string lines;
  for (size_t i = 0; i < examples.size(); ++i)
    lines += format_prediction(answered.evaluation.predictions[i], predictor.config(), style.json,
                               style.with_text ? &examples[i].text : nullptr);
  std::fwrite(lines.data(), 1, lines.size(), stdout);
  answered.readable = std::fflush(stdout) == 0;
  return answered;
}

}  // namespace crisp
