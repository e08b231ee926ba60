// What the runs of a study have left: read, compared and shown, whatever it is. The first byte chooses the study, the
// parts that follow are two runs' files, in the order of `names`; an empty one is not there.
#include "train/study/results.h"

#include "tests/fuzz/fuzz.h"
#include "tests/train/markup.h"
#include "train/study/estimate.h"
#include "train/study/report.h"
#include "train/study/run_state.h"

namespace {

using namespace crisp;

constexpr const char* names[] = {"study_status.json", "all_results.json", "metrics.jsonl", "dev_predictions.jsonl"};
constexpr size_t count = std::size(names);

void write_run(const fuzz::MemoryDirectory& directory, const std::string& name, const std::string_view* files) {
  const std::string run = "runs/" + name;
  for (size_t i = 0; i < count; ++i)
    if (!files[i].empty()) directory.write(run + "/" + names[i], files[i]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::refused_or_right(data, size, [](std::string_view input) {
    if (input.empty()) return;
    const bool two_seeds = (input[0] & 1) != 0, same = (input[0] & 2) != 0;
    const auto files = fuzz::parts<2 * count + 1>(input.substr(1));
    const fuzz::MemoryDirectory directory;
    directory.write("study.json", two_seeds ? R"({"seeds": [1, 2], "arms": [{"name": "a"}, {"name": "b"}]})"
                                            : R"({"seeds": [1], "arms": [{"name": "a"}, {"name": "b"}]})");
    const std::string_view* other = files.data() + (same ? 0 : count);
    write_run(directory, "a/seed-1", files.data());
    write_run(directory, "b/seed-1", other);
    if (two_seeds) {
      write_run(directory, "a/seed-2", other);
      write_run(directory, "b/seed-2", files.data());
    }
    directory.write("runs/a/seed-1.log", files.back());

    StudyResults study = read_study(directory.path());
    const std::string html = study_report_html(study);
    const std::string fault = test::fault(html);
    fuzz::require(fault.empty(), fault.c_str());
    write_study_files(directory.path(), study);
    const RunFiles first = run_files(directory.path(), "a", 1), second = run_files(directory.path(), "b", 1);
    last_error(first);
    differing_input(first, second);
    Study plan;
    plan.seeds = study.seeds;
    for (const StudyArm& arm : study.arms) plan.arms.push_back({.name = arm.name, .description = "", .options = {}});
    estimate_from_finished(plan, directory.path());
  });
}
