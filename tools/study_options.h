// A study's options, read by the same parser as crisp-train's.
#pragma once

#include <string>
#include <vector>

#include "tools/options.h"
#include "train/study/study.h"

namespace crisp {

/// Makes `given`, of the command line, options of all arms; gives every option its first name and every path its
/// absolute form; and parses each arm's options as crisp-train will. An arm's own options win. A common option of
/// sparse attention that does not fit an arm is left out there: it becomes the other arms' own. Returns notes for the
/// user on what does not hold for all arms. Throws BadInput, naming `where`, the arm and the option, for one that there
/// is not, a value that is refused, an option that is there under two names, those that a study decides itself (seed,
/// output, ...), an arm's own options that do not go together, and a common one that no arm takes; UsageError for one
/// of `given` that no arm takes.
std::vector<std::string> check_study_options(Study& study, const OptionMap& given, const std::string& where);

/// Sets --select where the study does not: the last evaluation counts, since a study's choices are made in advance, but
/// the best where sentences are set aside to choose it on (--selection-part).
void choose_evaluations(Study& study);

/// That each arm has weights and data, with parses where some layer looks at them, that every file which its options
/// name is there and can be read, needed or not, and that the layers which they name are the model's; true where an arm
/// has neither weights nor data and trains the bundled sample in `sample_root`. Throws UsageError, naming the arm, and
/// BadInput, naming arm, option and path.
bool check_study_inputs(const Study& study, const std::string& sample_root);

/// The training options that were given to `app` (made by add_train_options), under their first names, without those
/// in `others`.
OptionMap given_train_options(const CLI::App& app, const std::vector<std::string>& others);

}  // namespace crisp
