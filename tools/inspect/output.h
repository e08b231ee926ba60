// How crisp-inspect puts out what it has.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace crisp::inspect {

/// One object on standard output, as json_text() has it.
void print_json(const nlohmann::ordered_json& json);
/// Says on standard error that the file is there.
void say_written(const std::string& path);
/// Whole or not at all, and says so. Throws UsageError where a file of another kind is there already.
void write_output(const std::string& path, const std::string& content);

}  // namespace crisp::inspect
