#include <CLI/CLI.hpp>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "data/input/parse_text.h"
#include "engine/fail.h"
#include "tests/support/catch.h"
#include "tests/tools/options_run.h"
#include "train/run/train_settings.h"

namespace crisp {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using test::contains;
using test::message_of;

const Setting<TrainOptions>& setting_of(const std::string& name) {
  const auto* setting = find_setting(train_settings(), name);
  REQUIRE(setting != nullptr);
  return *setting;
}

// No value of a default, each as a command line has it.
TrainOptions other_options() {
  TrainOptions o;
  for (const Setting<TrainOptions>& setting : train_settings()) {
    const std::string before = show_value(setting.get(o));
    const std::string word = setting.type == "N"                                ? "7"
                             : setting.type == "X"                              ? "0.3125"
                             : setting.type.empty() || setting.type == "on|off" ? before == "on" ? "off" : "on"
                             : setting.type.find('|') == std::string::npos      ? "a,b"
                             : setting.type.find("FILE") != std::string::npos   ? "here"
                                                                                : split(setting.type, '|').back();
    CAPTURE(setting.name(), word);
    CHECK(setting.set(o, word).empty());
    CHECK(show_value(setting.get(o)) == word);
    CHECK(show_value(setting.get(o)) != before);
    CHECK(setting.complaint(o).empty());
  }
  return o;
}

TEST_CASE("every setting takes the text that it shows, and its default") {
  const TrainOptions defaults;
  TrainOptions other = other_options();
  std::set<std::string> keys;
  for (const Setting<TrainOptions>& setting : train_settings()) {
    CAPTURE(setting.name());
    CHECK(keys.insert(setting.key()).second);
    CHECK(setting.key().find('-') == std::string::npos);
    CHECK_FALSE(setting.help.empty());
    CHECK(setting.complaint(defaults).empty());
    const std::string shown = show_value(setting.get(defaults));
    if (shown.empty()) continue;
    CHECK(setting.set(other, shown).empty());
    CHECK(setting.get(other) == setting.get(defaults));
  }
}

TEST_CASE("what a setting refuses it leaves as it was, from a text and in a program's own options") {
  TrainOptions o;
  CHECK(setting_of("warmup-ratio").set(o, "1.5") == "must be a number from 0 to 1, not '1.5'");
  CHECK(setting_of("batch-size").set(o, "0") == "must be a whole number from 1 to 1000000, not '0'");
  CHECK(setting_of("batch-size").set(o, "8.5") == "must be a whole number from 1 to 1000000, not '8.5'");
  CHECK(setting_of("seed").set(o, "-1") == "must be a whole number, at least 0 and below 2^64, not '-1'");
  CHECK(setting_of("schedule").set(o, "steep") == "must be one of linear|cosine|constant, not 'steep'");
  CHECK(setting_of("keep-checkpoints").set(o, "perhaps") == "must be one of on|off, not 'perhaps'");
  CHECK(setting_of("vocab").set(o, "") == "must not be empty");
  CHECK(settings_record(o, Recorded::yes) == settings_record(TrainOptions(), Recorded::yes));

  o.warmup_ratio = std::nan("");
  CHECK(setting_of("warmup-ratio").complaint(o) == "must be a number from 0 to 1, not 'nan'");
  o.dropout = 1;
  CHECK(setting_of("dropout").complaint(o) == "must be a number from 0 to 1 (exclusive), not '1'");
  o.schedule = static_cast<ScheduleType>(9);
  CHECK(contains(setting_of("schedule").complaint(o), "must be one of linear|cosine|constant"));
}

TEST_CASE("a run's record gives back what was chosen") {
  TrainOptions chosen = other_options();
  chosen.seed = std::numeric_limits<uint64_t>::max();
  chosen.learning_rate = 1.0 / 3;
  const ordered_json record = settings_record(chosen, Recorded::yes);
  const TrainOptions read = read_settings_record(json::parse(record.dump()), "a record");
  CHECK(settings_record(read, Recorded::yes) == record);
  CHECK(read.seed == chosen.seed);
  CHECK(read.learning_rate == chosen.learning_rate);
  // Where a run goes and on how many threads is no part of it.
  CHECK_FALSE(record.contains("output"));
  CHECK_FALSE(record.contains("threads"));
  CHECK(read.output == TrainOptions().output);

  const ordered_json part = settings_record(chosen, Recorded::fingerprint);
  CHECK(part.contains("learning_rate"));
  CHECK_FALSE(part.contains("eval_steps"));
}

TEST_CASE("a record that is damaged is refused with the key") {
  const json whole = json::parse(settings_record(TrainOptions(), Recorded::yes).dump());
  const auto refusal = [&](const char* key, const json& value) {
    json changed = whole;
    changed[key] = value;
    return message_of<BadInput>([&] { read_settings_record(changed, "a record"); });
  };
  CHECK(refusal("batch_size", 0) == "a record: \"batch_size\" must be a whole number from 1 to 1000000, not \"0\"");
  CHECK(contains(refusal("batch_size", "32"), "\"batch_size\" is \"32\"; it must be a JSON number"));
  CHECK(contains(refusal("batch_size", json::array()), "it must be a JSON number"));
  CHECK(contains(refusal("new_head", "off"), "it must be a JSON boolean"));
  CHECK(contains(refusal("weights", 5), "it must be a JSON string"));
  CHECK(contains(refusal("schedule", "\x1b[2J"), "not \"\\u001b[2J\""));
  CHECK(contains(refusal("batch_size", json::object()), "it must be a JSON number"));
  CHECK(contains(refusal("learning_rate", nullptr), "\"learning_rate\" is missing"));
  CHECK(contains(refusal("weights", json::array({"a"})), "\"weights\" is"));
  CHECK(contains(refusal("label_names", json::array({1, 2})), "\"label_names\" is"));
  json named = whole;
  named["label_names"] = {"good, or so", "bad"};
  CHECK(read_settings_record(named, "a record").label_names == std::vector<std::string>{"good, or so", "bad"});
  json older = whole;
  older.erase("eval_train");
  CHECK(read_settings_record(older, "a record").eval_train == 0);
}

// The words between backquotes in a cell.
std::vector<std::string> quoted_words(const std::string& cell) {
  std::vector<std::string> words;
  const std::vector<std::string> parts = split(cell, '`');
  for (size_t i = 1; i < parts.size(); i += 2) words.push_back(parts[i]);
  return words;
}

TEST_CASE("the README's table of options has their names and defaults") {
  TrainOptions defaults;
  CLI::App app;
  add_train_options(app, defaults);
  const std::string readme = test::read_file(CRISP_SOURCE_DIR "/README.md");
  const size_t begin = readme.find("| option | default | meaning |");
  REQUIRE(begin != std::string::npos);
  int rows = 0;
  for (const std::string& line : split(readme.substr(begin, readme.find("\n\n", begin) - begin), '\n')) {
    const std::vector<std::string> cells = split(line, '|');
    if (!line.starts_with("| `--")) continue;
    ++rows;
    const std::vector<std::string> options = quoted_words(cells.at(1));
    std::vector<std::string> shown;
    for (const std::string& value : split(cells.at(2), ',')) {
      const size_t first = value.find_first_not_of(" `"), last = value.find_last_not_of(" `");
      shown.push_back(first == std::string::npos ? "" : value.substr(first, last - first + 1));
    }
    CAPTURE(line);
    for (size_t i = 0; i < options.size(); ++i) {
      const CLI::Option* option = app.get_option_no_throw(options[i].substr(0, options[i].find(' ')));
      REQUIRE(option != nullptr);
      const std::string declared = option->get_default_str(), said = shown.at(std::min(i, shown.size() - 1));
      const std::optional<double> number = parse_number<double>(declared);
      // Where 0 or nothing is the default, the table says in words what holds then.
      if (!declared.empty() && declared != "0")
        CHECK((said == declared || (number && number == parse_number<double>(said))));
      else
        CHECK((declared == said || !parse_number<double>(said)));
    }
  }
  CHECK(rows >= 15);
}

}  // namespace
}  // namespace crisp
