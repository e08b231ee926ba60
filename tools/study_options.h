// A study's options, read by the same parser as crisp-train's.
#pragma once

#include <string>

#include "tools/options.h"
#include "train/study/study.h"

namespace crisp {

/// Gives every option of the study its first name and every path its absolute form, and parses each arm's options as
/// crisp-train will. Throws BadInput, naming `where`, the arm and the option, for one that there is not, a value that
/// is refused, an option that is there under two names, and those that a study decides itself (seed, output, ...).
void check_study_options(Study& study, const std::string& where);

/// Sets --select where the study does not: the last evaluation counts, since a study's choices are made in advance, but
/// the best where sentences are set aside to choose it on (--selection-part).
void choose_evaluations(Study& study);

/// That each arm has weights and data, and that these are there, as crisp-train would say for every single run; true
/// where one has neither and trains the bundled sample. Throws UsageError, BadInput.
bool check_study_inputs(const Study& study);

/// The training options that were given to `app` (made by add_train_options), under their first names, without those
/// in `others`.
OptionMap given_train_options(const CLI::App& app, const std::vector<std::string>& others);

}  // namespace crisp
