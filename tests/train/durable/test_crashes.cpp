#include "tests/support/catch.h"
#include "tests/train/durable/crash_model.h"
#include "tests/train/durable/durable_scenarios.h"
#include "tests/train/support.h"

namespace crisp::test {
namespace {

struct Recorded {
  Disk before;
  std::vector<CallLog::Entry> calls;
};

Recorded record(const Scenario& scenario) {
  const TempDir dir;
  scenario.prepare(dir.path());
  Recorded recorded{disk_at(dir.path()), {}};
  CallLog log(dir.path());
  scenario.act(dir.path(), [&](int level) { log.reach(level); });
  recorded.calls = log.entries();
  return recorded;
}

// The first thing that is wrong after some crash that is not known to be harmless; "" if nothing is.
std::string first_complaint(const Scenario& scenario, const Recorded& recorded, int ignored_flush,
                            KnownCrashes& known) {
  const TempDir scratch;
  const NoFlush fast;
  std::string complaint;
  for_each_crash(recorded.before, recorded.calls, ignored_flush, known, [&](const Crash& crash) {
    const std::string root = scratch / "disk";
    write_disk(crash.disk, root);
    try {
      complaint = scenario.complaint(root, crash.level, crash.killed);
    } catch (const std::exception& error) {
      complaint = error.what();
    }
    if (!complaint.empty()) complaint += " (" + crash.when + ")";
    return complaint.empty();
  });
  return complaint;
}

TEST_CASE("after a crash at any point a good state is found, and no fsync can be left out") {
  for (const Scenario& scenario : durable_scenarios()) {
    const Recorded recorded = record(scenario);
    KnownCrashes harmless;
    INFO(scenario.name);
    CHECK(first_complaint(scenario, recorded, -1, harmless) == "");
    std::printf("%s: %zu calls, %zu states of the disk\n", scenario.name, recorded.calls.size(), harmless.size());
    int n = -1;
    for (const CallLog::Entry& call : recorded.calls) {
      if (call.kind != file_calls::Kind::fsync) continue;
      ++n;
      INFO("without fsync " << n << " of '" << call.path << "' at level " << call.level);
      KnownCrashes known = harmless;
      CHECK_FALSE(first_complaint(scenario, recorded, n, known) == "");
    }
  }
}

}  // namespace
}  // namespace crisp::test
