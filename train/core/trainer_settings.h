// The declarations of TrainerOptions, and of what else those who train have, a program or a host, in options with
// members of these names.
#pragma once

#include <string>
#include <vector>

#include "data/input/setting.h"
#include "data/labels.h"
#include "model/config.h"
#include "train/core/trainer_options.h"

namespace crisp {

/// A setting's complaint about a stranger's text, which it shows as quote() does.
std::string with_quoted(std::string complaint, const std::string& text);

/// Of TrainerOptions, under the headings "Optimisation" and "Computation".
const Settings<TrainerOptions>& trainer_settings();

template <class O>
Setting<O> new_head_setting() {
  return setting::flag("new-head", &O::new_head, "Make a new classification head even where the weights have one");
}

template <class O>
Setting<O> dropout_setting() {
  return setting::number("dropout", &O::dropout, dropout_range,
                         "Every dropout rate of the model (default: those of config.json)");
}

template <class O>
Setting<O> label_names_setting() {
  const auto set = [](O& o, const std::string& text) {
    std::vector<std::string> names;
    std::string complaint = parse_label_names(text, names);
    if (complaint.empty()) o.label_names = std::move(names);
    return complaint;
  };
  const auto get = [](const O& o) -> SettingValue { return o.label_names; };
  return {"label-names",
          "A,B,..",
          "The classes' names (default: those of the weights' head, else the words in the data, sorted)",
          set,
          get,
          [](const O& o) {
            std::vector<std::string> read;
            return o.label_names.empty() ? "" : parse_label_names(show_value(o.label_names), read);
          }};
}

template <class O>
Setting<O> eval_steps_setting() {
  return setting::number("eval-steps", &O::eval_steps, WholeNumbers{0, most_steps},
                         "Steps between evaluations; 0: after each epoch");
}

}  // namespace crisp
