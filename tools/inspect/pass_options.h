// What graph and step share beside their subject: the type of numbers, the title, and how they put out what they have.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tools/inspect/graph_output.h"
#include "tools/inspect/subject.h"

namespace crisp::inspect {

/// --precision f32 or f64: of all numbers.
void add_number_type(CLI::App& app, DType& type);

GraphTitle title_of(const SubjectOptions& options, const Subject& subject, DType type);

/// For people and programs; a text that is no UTF-8 does not end it.
std::string json_text(const nlohmann::ordered_json& json);
/// Whole or not at all; says on standard error where it is.
void write_output(const std::string& path, const std::string& content);

}  // namespace crisp::inspect
