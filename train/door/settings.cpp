#include "train/inference/settings.h"

#include "data/input/text.h"
#include "engine/fail.h"
#include "model/sparse_settings.h"
#include "train/core/trainer_settings.h"
#include "train/door/state.h"

namespace crisp::door {
namespace {

using namespace setting;

using Tuning = FineTuner::Options;

// What a setting of sparse attention was given, nullptr for nothing.
const std::string* given(const Tuning& o, const std::string& name) {
  if (const auto found = o.sparse.find(name); found != o.sparse.end()) return &found->second;
  if (name == "sparsity" && !o.sparsity.empty()) return &o.sparsity;
  return name == "sparse-method" ? &o.sparse_method : nullptr;
}

// Kept as text until the model's layers are known.
Setting<Tuning> as_text(const Setting<SparsityOptions>& setting) {
  const auto set = [setting, name = setting.name()](Tuning& o, const std::string& text) {
    SparsityOptions read;
    std::string complaint = setting.set(read, text);
    if (complaint.empty())
      (name == "sparsity" ? o.sparsity : name == "sparse-method" ? o.sparse_method : o.sparse[name]) = text;
    return complaint;
  };
  const auto get = [setting, name = setting.name()](const Tuning& o) {
    SparsityOptions read;
    if (const std::string* text = given(o, name)) setting.set(read, *text);
    return setting.get(read);
  };
  const auto complaint = [setting, name = setting.name()](const Tuning& o) {
    SparsityOptions read;
    const std::string* text = given(o, name);
    return text ? setting.set(read, *text) : "";
  };
  return {setting.names, setting.type, setting.help, set, get, complaint};
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
    s.insert(s.end(), {dropout_setting<O>(), label_names_setting<O>(), new_head_setting<O>(), eval_steps_setting<O>()});
    for (const Setting<SparsityOptions>& setting : sparse_settings()) s.push_back(as_text(setting));
    return s;
  }();
  return all;
}

SparsityOptions sparse_options(const FineTuner::Options& o) {
  SparsityOptions options;
  for (const auto& [name, text] : o.sparse)
    if (name == "sparsity" || name == "sparse-method" || !find_setting(sparse_settings(), name))
      fail<UsageError>("sparse attention has no other setting {}", quote(name));
  for (const Setting<SparsityOptions>& setting : sparse_settings())
    if (const std::string* text = given(o, setting.name())) setting.set(options, *text);
  return options;
}

}  // namespace crisp::door
