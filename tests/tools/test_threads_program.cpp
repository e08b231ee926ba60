// How many threads the programs take where nobody says: as many as they may have cores.
#include <sched.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "tests/tools/studio.h"

namespace crisp::test {
namespace {

const Words step{"step", "--init",  "config.json", "--data",  ".", "--vocab", "vocab.txt", "--max-length",
                 "64",   "--batch", "8",           "--steps", "1", "--warm",  "0",         "--json"};

int threads_of_bench(const Workshop& at, const Words& before = {}, const ProcessOptions& options = {}) {
  const Outcome outcome = at.start(before + Words{CRISP_BENCH} + step, options);
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  return json::parse(outcome.out).at("threads");
}

/// Runs `f` where the programs that it starts may use one core only, as `taskset` would start them.
template <class F>
void on_one_core(F f) {
  cpu_set_t before, one;
  REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  int core = 0;
  while (!CPU_ISSET(core, &before)) ++core;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
  f();
  REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
}

/// A cgroup with a quota of one core, in the one that this process is in; not on every system, nor for every user.
class OneCoreGroup {
 public:
  OneCoreGroup() {
    std::ifstream groups("/proc/self/cgroup");
    for (std::string line; !path_ && std::getline(groups, line);) {
      const std::string name = line.substr(line.rfind(':') + 1) + "/crisp-test-" + std::to_string(::getpid());
      if (line.find(":cpu:") != std::string::npos || line.find(":cpu,cpuacct:") != std::string::npos)
        make("/sys/fs/cgroup/cpu" + name, "/cpu.cfs_quota_us", "100000");
      if (line.starts_with("0::")) make("/sys/fs/cgroup" + name, "/cpu.max", "100000 100000");
    }
  }
  ~OneCoreGroup() {
    std::error_code ignored;
    if (path_) std::filesystem::remove(*path_, ignored);
  }
  OneCoreGroup(const OneCoreGroup&) = delete;
  OneCoreGroup& operator=(const OneCoreGroup&) = delete;

  explicit operator bool() const { return path_.has_value(); }
  /// What starts a program in it.
  Words starter() const { return {"/bin/sh", "-c", "echo $$ > " + *path_ + "/cgroup.procs && exec \"$@\"", "sh"}; }

 private:
  void make(const std::string& path, const std::string& file, const std::string& quota) {
    std::error_code none;
    if (!std::filesystem::create_directory(path, none) || none) return;
    if (std::filesystem::exists(path + file) && std::ofstream(path + file) << quota << std::flush) {
      path_ = path;
    } else {
      std::filesystem::remove(path, none);
    }
  }

  std::optional<std::string> path_;
};

TEST_CASE("a program that may use one core takes one thread") {
  const Studio at;
  const Words train{CRISP_TRAIN, "--init",       "config.json", "--data",       ".", "--vocab",
                    "vocab.txt", "--max-length", "64",          "--batch-size", "8", "--epochs",
                    "1",         "--overwrite",  "--output",    "out"};
  const auto all_take_one = [&](const ProcessOptions& options) {
    CHECK(threads_of_bench(at, {}, options) == 1);
    REQUIRE(at.start(train, options).exit_code == 0);
    CHECK(at.read_json("out/all_results.json")["threads"] == 1);
    ProcessOptions terminal = options;
    terminal.input = "a good film\n";
    terminal.terminal = true;
    CHECK(contains(at.start({CRISP_PREDICT, "--model", "out"}, terminal).err, " kernels, 1 thread\r\n"));
    const Words study{CRISP_STUDY, "study.json", "--data", ".", "--output", "study", "--seeds", "1", "--jobs", "2"};
    CHECK(contains(at.start(study, options).err, "note: 1 run at a time, not 2: there is 1 thread\n"));
    CHECK(at.read_json("study/runs/dense/seed-0/all_results.json")["threads"] == 1);
  };
  SECTION("by OMP_NUM_THREADS") { all_take_one({.environment = {"OMP_NUM_THREADS=1"}}); }
  SECTION("by affinity") {
    on_one_core([&] { all_take_one({}); });
  }
}

TEST_CASE("a program in a cgroup with a quota of one core takes one thread") {
  const Workshop at;
  if (threads_of_bench(at) == 1) CRISP_SKIP("there is one core only");
  const OneCoreGroup group;
  if (!group) CRISP_SKIP("no cgroup with a quota can be made here");
  CHECK(threads_of_bench(at, group.starter()) == 1);
}

}  // namespace
}  // namespace crisp::test
