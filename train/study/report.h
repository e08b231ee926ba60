// The report of a study: one HTML file that opens from disk, without a network or JavaScript.
#pragma once

#include <string>

#include "train/study/results.h"

namespace crisp {

/// Reads the study in `output_dir` (results.h) and writes to it results.json, runs.csv, predictions.csv and
/// report.html. Runs that are missing or have diverged are shown as such, so it may be called at any time. Throws
/// BadInput for a study.json that cannot be used, Error where a file cannot be written.
void write_study_report(const std::string& output_dir);

/// The report as a document: HTML that is well-formed XML, too.
std::string study_report_html(const StudyResults& study);

}  // namespace crisp
