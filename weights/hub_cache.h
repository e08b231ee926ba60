// Models that Hugging Face's programs have downloaded on this machine, by the names that they have on huggingface.co.
// Nothing is ever downloaded here.
#pragma once

#include <string>
#include <string_view>

namespace crisp {

/// Whether `text` can be a model's name on huggingface.co: "name" or "organisation/name".
bool may_be_hub_name(std::string_view text);

/// Where the cache of models is: HF_HUB_CACHE, else HF_HOME/hub, else huggingface/hub in XDG_CACHE_HOME or ~/.cache.
std::string hub_cache_directory();

/// The snapshot of the model `name` in the cache: the one that refs/main names, else the only one. "" where the cache
/// has no such model. Throws BadInput when it has several snapshots and does not say which is the main one, or lacks
/// the one that it names.
std::string find_in_hub_cache(const std::string& name);

/// What to do about a name that is neither a path nor in the cache.
std::string explain_missing_model(const std::string& name);

}  // namespace crisp
