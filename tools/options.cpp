#include "tools/options.h"

#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string_view>

#include "data/input/parse_text.h"
#include "data/labels.h"
#include "model/config.h"
#include "train/inference/limits.h"

namespace crisp {
namespace {

// "learning-rate,lr,-l" -> "--learning-rate,--learning_rate,--lr,-l".
std::string all_spellings(const std::string& names) {
  std::vector<std::string> all;
  const auto add = [&](std::string name) {
    if (!name.starts_with("-")) name = "--" + name;
    if (std::find(all.begin(), all.end(), name) == all.end()) all.push_back(name);
  };
  for (const std::string& name : split(names, ',')) {
    add(name);
    std::string underscored = name;
    std::replace(underscored.begin(), underscored.end(), '-', '_');
    add(underscored);
  }
  return fmt::format("{}", fmt::join(all, ","));
}

std::string first_spelling(const std::string& names) { return "--" + split(names, ',').front(); }

// Parses and checks in one, so that a complaint names the allowed values whatever is wrong.
std::string parse_real(const std::string& text, const Interval& interval, double& value) {
  const std::optional<double> parsed = parse_number<double>(text);
  if (!parsed || !interval.contains(*parsed)) return fmt::format("must be {}, not '{}'", interval.str(), text);
  value = *parsed;
  return "";
}

class OneNameFormatter : public CLI::Formatter {
 public:
  std::string make_option_name(const CLI::Option* option, bool is_positional) const override {
    return option->get_name(is_positional, false);
  }
  // CLI11's own looks different from version 2.3 on.
  std::string make_option_opts(const CLI::Option* option) const override {
    std::string text;
    if (option->get_type_size() != 0) {
      if (!option->get_type_name().empty()) text += " " + option->get_type_name();
      if (!option->get_default_str().empty()) text += "=" + option->get_default_str();
      if (option->get_required()) text += " REQUIRED";
    }
    if (!option->get_excludes().empty()) text += " Excludes:";
    for (const CLI::Option* other : option->get_excludes()) text += " " + other->get_name();
    return text;
  }
};

}  // namespace

CLI::Option* add_parsed(CLI::App& app, const std::string& names, const std::string& type_name,
                        const std::string& default_text, std::function<std::string(const std::string&)> parse,
                        const std::string& description) {
  const CLI::callback_t callback = [parse = std::move(parse), name = first_spelling(names)](const CLI::results_t& r) {
    const std::string complaint = parse(r.empty() ? "" : r.back());
    if (!complaint.empty()) throw CLI::ValidationError(name, complaint);
    return true;
  };
  return app.add_option(all_spellings(names), callback, description)
      ->type_name(type_name)
      ->default_str(default_text)
      ->take_last();
}

CLI::Option* add_text(CLI::App& app, const std::string& names, std::string& variable, const std::string& description,
                      const std::string& type_name) {
  const auto parse = [&variable](const std::string& text) -> std::string {
    if (text.empty()) return "must not be empty";
    variable = text;
    return "";
  };
  return add_parsed(app, names, type_name, variable, parse, description);
}

CLI::Option* add_positional(CLI::App& app, const std::string& name, std::string& variable,
                            const std::string& description) {
  return app.add_option(name, variable, description)->type_name("")->capture_default_str();
}

CLI::Option* add_positional(CLI::App& app, const std::string& name, std::vector<std::string>& variable,
                            const std::string& description) {
  return app.add_option(name, variable, description)->type_name("");
}

CLI::Option* required(CLI::Option* option) { return option->required(); }

CLI::Option* put_in_group(CLI::Option* option, const std::string& group) { return option->group(group); }

std::string first_given(const CLI::App& app, const std::string& group) {
  for (const CLI::Option* option : app.get_options())
    if (option->get_group() == group && option->count() > 0) return option->get_name();
  return "";
}

CLI::Option* add_flag(CLI::App& app, const std::string& names, bool& variable, const std::string& description) {
  return app.add_flag(all_spellings(names), variable, description)->take_last();
}

CLI::Option* add_switch(CLI::App& app, const std::string& names, bool& variable, const std::string& description) {
  const std::vector<std::pair<std::string, bool>> words = {
      {"on", true}, {"off", false}, {"true", true}, {"false", false}};
  return add_choice<bool>(app, names, variable, words, "on|off", description);
}

CLI::Option* add_integer(CLI::App& app, const std::string& names, int64_t& variable, int64_t minimum, int64_t maximum,
                         const std::string& description) {
  const auto parse = [&variable, minimum, maximum](const std::string& text) -> std::string {
    const std::optional<int64_t> parsed = parse_number<int64_t>(text);
    if (!parsed || *parsed < minimum || *parsed > maximum)
      return fmt::format("must be a whole number from {} to {}, not '{}'", minimum, maximum, text);
    variable = *parsed;
    return "";
  };
  return add_parsed(app, names, "N", fmt::format("{}", variable), parse, description);
}

CLI::Option* add_real(CLI::App& app, const std::string& names, double& variable, const Interval& interval,
                      const std::string& description) {
  const auto parse = [&variable, interval](const std::string& text) { return parse_real(text, interval, variable); };
  return add_parsed(app, names, "X", fmt::format("{:g}", variable), parse, description);
}

CLI::Option* add_real(CLI::App& app, const std::string& names, std::optional<double>& variable, double default_value,
                      const Interval& interval, const std::string& description) {
  const auto parse = [&variable, interval](const std::string& text) {
    double value = 0;
    std::string complaint = parse_real(text, interval, value);
    if (complaint.empty()) variable = value;
    return complaint;
  };
  return add_parsed(app, names, "X", fmt::format("{:g}", variable.value_or(default_value)), parse, description);
}

void set_help_style(CLI::App& app) {
  app.set_help_flag("-h,--help", "Print this help");
  const auto formatter = std::make_shared<OneNameFormatter>();
  formatter->column_width(44);
  app.formatter(formatter);
}

void add_config_option(CLI::App& app) {
  const auto refuse = [](const std::string&) { return "is for the command line alone"; };
  add_parsed(app, "config", "FILE", "", refuse,
             "Read options from FILE, 'name = value' lines or a JSON object; the command line wins")
      ->group("Files");
}

CLI::Option* add_precision(CLI::App& app, Precision& precision) {
  std::vector<std::pair<std::string, Precision>> words;
  for (const Precision p : all_precisions) words.emplace_back(name_of(p), p);
  return add_choice<Precision>(app, "precision", precision, words, "f32|strict-f32|tf32|bf16|bf16x3|bf16x6|f64",
                               "Of matrix products (f64: of all numbers); f32: the fastest that is as accurate");
}

CLI::Option* add_device(CLI::App& app, DeviceChoice& device) {
  return add_choice<DeviceChoice>(
      app, "device", device,
      {{"cpu", DeviceChoice::cpu}, {"cuda", DeviceChoice::cuda}, {"auto", DeviceChoice::automatic}}, "cpu|cuda|auto",
      "What computes: the CPU, an NVIDIA GPU, or the GPU where there is one");
}

CLI::Option* add_text_format(CLI::App& app, TextFormat& format, const std::string& file) {
  return add_choice<TextFormat>(app, "format", format,
                                {{"auto", TextFormat::automatic},
                                 {"text", TextFormat::text},
                                 {"tsv", TextFormat::tsv},
                                 {"csv", TextFormat::csv},
                                 {"jsonl", TextFormat::jsonl}},
                                "auto|text|tsv|csv|jsonl",
                                "of " + file + "; auto: its first line tells; text: a sentence a line, as it is");
}

void add_train_options(CLI::App& app, TrainOptions& o, bool one_run) {
  set_help_style(app);
  app.footer(
      "Names may be written with '_' for '-', and Hugging Face's options (--num_train_epochs, --bf16, ...) are "
      "understood.");

  std::string group = "Files";
  const auto in_group = [&group](CLI::Option* option) { return option->group(group); };
  const auto file = [&](const std::string& names, std::string& variable, const char* type, const char* description) {
    in_group(add_text(app, names, variable, description))->type_name(type);
  };
  file("weights,model-name-or-path", o.weights, "FILE|DIR|NAME",
       "Pretrained weights: .safetensors, a Hugging Face directory, or a model in Hugging Face's cache");
  file("init", o.init, "distilbert-base|FILE", "Start from random weights instead; FILE is a config.json");
  in_group(add_flag(app, "new-head", o.new_head, "Make a new classification head even where the weights have one"));
  file("data", o.data, "DIR", "Directory with train.tsv and dev.tsv (neither this nor --weights: a sample)");
  file("train,train-file", o.train, "FILE", "Training examples, instead of DATA/train.tsv");
  file("dev,validation-file", o.dev, "FILE", "Examples to evaluate on, instead of DATA/dev.tsv");
  in_group(add_integer(app, "max-train-samples", o.max_train_samples, 0, most_steps,
                       "Training examples to take, the first N; 0: all"));
  in_group(add_integer(app, "max-eval-samples", o.max_eval_samples, 0, most_steps,
                       "Examples to evaluate on, the first N; 0: all"));
  file("parses", o.parses, "FILE", "CoNLL-U of the training examples, for --sparse-method syntax (DATA/train.conllu)");
  file("dev-parses", o.dev_parses, "FILE", "CoNLL-U of the examples to evaluate on (DATA/dev.conllu)");
  file("vocab,vocab-file", o.vocab, "FILE", "vocab.txt, instead of the one beside the weights");
  file("output,output-dir", o.output, "DIR", "Directory that receives the model and all records");
  in_group(add_flag(app, "resume,resume-from-checkpoint", o.resume,
                    "Continue the run in OUTPUT from its newest checkpoint, if it has one"));
  in_group(add_flag(app, "overwrite,overwrite-output-dir", o.overwrite,
                    "Replace the run that is in OUTPUT, once there is a new model"));
  // By value: a file may well say "resume = false" beside "overwrite = true".
  app.final_callback([&app, &o, one_run] {
    if (o.resume && o.overwrite) throw CLI::ValidationError("--resume", "excludes --overwrite");
    if (!o.weights.empty() && !o.init.empty()) throw CLI::ValidationError("--weights", "excludes --init");
    if (o.selection_part > 0 && o.select_last)
      throw CLI::ValidationError("--selection-part", "is to choose the best evaluation on: excludes --select last");
    if (app.count("--warmup-steps") > 0 && o.warmup_steps == 0) {
      if (app.count("--warmup-ratio") > 0 && o.warmup_ratio > 0)
        throw CLI::ValidationError("--warmup-steps",
                                   fmt::format("0 is no warmup, but --warmup-ratio {:g} is one", o.warmup_ratio));
      o.warmup_ratio = 0;
    }
    const std::optional<SparsityConflict> conflict = find_sparsity_conflict(o.sparse);
    if (one_run && conflict) throw CLI::ValidationError(conflict->message);
  });
  add_config_option(app);

  add_sparse_options(app, o.sparse);

  group = "Optimisation";
  in_group(add_real(app, "epochs,num-train-epochs", o.epochs, default_epochs, {.low = 0, .high = most_epochs},
                    "Passes over the training data; may be a fraction; 0 saves the model as it is"));
  in_group(add_integer(app, "max-steps", o.max_steps, 0, most_steps,
                       "Optimizer steps, instead of --epochs; 0: by --epochs"));
  in_group(add_real(app, "learning-rate,lr", o.learning_rate, default_learning_rate, {.low = 0, .open_low = true},
                    "Peak learning rate"));
  in_group(add_integer(app, "batch-size,per-device-train-batch-size,per-gpu-train-batch-size,train-batch-size",
                       o.batch_size, 1, largest_batch, "Sequences of a batch"));
  in_group(add_integer(app, "gradient-accumulation-steps", o.gradient_accumulation_steps, 1, largest_batch,
                       "Batches whose gradients make one optimizer step"));
  in_group(add_choice<ScheduleType>(app, "schedule,lr-scheduler-type", o.schedule,
                                    {{"linear", ScheduleType::linear},
                                     {"cosine", ScheduleType::cosine},
                                     {"constant", ScheduleType::constant},
                                     {"constant_with_warmup", ScheduleType::constant}},
                                    "linear|cosine|constant", "Course of the learning rate after the warmup"));
  in_group(add_real(app, "warmup-ratio", o.warmup_ratio, {.low = 0, .high = 1},
                    "Part of all steps in which the learning rate rises"));
  in_group(add_integer(app, "warmup-steps", o.warmup_steps, 0, most_steps,
                       "The same in steps, instead of --warmup-ratio; 0: no warmup"))
      ->default_str("");
  in_group(add_real(app, "weight-decay", o.weight_decay, {}, "AdamW weight decay (not on biases and LayerNorm)"));
  in_group(add_real(app, "beta1,adam-beta1", o.beta1, {.low = 0, .high = 1, .open_high = true}, "AdamW beta 1"));
  in_group(add_real(app, "beta2,adam-beta2", o.beta2, {.low = 0, .high = 1, .open_high = true}, "AdamW beta 2"));
  in_group(add_real(app, "epsilon,adam-epsilon", o.epsilon, {.low = 0, .open_low = true}, "AdamW epsilon"));
  in_group(add_real(app, "max-grad-norm", o.max_grad_norm, {}, "Largest norm of the gradient; 0: no clipping"));

  group = "Model";
  in_group(add_integer(app, "max-length,max-seq-length", o.max_length, 0, longest_sentence,
                       "Tokens of a sequence, at least 2; the rest is cut off; 0: as many as the model can"));
  const auto parse_dropout = [&o](const std::string& text) {
    double rate = 0;
    const std::string complaint = parse_real(text, dropout_range, rate);
    if (complaint.empty()) o.dropout = rate;
    return complaint;
  };
  in_group(add_parsed(app, "dropout", "X", o.dropout ? fmt::format("{:g}", *o.dropout) : "", parse_dropout,
                      "Every dropout rate of the model (default: those of config.json)"));
  in_group(add_integer(app, "num-labels", o.num_labels, 0, most_labels, "Classes; 0: as many as the data has"));
  in_group(add_parsed(
      app, "label-names", "A,B,..", "", [&o](const std::string& t) { return parse_label_names(t, o.label_names); },
      "The classes' names (default: those of the weights' head, else the words in the data, sorted)"));

  group = "Evaluation and checkpoints";
  in_group(
      add_integer(app, "eval-steps", o.eval_steps, 0, most_steps, "Steps between evaluations; 0: after each epoch"));
  in_group(add_integer(app, "eval-batch-size,per-device-eval-batch-size,per-gpu-eval-batch-size", o.eval_batch_size, 1,
                       largest_batch, "Sequences of a batch in evaluation"));
  in_group(
      add_integer(app, "save-steps", o.save_steps, 0, most_steps, "Steps between checkpoints; 0: at each evaluation"));
  in_group(add_integer(app, "logging-steps", o.logging_steps, 1, most_steps, "Steps between lines of metrics.jsonl"));
  in_group(add_integer(app, "early-stopping-patience", o.early_stopping_patience, 0, most_steps,
                       "Evaluations without a better accuracy after which to stop; 0: off"));
  in_group(add_choice<bool>(app, "select", o.select_last, {{"best", false}, {"last", true}}, "best|last",
                            "The evaluation whose model and predictions OUTPUT holds in the end"));
  in_group(add_real(app, "selection-part", o.selection_part, {.low = 0, .high = 0.5},
                    "Part of the training set to carve out and choose the best evaluation on; 0: on dev"));
  in_group(add_integer(app, "eval-train", o.eval_train, 0, most_steps,
                       "Training sentences to evaluate at the end, the first N; 0: none"));
  in_group(add_switch(app, "keep-checkpoints", o.keep_checkpoints, "Keep them when the run has completed"));

  group = "Computation";
  const auto parse_seed = [&o](const std::string& text) -> std::string {
    const std::optional<uint64_t> parsed = parse_number<uint64_t>(text);
    if (!parsed) return fmt::format("must be a whole number, at least 0 and below 2^64, not '{}'", text);
    o.seed = *parsed;
    return "";
  };
  in_group(add_parsed(app, "seed", "N", fmt::format("{}", o.seed), parse_seed,
                      "Of all random numbers; the same seed gives the same bits"));
  in_group(add_integer(app, "threads", o.threads, 0, most_threads, "Threads; 0: as many as there are cores"));
  in_group(add_precision(app, o.precision));
  in_group(add_device(app, o.device));
}

}  // namespace crisp
