// What the tests of crisp-study share: a small study, and what became of its runs.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "tests/tools/programs.h"

namespace crisp::test {

inline const Words runs{"runs/dense/seed-0", "runs/dense/seed-1", "runs/sparse/seed-0", "runs/sparse/seed-1"};

class Studio : public Workshop {
 public:
  Studio() {
    write("study.json", R"({
      "seeds": 2, // a comment
      "options": {"init": "config.json", "vocab": "vocab.txt", "max-length": 64, "batch-size": 8, "lr": 0.003},
      "arms": [{"name": "dense"}, {"name": "sparse", "options": {"sparsity": 0.8}}]
    })");
  }

  static Words command(const std::string& output, const Words& more = {}) {
    return Words{CRISP_STUDY, "study.json", "--data", ".", "--threads", "1", "--output", output} + more;
  }
  Outcome study(const std::string& output, const Words& more = {}) const { return start(command(output, more)); }

  /// How often each run was started.
  std::vector<size_t> starts(const std::string& output) const {
    std::vector<size_t> counts;
    for (const std::string& run : runs) {
      const std::vector<std::string> lines = lines_of(read(output + "/" + run + ".log"));
      counts.push_back(static_cast<size_t>(
          std::count_if(lines.begin(), lines.end(), [](const auto& line) { return line.starts_with("== "); })));
    }
    return counts;
  }
  std::string status(const std::string& run) const { return read_json(run + "/study_status.json")["status"]; }
};

/// The results but for what a clock decides.
inline void check_same_results(const Studio& at, const std::string& a, const std::string& b) {
  for (const std::string& run : runs) {
    CAPTURE(run);
    const std::string in_a = a + "/" + run, in_b = b + "/" + run;
    CHECK(at.read(in_a + "/dev_predictions.jsonl") == at.read(in_b + "/dev_predictions.jsonl"));
    CHECK(at.timeless_metrics(in_a) == at.timeless_metrics(in_b));
  }
}

// Resolves and records a study, of the bundled sample unless told otherwise; none of the runs is this shard's.
inline Outcome resolve(const Studio& at, const std::string& study, const Words& more) {
  return at.start(Words{CRISP_STUDY, study, "--seeds", "1", "--shard", "99/99", "--threads", "1"} + more);
}

// What tells whether a file has been written again.
inline std::pair<ino_t, int64_t> identity(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return {status.st_ino, status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
}

}  // namespace crisp::test
