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
#include "model/sparse_settings.h"
#include "tools/arguments.h"
#include "train/run/train_settings.h"

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

CLI::Option* add_setting_parser(CLI::App& app, const std::string& names, const std::string& type_name,
                                const std::string& default_text, const std::string& description,
                                std::function<std::string(const std::string&)> parse) {
  if (!type_name.empty()) return add_parsed(app, names, type_name, default_text, std::move(parse), description);
  const auto switch_on = [parse = std::move(parse)](int64_t count) { parse(count > 0 ? "on" : "off"); };
  const auto check = [](const std::string& text) {
    return truth_of(text) ? std::string() : fmt::format("must be true or false, not '{}'", text);
  };
  return app.add_flag_function(all_spellings(names), switch_on, description)->take_last()->check(check);
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
  const auto parse = [&variable, interval](const std::string& text) -> std::string {
    const std::optional<double> parsed = parse_number<double>(text);
    if (!parsed || !interval.contains(*parsed)) return setting::must_be(interval.str(), text);
    variable = *parsed;
    return "";
  };
  return add_parsed(app, names, "X", fmt::format("{:g}", variable), parse, description);
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

void add_sparse_options(CLI::App& app, SparsityOptions& o, const std::string& shown) {
  for (const Setting<SparsityOptions>& setting : sparse_settings()) {
    put_in_group(add_setting(app, o, setting), sparse_group);
    if (setting.name() != "sparse-method") continue;
    CLI::Option* older = add_choice<SparseMethod>(app, "sparsity-scope", o.method, scope_words(), "row|head",
                                                  "row: --sparse-method top-k; head: --sparse-method percentile");
    put_in_group(older, sparse_group)->excludes(app.get_option("--sparse-method"));
  }
  app.get_option("--sparsity")->default_str(shown);
}

void add_train_options(CLI::App& app, TrainOptions& o, bool one_run) {
  set_help_style(app);
  app.footer(
      "Names may be written with '_' for '-', and Hugging Face's options (--num_train_epochs, --bf16, ...) are "
      "understood.");

  // By value: a file may well say "resume = false" beside "overwrite = true".
  app.final_callback([&app, &o, one_run] {
    if (o.resume && o.overwrite) throw CLI::ValidationError("--resume", "excludes --overwrite");
    if (!o.weights.empty() && !o.init.empty()) throw CLI::ValidationError("--weights", "excludes --init");
    if (o.selection_part > 0 && o.select_last)
      throw CLI::ValidationError("--selection-part", "is to choose the best evaluation on: excludes --select last");
    if (app.count("--warmup-steps") > 0 && o.warmup_steps == 0 && o.warmup_ratio > 0)
      throw CLI::ValidationError("--warmup-steps",
                                 fmt::format("0 is no warmup, but --warmup-ratio {:g} is one", o.warmup_ratio));
    const std::optional<SparsityConflict> conflict = find_sparsity_conflict(o.sparse);
    if (one_run && conflict) throw CLI::ValidationError(conflict->message);
  });
  for (const Setting<TrainOptions>& setting : train_settings()) {
    if (setting.name() == "epochs") {  // the order of --help
      add_config_option(app);
      add_sparse_options(app, o.sparse);
    }
    add_setting(app, o, setting);
  }
  app.get_option("--warmup-steps")->default_str("");  // --warmup-ratio
}

}  // namespace crisp
