#include "train/study/study.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>

#include "data/input/file.h"
#include "data/input/json.h"
#include "data/input/parse_text.h"
#include "data/input/text.h"
#include "engine/fail.h"
#include "train/study/run_state.h"
#include "weights/atomic_file.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

using Fields = JsonFields<ordered_json>;

constexpr int64_t most_seeds = 100'000;

// A value as on a command line.
std::string word_of(const ordered_json& value, const std::string& where) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean() || value.is_number()) return value.dump();
  if (!value.is_array() || value.empty())
    fail<BadInput>("{}: a value must be a string, a number, true, false or a list of them, not {}", where,
                   show_json(value));
  std::vector<std::string> words;
  for (const ordered_json& element : value) {
    if (element.is_array()) fail<BadInput>("{}: a list within a list: {}", where, show_json(value));
    words.push_back(word_of(element, where));
  }
  return fmt::format("{}", fmt::join(words, ","));
}

OptionMap options_from(const Fields& object, const std::string& where) {
  OptionMap options;
  const ordered_json* given = object.object("options");
  if (!given) return options;
  for (const auto& [name, value] : given->items()) {
    const std::string bare = name.starts_with("--") ? name.substr(2) : name;
    if (bare.empty() || bare.front() == '-') fail<BadInput>("{}: {} is no option's name", where, quote(name));
    if (!options.emplace(bare, word_of(value, fmt::format("{}: option {}", where, quote(bare)))).second)
      fail<BadInput>("{}: option {} is there twice", where, quote(bare));
  }
  return options;
}

// It becomes a directory.
void check_arm_name(const std::string& name, const std::string& where) {
  constexpr const char* allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+,=";
  if (name.empty() || name.size() > 100 || name.front() == '.' || name.find_first_not_of(allowed) != std::string::npos)
    fail<BadInput>("{}: {} cannot be an arm's name; letters, digits and - _ . + , = can, 100 at most, no . first",
                   where, quote(name));
}

template <class E>
void check_seeds(const std::vector<uint64_t>& seeds, const std::string& where) {
  if (std::set<uint64_t>(seeds.begin(), seeds.end()).size() != seeds.size())
    fail<E>("{}: a seed is there twice", where);
}

std::vector<uint64_t> first_seeds(int64_t count) {
  std::vector<uint64_t> seeds;
  for (int64_t i = 0; i < count; ++i) seeds.push_back(static_cast<uint64_t>(i));
  return seeds;
}

std::vector<uint64_t> seeds_from(const Fields& object, const std::string& where) {
  std::vector<uint64_t> seeds;
  if (!object.has("seeds")) return seeds;
  const ordered_json& given = *object.find("seeds");
  const auto complain = [&] {
    object.refuse("seeds", given, fmt::format("how many (1 to {}) or a list of whole numbers", most_seeds));
  };
  if (given.is_number_unsigned()) {
    if (given.get<uint64_t>() < 1 || given.get<uint64_t>() > most_seeds) complain();
    return first_seeds(given.get<int64_t>());
  }
  if (!given.is_array() || given.empty()) complain();
  for (const ordered_json& seed : given) {
    if (!seed.is_number_unsigned()) complain();
    seeds.push_back(seed.get<uint64_t>());
  }
  check_seeds<BadInput>(seeds, where);
  return seeds;
}

// What the parser takes for on (true) and off. No option takes both such a word and something else of the same name.
std::optional<bool> switch_position(const std::string& word) {
  const auto among = [&](std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  if (among({"on", "true", "yes", "enable", "t", "y", "1", "+"})) return true;
  if (among({"off", "false", "no", "disable", "f", "n", "0", "-"})) return false;
  return std::nullopt;
}

// What differs between the options of two studies: a line each.
std::string differences(const OptionMap& there, const OptionMap& now) {
  std::string lines;
  for (const auto& [name, either] : joined_options(there, now)) {
    const std::string before = option_or(there, name, "not set"), after = option_or(now, name, "not set");
    if (!same_value(before, after)) lines += fmt::format("\n  --{}: {} there, {} now", name, before, after);
  }
  return lines;
}

// With results, or with a checkpoint to go on from.
bool has_runs(const Study& study, const std::string& arm, const std::string& directory) {
  return std::any_of(study.seeds.begin(), study.seeds.end(), [&](uint64_t seed) {
    const RunStatus status = read_state(run_files(directory, arm, seed)).status;
    return status != RunStatus::missing && status != RunStatus::failed;
  });
}

void refuse_other_options(const Study& there, const Study& now, const std::string& directory) {
  std::string of_arms;
  std::vector<std::string> with_runs;
  for (const Study::Arm& before : there.arms) {
    const auto found = arm_named(now.arms, before.name);
    const Study::Arm& arm = found == now.arms.end() ? before : *found;
    if (differences(there.options_of(before), now.options_of(arm)).empty() || !has_runs(there, arm.name, directory))
      continue;
    with_runs.push_back(arm.name);
    const std::string lines = differences(before.options, arm.options);
    if (!lines.empty()) of_arms += fmt::format("\n  arm {}:", arm.name) + lines;
  }
  if (!with_runs.empty())
    fail<UsageError>(
        "{0}: holds this study with other options:{1}{2}\nThere are runs of {3}. Use the same options, delete "
        "{0}/runs/ARM to begin an arm anew, or choose another --output (arms and seeds may be added)",
        directory, differences(there.options, now.options), of_arms, fmt::join(with_runs, ", "));
}

// An option of all arms of `study` that only some arms of `other` have becomes the arms' own, so that an arm which one
// of the two does not name keeps what it had.
void separate_options(Study& study, const Study& other) {
  const auto of_some = [&](const std::string& name) {
    return !other.options.contains(name) && std::any_of(other.arms.begin(), other.arms.end(),
                                                        [&](const auto& arm) { return arm.options.contains(name); });
  };
  for (auto it = study.options.begin(); it != study.options.end();) {
    if (!of_some(it->first)) {
      ++it;
      continue;
    }
    for (Study::Arm& arm : study.arms) arm.options.insert(*it);
    it = study.options.erase(it);
  }
}

// `there` with what `now` has in addition.
Study joined(Study there, Study now, const std::string& directory) {
  if (there.name != now.name)
    fail<UsageError>("{}: holds the study '{}', this is '{}'; choose another --output", directory, there.name,
                     now.name);
  separate_options(there, now);
  separate_options(now, there);
  refuse_other_options(there, now, directory);
  const auto replace = [](OptionMap& options, const OptionMap& by) {
    if (!differences(options, by).empty()) options = by;  // 1 and 1.0 are the same: the former stays
  };
  replace(there.options, now.options);
  for (const Study::Arm& arm : now.arms) {
    const auto index = arm_named(there.arms, arm.name) - there.arms.begin();
    if (index == std::ssize(there.arms)) {
      there.arms.push_back(arm);
      continue;
    }
    Study::Arm& same = there.arms[static_cast<size_t>(index)];
    replace(same.options, arm.options);
    same.description = arm.description;
  }
  for (const uint64_t seed : now.seeds)
    if (std::find(there.seeds.begin(), there.seeds.end(), seed) == there.seeds.end()) there.seeds.push_back(seed);
  there.description = now.description;
  there.baseline = now.baseline;
  return there;
}

// What is there of the path must be directories.
void check_place(const std::string& directory) {
  std::error_code ignored;
  fs::path there = fs::absolute(directory);
  while (!fs::exists(there, ignored) && there.has_relative_path()) there = there.parent_path();
  if (!fs::is_directory(there, ignored))
    fail("{}: cannot be created: {}", directory, std::make_error_code(std::errc::not_a_directory).message());
}

}  // namespace

bool same_value(const std::string& a, const std::string& b) {
  if (a == b) return true;
  const auto same_part = [](const std::string& x, const std::string& y) {
    const std::optional<double> number = parse_number<double>(x);
    const std::optional<bool> position = switch_position(x);
    return x == y || (number && number == parse_number<double>(y)) || (position && position == switch_position(y));
  };
  const std::vector<std::string> in_a = split(a, ','), in_b = split(b, ',');
  return std::equal(in_a.begin(), in_a.end(), in_b.begin(), in_b.end(), same_part);
}

std::vector<Study::Arm>::const_iterator arm_named(const std::vector<Study::Arm>& arms, const std::string& name) {
  return std::find_if(arms.begin(), arms.end(), [&](const Study::Arm& arm) { return arm.name == name; });
}

std::string option_or(const OptionMap& options, const std::string& name, const std::string& otherwise) {
  const auto found = options.find(name);
  return found == options.end() ? otherwise : found->second;
}

OptionMap joined_options(const OptionMap& common, const OptionMap& own) {
  OptionMap all = own;
  all.insert(common.begin(), common.end());
  return all;
}

OptionMap Study::options_of(const Arm& arm) const { return joined_options(options, arm.options); }

Study parse_study(const std::string& text, const std::string& where) {
  const ordered_json document = parse_ordered_json(text, where, JsonComments::allowed);
  const Fields object(document, where);
  object.refuse_unknown({"name", "description", "baseline", "seeds", "options", "arms"});
  Study study{.name = object.text("name").value_or(""),
              .description = object.text("description").value_or(""),
              .baseline = object.text("baseline").value_or(""),
              .options = options_from(object, where),
              .arms = {},
              .seeds = seeds_from(object, where)};
  const ordered_json* arms = object.list("arms");
  if (!arms || arms->empty()) fail<BadInput>("{}: \"arms\" must be a list of at least one arm", where);
  for (const ordered_json& element : *arms) {
    const std::string an_arm = where + ": an arm";
    const std::string name = Fields(element, an_arm).text("name").value_or("");
    check_arm_name(name, where);
    const std::string here = fmt::format("{}: arm {}", where, name);
    const Fields arm(element, here);
    arm.refuse_unknown({"name", "description", "options"});
    if (arm_named(study.arms, name) != study.arms.end()) fail<BadInput>("{}: there are two arms '{}'", where, name);
    study.arms.push_back({name, arm.text("description").value_or(""), options_from(arm, here)});
  }
  if (study.baseline.empty()) study.baseline = study.arms.front().name;
  if (arm_named(study.arms, study.baseline) == study.arms.end())
    fail<BadInput>("{}: the baseline {} is none of the arms", where, quote(study.baseline));
  return study;
}

ordered_json study_json(const Study& study) {
  ordered_json arms = ordered_json::array();
  for (const Study::Arm& arm : study.arms) {
    arms.push_back({{"name", arm.name}});
    if (!arm.description.empty()) arms.back()["description"] = arm.description;
    arms.back()["options"] = arm.options;
  }
  return {{"name", study.name},       {"description", study.description}, {"baseline", study.baseline},
          {"options", study.options}, {"arms", std::move(arms)},          {"seeds", study.seeds}};
}

std::vector<uint64_t> parse_seeds(const std::string& text) {
  std::vector<uint64_t> seeds;
  std::vector<std::string> words = split(text, ',');
  const bool is_list = words.size() > 1;
  if (is_list && words.back().empty()) words.pop_back();
  for (const std::string& word : words) {
    const std::optional<uint64_t> seed = parse_number<uint64_t>(word);
    if (!seed)
      fail<UsageError>(
          "--seeds: must be how many, or a list like 1,5,7 (a comma at its end for a single one), not '{}'", text);
    seeds.push_back(*seed);
  }
  if (is_list) {
    check_seeds<UsageError>(seeds, "--seeds");
    return seeds;
  }
  if (seeds.front() < 1 || seeds.front() > most_seeds)
    fail<UsageError>("--seeds: {} seeds; it must be from 1 to {}, or a list", seeds.front(), most_seeds);
  return first_seeds(static_cast<int64_t>(seeds.front()));
}

LockFile lock_study(const std::string& directory, const char* what) {
  return LockFile::wait_for(fmt::format("{}/.{}.lock", directory, what),
                            [](const std::string& text) { fmt::print(stderr, "{}\n", text); });
}

void record_study(const Study& study, const std::string& directory) {
  check_place(directory);
  make_directories(directory);
  const LockFile lock = lock_study(directory, "study");  // others that start at the same time add to the same file
  remove_temporary_files(directory, {"study.json"});
  const std::string path = directory + "/study.json";
  const std::string before = entry_exists(path) ? read_input(path, input_limit::study) : "";
  const Study all = entry_exists(path) ? joined(parse_study(before, path), study, directory) : study;
  const std::string text = study_json(all).dump(2) + "\n";
  if (text != before) write_file_atomically(path, text);
}

void check_record(const Study& study, const std::string& directory) {
  const std::string path = directory + "/study.json";
  check_place(directory);
  if (entry_exists(path)) joined(parse_study(read_input(path, input_limit::study), path), study, directory);
}

}  // namespace crisp
