#include "train/inference/settings.h"
#include "model/sparsity.h"
#include "train/core/trainer_settings.h"
#include "train/door/state.h"

namespace crisp::door {
namespace {

using namespace setting;

Setting<FineTuner::Options> sparsity_setting() {
  using O = FineTuner::Options;
  const auto set = [](O& o, const std::string& value) {
    std::string complaint = sparsity_complaint(value);
    if (complaint.empty()) o.sparsity = value;
    return complaint;
  };
  const auto get = [](const O& o) -> SettingValue { return o.sparsity; };
  return {"sparsity", "S|S1,S2,..|PRESET", "", set, get, [](const O& o) { return sparsity_complaint(o.sparsity); }};
}

Setting<FineTuner::Options> sparse_method_setting() {
  using O = FineTuner::Options;
  const auto complaint = [](const O& o) -> std::string {
    if (parse_method(o.sparse_method)) return "";
    std::string words;
    for (const auto& [word, method] : method_words()) words += (words.empty() ? "" : "|") + word;
    return must_be("one of " + words, o.sparse_method);
  };
  const auto set = [complaint](O& o, const std::string& value) {
    O changed;
    changed.sparse_method = value;
    std::string wrong = complaint(changed);
    if (wrong.empty()) o.sparse_method = value;
    return wrong;
  };
  return {"sparse-method", "METHOD", "", set, [](const O& o) -> SettingValue { return o.sparse_method; }, complaint};
}

}  // namespace

const Settings<Classifier::Options>& classifier_settings() {
  using O = Classifier::Options;
  static const Settings<O> all{threads_setting<O>(), precision_setting<O>(), device_setting<O>(),
                               max_length_setting<O>(), eval_batch_size_setting<O>()};
  return all;
}

const Settings<FineTuner::Options>& tuner_settings() {
  using O = FineTuner::Options;
  static const Settings<O> all = [] {
    Settings<O> s(classifier_settings().begin(), classifier_settings().end());
    s.insert(s.end(), trainer_settings().begin(), trainer_settings().end());
    s.insert(s.end(), {dropout_setting<O>(), sparsity_setting(), sparse_method_setting(), label_names_setting<O>(),
                       new_head_setting<O>(), eval_steps_setting<O>()});
    return s;
  }();
  return all;
}

}  // namespace crisp::door
