#include "train/run/train_settings.h"

#include <nlohmann/json.hpp>

#include "data/input/json.h"
#include "data/input/text.h"
#include "engine/fail.h"
#include "train/core/trainer_settings.h"
#include "train/inference/limits.h"
#include "train/inference/settings.h"

namespace crisp {

using namespace setting;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

using O = TrainOptions;

constexpr WholeNumbers steps{0, most_steps};

Settings<O> file_settings() {
  return {
      recorded(text("weights,model-name-or-path", &O::weights, "FILE|DIR|NAME",
                    "Pretrained weights: .safetensors, a Hugging Face directory, or a model in Hugging Face's cache")),
      recorded(
          text("init", &O::init, "distilbert-base|FILE", "Start from random weights instead; FILE is a config.json")),
      fingerprint(new_head_setting<O>()),
      recorded(
          text("data", &O::data, "DIR", "Directory with train.tsv and dev.tsv (neither this nor --weights: a sample)")),
      recorded(text("train,train-file", &O::train, "FILE", "Training examples, instead of DATA/train.tsv")),
      recorded(text("dev,validation-file", &O::dev, "FILE", "Examples to evaluate on, instead of DATA/dev.tsv")),
      recorded(
          number("max-train-samples", &O::max_train_samples, steps, "Training examples to take, the first N; 0: all")),
      recorded(number("max-eval-samples", &O::max_eval_samples, steps, "Examples to evaluate on, the first N; 0: all")),
      recorded(text("parses", &O::parses, "FILE",
                    "CoNLL-U of the training examples, for --sparse-method syntax (DATA/train.conllu)")),
      recorded(text("dev-parses", &O::dev_parses, "FILE", "CoNLL-U of the examples to evaluate on (DATA/dev.conllu)")),
      recorded(text("vocab,vocab-file", &O::vocab, "FILE", "vocab.txt, instead of the one beside the weights")),
      text("output,output-dir", &O::output, "DIR", "Directory that receives the model and all records"),
      flag("resume,resume-from-checkpoint", &O::resume,
           "Continue the run in OUTPUT from its newest checkpoint, if it has one"),
      flag("overwrite,overwrite-output-dir", &O::overwrite,
           "Replace the run that is in OUTPUT, once there is a new model")};
}

Settings<O> evaluation_settings() {
  return {recorded(eval_steps_setting<O>()),
          recorded(eval_batch_size_setting<O>()),
          recorded(number("save-steps", &O::save_steps, steps, "Steps between checkpoints; 0: at each evaluation")),
          recorded(number("logging-steps", &O::logging_steps, WholeNumbers{1, most_steps},
                          "Steps between lines of metrics.jsonl")),
          recorded(number("early-stopping-patience", &O::early_stopping_patience, steps,
                          "Evaluations without a better accuracy after which to stop; 0: off")),
          fingerprint(word("select", &O::select_last, {{"best", false}, {"last", true}}, "best|last",
                           "The evaluation whose model and predictions OUTPUT holds in the end")),
          recorded(number("selection-part", &O::selection_part, Interval{.low = 0, .high = 0.5},
                          "Part of the training set to carve out and choose the best evaluation on; 0: on dev")),
          recorded(number("eval-train", &O::eval_train, steps,
                          "Training sentences to evaluate at the end, the first N; 0: none")),
          on_off("keep-checkpoints", &O::keep_checkpoints, "Keep them when the run has completed")};
}

}  // namespace

const Settings<TrainOptions>& train_settings() {
  static const Settings<O> all = [] {
    Settings<O> s;
    append_settings<O, O>(s, "Files", file_settings());
    for (const Setting<TrainerOptions>& setting : trainer_settings())
      if (setting.group == "Optimisation") s.emplace_back(setting);
    append_settings<O, O>(s, "Model",
                          {fingerprint(max_length_setting<O>()), dropout_setting<O>(),
                           recorded(number("num-labels", &O::num_labels, WholeNumbers{0, most_labels},
                                           "Classes; 0: as many as the data has")),
                           recorded(label_names_setting<O>())});
    append_settings<O, O>(s, "Evaluation and checkpoints", evaluation_settings());
    for (const Setting<TrainerOptions>& setting : trainer_settings())
      if (setting.group == "Computation") s.emplace_back(setting);
    append_settings<O, O>(s, "Computation",
                          {threads_setting<O>(), fingerprint(precision_setting<O>()), device_setting<O>()});
    return s;
  }();
  return all;
}

ordered_json settings_record(const TrainOptions& options, Recorded which) {
  ordered_json record;
  for (const Setting<O>& setting : train_settings())
    if (setting.recorded == Recorded::fingerprint || setting.recorded == which)
      record[setting.key()] = as_json<ordered_json>(setting.get(options));
  return record;
}

TrainOptions read_settings_record(const json& record, const std::string& where) {
  const JsonFields fields(record, where);
  TrainOptions options;
  for (const Setting<O>& setting : train_settings()) {
    if (setting.recorded == Recorded::no) continue;
    const std::string key = setting.key();
    const json* value = fields.find(key.c_str());
    if (!value || *value == "") {
      const bool older = setting.is_flag() || setting.name() == "select";  // runs from before there was one
      if (setting.recorded == Recorded::fingerprint && !older) fields.refuse_missing(key.c_str());
      continue;
    }
    const ordered_json usual = as_json<ordered_json>(setting.get(options));
    if (value->is_number() ? !usual.is_number() : value->type() != usual.type())
      fields.refuse(key.c_str(), *value, std::string("a JSON ") + usual.type_name());
    if (value->is_array()) {  // of names, which may have commas
      for (const json& name : *value)
        if (!name.is_string()) fields.refuse(key.c_str(), *value, "names");
      options.label_names = value->get<std::vector<std::string>>();
      continue;
    }
    const std::string text = value->is_string()    ? value->get<std::string>()
                             : value->is_boolean() ? show_value(value->get<bool>())
                                                   : value->dump();
    if (const std::string complaint = setting.set(options, text); !complaint.empty())
      fail<BadInput>("{}: \"{}\" {}", where, key, with_quoted(complaint, text));
  }
  return options;
}

}  // namespace crisp
