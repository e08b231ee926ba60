// A sparsity configuration as the object "crisp" of config.json, which transformers ignores.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "model/sparsity.h"

namespace crisp {

class JsonWriter;

/// Every setting under its key; null for what the method does not use. `spans` are those of the configuration.
nlohmann::ordered_json sparsity_json(const SparsityConfig& config);
/// The same as fields, but for those that are null.
void write_sparsity(JsonWriter& to, const SparsityConfig& config);

/// The configuration of a model of `layers` layers of `heads` heads. What is missing has its default; "sparsity_scope"
/// (row, head) of older files is understood. Throws BadInput, naming `where`.
SparsityConfig parse_sparsity_json(const nlohmann::json& object, int64_t layers, int64_t heads,
                                   const std::string& where);

}  // namespace crisp
