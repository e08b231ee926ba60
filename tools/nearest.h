// What a user may have meant by a name that there is none of.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace crisp {

/// The number of single-character changes that make one word of the other (Levenshtein).
size_t edit_distance(std::string_view a, std::string_view b);

/// The name that is fewest changes away, the first of equal ones; where `name` is a part of some, the shortest of
/// those.
/// "" where all are more than half of its length away.
std::string nearest(std::string_view name, std::span<const std::string> names);

/// "; did you mean NAME?", or "".
std::string did_you_mean(std::string_view name, std::span<const std::string> names);

/// The same for a path that leads nowhere: what has the nearest name in its directory.
std::string did_you_mean_path(const std::string& path);

}  // namespace crisp
