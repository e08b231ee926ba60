// The declarations of TrainOptions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "data/input/setting.h"
#include "train/run/train_options.h"

namespace crisp {

/// Of all but sparse attention (sparse_settings() declares that), under headings, in the order of --help.
const Settings<TrainOptions>& train_settings();

/// The settings that a run's record has, by their keys: all, or those of its fingerprint alone.
nlohmann::ordered_json settings_record(const TrainOptions& options, Recorded which);
/// The same backwards; what is only recorded may lack. Throws BadInput, naming `where`, for values that are none.
TrainOptions read_settings_record(const nlohmann::json& record, const std::string& where);

}  // namespace crisp
