// What commands that look at one pass share beside their subject: the type of numbers and the title.
#pragma once

#include "tools/inspect/graph_output.h"
#include "tools/inspect/subject.h"

namespace crisp::inspect {

/// --precision f32 or f64: of all numbers. Its default is what `type` holds.
void add_number_type(CLI::App& app, DType& type);

GraphTitle title_of(const SubjectOptions& options, const Subject& subject, DType type);

}  // namespace crisp::inspect
