#include "train/inference/settings.h"

#include <algorithm>
#include <exception>
#include <set>
#include <string_view>
#include <type_traits>
#include <typeinfo>

#include "data/input/text.h"
#include "engine/fail.h"
#include "model/sparse_settings.h"
#include "train/core/trainer_settings.h"
#include "train/door/state.h"

namespace crisp::door {
namespace {

using namespace setting;

using Tuning = FineTuner::Options;

std::string with(char wanted, char instead_of, std::string name) {
  std::replace(name.begin(), name.end(), instead_of, wanted);
  return name;
}

// What a setting of sparse attention was given, nullptr for nothing.
const std::string* given(const Tuning& o, const std::string& name) {
  for (const auto& [its_name, text] : o.sparse)
    if (with('-', '_', its_name) == name) return &text;
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
  static const Settings<O> all{threads_setting<O>(),    precision_setting<O>(),       device_setting<O>(),
                               max_length_setting<O>(), eval_batch_size_setting<O>(), map_weights_setting<O>()};
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

namespace {

// They and all that they are made of, as the library is loaded: a child of fork() would wait for ever for what another
// thread was making at that moment.
[[maybe_unused]] const Settings<Tuning>& made_early = tuner_settings();

}  // namespace

const Setting<Tuning>* find_tuner_setting(const std::string& name) {
  return find_setting(tuner_settings(), with('-', '_', name));
}

SparsityOptions sparse_options(const FineTuner::Options& o) {
  SparsityOptions options;
  std::set<std::string> names;
  for (const auto& [its_name, text] : o.sparse) {
    const std::string name = with('-', '_', its_name);
    if (name == "sparsity" || name == "sparse-method" || !find_setting(sparse_settings(), name))
      fail<UsageError>("sparse attention has no other setting {}", quote(its_name));
    if (!names.insert(name).second)
      fail<UsageError>("{} is given twice, spelt with - and with _; give it once", with('_', '-', name));
  }
  for (const Setting<SparsityOptions>& setting : sparse_settings())
    if (const std::string* text = given(o, setting.name())) setting.set(options, *text);
  return options;
}

std::string with_names_of_here(std::string message) {
  const auto is_of_name = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  for (size_t at = message.find("--"); at != std::string::npos; at = message.find("--", at)) {
    const bool begins = at == 0 || std::string_view(" (`'\"\n").find(message[at - 1]) != std::string_view::npos;
    size_t end = at += 2;
    while (end < message.size() && is_of_name(message[end])) ++end;
    const Setting<Tuning>* const setting = find_setting(tuner_settings(), message.substr(at, end - at));
    if (begins && setting) message.replace(at - 2, end - at + 2, setting->key());
  }
  constexpr std::string_view programs_advice = "; give --vocab FILE";  // here a vocabulary is one of the model's files
  if (message.ends_with(programs_advice)) message.resize(message.size() - programs_advice.size());
  return message;
}

void rethrow_with_names_of_here() {
  // A class of the host's own, which its function has thrown, stays what it is. What diverged has classes of ours.
  const auto rethrow = []<class E>(const E& error) {
    if (typeid(error) != typeid(E) && !std::is_same_v<E, Diverged>) throw;
    throw E(with_names_of_here(error.what()));
  };
  try {
    throw;
  } catch (const Diverged& error) {
    rethrow(error);
  } catch (const BadInput& error) {
    rethrow(error);
  } catch (const UsageError& error) {
    rethrow(error);
  } catch (const Error& error) {
    rethrow(error);
  }
  std::terminate();  // is not reached
}

}  // namespace crisp::door
