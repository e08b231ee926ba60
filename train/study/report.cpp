#include "train/study/report.h"

#include <fmt/format.h>

#include "train/page/html.h"
#include "train/study/report_sections.h"
#include "weights/atomic_file.h"

namespace crisp {
namespace report {
namespace {

template <class Row>
Table table_of(const std::string& caption, const std::vector<Column<Row>>& columns) {
  Table table(caption);
  std::vector<std::string> header{"arm"};
  for (const Column<Row>& column : columns) header.push_back(column.header);
  table.header(std::move(header));
  return table;
}

template <class Row>
std::vector<std::string> cells_of(const StudyArm& arm, const Row& row, const std::vector<Column<Row>>& columns) {
  std::vector<std::string> cells{escape(arm.name)};
  for (const Column<Row>& column : columns) cells.push_back(column.cell(row));
  return cells;
}

}  // namespace

Table arm_table(const StudyResults& study, const std::string& caption, const std::vector<Column<StudyArm>>& columns) {
  Table table = table_of(caption, columns);
  for (const StudyArm& arm : study.arms) table.row(cells_of(arm, arm, columns), study.is_base(arm));
  return table;
}

Table comparison_table(const StudyResults& study, const std::string& caption,
                       const std::vector<Column<ArmComparison>>& columns) {
  Table table = table_of(caption, columns);
  for (const ArmComparison& c : study.comparisons) table.row(cells_of(study.arms[c.arm], c, columns));
  return table;
}

}  // namespace report

std::string study_report_html(const StudyResults& study) {
  using namespace report;
  struct Part {
    const char *id, *title;
    std::string html;
  };
  const Part parts[] = {{"accuracy", "Accuracy", accuracies(study)},
                        {"differences", "Differences from the baseline", differences(study)},
                        {"sparsity", "Accuracy and effective sparsity", report::sparsity(study)},
                        {"loss", "Loss over training", loss_curves(study)},
                        {"generalisation", "Validation loss, train-dev gap, calibration", generalisation(study)},
                        {"entropy", "Attention entropy", entropy(study)},
                        {"degrees", "Learned degrees of attention", degrees(study)},
                        {"flops", "Floating-point operations", flops(study)},
                        {"time", "Measured time", report::time(study)},
                        {"sentences", "Sentences on which the arms disagree", disagreements(study)},
                        {"runs", "All runs", all_runs(study)},
                        {"choices", "Choices that are ours", choices(study)},
                        {"settings", "Settings, and how to repeat it", settings(study)}};
  std::string links, sections;
  for (const Part& part : parts) {
    if (part.html.empty()) continue;
    links += fmt::format("<li><a href=\"#{}\">{}</a></li>", part.id, part.title);
    sections += section(part.id, part.title, part.html);
  }
  Document document{.title = study.name.empty() ? "Study" : study.name, .lead = escape(study.description)};
  document.body = keep_percent_signs(report::summary(study)) + "<nav aria-label=\"Sections\"><ul>" + links +
                  "</ul></nav>\n" + keep_percent_signs(sections);
  document.footer =
      "Written by Crisp from the study's run directories. The numbers behind this page are in results.json and "
      "runs.csv "
      "beside it, the logits of each sentence and run in predictions.csv.";
  return document.html();
}

void write_study_report(const std::string& output_dir) {
  const StudyResults study = read_study(output_dir);
  remove_temporary_files(output_dir, {"report.html", "results.json", "runs.csv"});
  write_study_files(output_dir, study);
  write_file_atomically(output_dir + "/report.html", study_report_html(study));
}

}  // namespace crisp
