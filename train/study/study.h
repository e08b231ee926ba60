// A study: arms (each a set of crisp-train's options) times seeds. Read from a file, written to the study's directory.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "train/durable/lock_file.h"

namespace crisp {

/// Options of crisp-train: the name without "--", and the value as on a command line.
using OptionMap = std::map<std::string, std::string>;

/// `own` wins.
OptionMap joined_options(const OptionMap& common, const OptionMap& own);

/// The option's value; `otherwise` where it is not set.
std::string option_or(const OptionMap& options, const std::string& name, const std::string& otherwise = "");

/// Whether crisp-train takes two values of an option for the same: numbers by value, in lists too (0.50,0.6 and
/// 0.5,0.60), and the words for on and off.
bool same_value(const std::string& a, const std::string& b);

/// Options that choose what a run reads, or how.
inline constexpr const char* data_options[] = {"weights", "init", "data", "train", "dev", "vocab", "max-length"};

struct Study {
  struct Arm {
    std::string name;  // a directory's name, too
    std::string description;
    OptionMap options;  // win over the study's
  };
  std::string name, description;
  std::string baseline;  // an arm: what the others are compared with
  OptionMap options;     // of all arms
  std::vector<Arm> arms;
  std::vector<uint64_t> seeds;

  /// The study's options and the arm's.
  OptionMap options_of(const Arm& arm) const;
};

/// The arm of this name, or the end.
std::vector<Study::Arm>::const_iterator arm_named(const std::vector<Study::Arm>& arms, const std::string& name);

/// Reads JSON, with // comments allowed:
///   {"name": "..", "description": "..", "baseline": ARM, "seeds": N or [S1, S2, ..], "options": {NAME: VALUE, ..},
///    "arms": [{"name": ARM, "description": "..", "options": {..}}, ..]}
/// Only "arms" must be there. A value is a string, a number, true, false, or a list (sparsity of each layer). N seeds
/// are 0 .. N-1; none: `seeds` is empty. The baseline is by default the first arm. Whether crisp-train has such options
/// is not checked here. `where` names the file in messages. Throws BadInput for anything else, keys that are there
/// twice or are none of these included.
Study parse_study(const std::string& text, const std::string& where);

/// The same as a file that parse_study reads.
nlohmann::ordered_json study_json(const Study& study);

/// "crisp", "breaking-bert".
const std::vector<std::string>& study_preset_names();
/// The text of the study file that a preset stands for. `with_parses`: arms that need dependency parses are among them.
std::string study_preset(const std::string& name, bool with_parses);

/// "1,5,7" or "4", which is 0,1,2,3. Throws UsageError.
std::vector<uint64_t> parse_seeds(const std::string& text);

/// Waits, and says so on stderr, until nobody else writes `what` of a study: "study" (study.json) or "report". Reports
/// take a while, so whoever begins runs does not wait for them.
LockFile lock_study(const std::string& directory, const char* what);

/// Makes the directory of a study, or adds to the one that is there: study.json then holds what it held and what
/// `study` has in addition, arms and seeds. Options may change for arms of which no run has begun, or which have only
/// failed; an option of all arms may become some arms' own, and the reverse. Throws UsageError, saying what differs,
/// where it holds a study of another name, or other options of an arm with runs; Error where the directory cannot be
/// made or written.
void record_study(const Study& study, const std::string& directory);
/// Throws as record_study would, for a directory that cannot be made, too; writes nothing.
void check_record(const Study& study, const std::string& directory);

}  // namespace crisp
