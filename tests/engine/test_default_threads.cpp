// How many threads a process takes by itself.
#include "engine/cpu/threads/default_threads.h"

#include <sched.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <thread>

#include "engine/context.h"
#include "engine/system.h"
#include "tests/data/files.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

/// Sets an environment variable for a scope.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    set(value);
  }
  ~Variable() { set(before_ ? before_->c_str() : nullptr); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  void set(const char* value) const { value ? setenv(name_, value, 1) : unsetenv(name_); }
  const char* name_;
  std::optional<std::string> before_;
};

}  // namespace

TEST_CASE("a quota of cgroup v2 is rounded up to whole cores") {
  struct Case {
    const char* cpu_max;
    int cores;
  };
  for (const auto& [cpu_max, cores] : {Case{"100000 100000\n", 1},
                                       {"150000 100000\n", 2},
                                       {"200000 100000\n", 2},
                                       {"200001 100000\n", 3},
                                       {"1000 100000\n", 1},
                                       {"50000 25000", 2},
                                       {"max 100000\n", 0},
                                       {"9223372036854775807 1\n", 2147483647},
                                       // No such thing: no limit.
                                       {"", 0},
                                       {"100000\n", 0},
                                       {"0 100000\n", 0},
                                       {"-1 100000\n", 0},
                                       {"100000 0\n", 0},
                                       {"100000 100000 1\n", 0},
                                       {"100000 100000\n100000 100000\n", 0},
                                       {"1e5 100000\n", 0},
                                       {"100000x 100000\n", 0},
                                       {"99999999999999999999 100000\n", 0}}) {
    CAPTURE(cpu_max);
    const TempFolder at;
    at.write("proc/self/cgroup", "0::/job\n");
    at.write("sys/fs/cgroup/job/cpu.max", cpu_max);
    CHECK(cores_of_cgroups(at.path()) == cores);
  }
}

TEST_CASE("the smallest quota of the groups around a process counts") {
  const TempFolder at;
  CHECK(cores_of_cgroups(at.path()) == 0);  // no such files at all
  at.write("proc/self/cgroup", "0::/a/b/c\n");
  CHECK(cores_of_cgroups(at.path()) == 0);
  at.write("sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
  CHECK(cores_of_cgroups(at.path()) == 8);
  at.write("sys/fs/cgroup/a/cpu.max", "300000 100000\n");
  CHECK(cores_of_cgroups(at.path()) == 3);
  at.write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  CHECK(cores_of_cgroups(at.path()) == 3);
  at.write("sys/fs/cgroup/a/b/c/cpu.max", "200000 100000\n");
  CHECK(cores_of_cgroups(at.path()) == 2);
  at.write("sys/fs/cgroup/cpu.max", "100000 100000\n");  // the container's own
  CHECK(cores_of_cgroups(at.path()) == 1);
}

TEST_CASE("a container may see its cgroup as the whole tree") {
  const TempFolder at;
  at.write("sys/fs/cgroup/cpu.max", "400000 100000\n");
  at.write("sys/fs/cpu.max", "100000 100000\n");  // not a cgroup
  for (const char* path : {"0::/\n", "0::/docker/0123abcd\n", "0::/../../other\n"}) {
    CAPTURE(path);
    at.write("proc/self/cgroup", path);
    CHECK(cores_of_cgroups(at.path()) == 4);
  }
  for (const char* path : {"", "0::\n", "0::relative\n", "nonsense\n", ":\n", "0:\n", "::::\n"}) {
    CAPTURE(path);
    at.write("proc/self/cgroup", path);
    CHECK(cores_of_cgroups(at.path()) == 0);
  }
}

TEST_CASE("quotas of cgroup v1 count, too") {
  const TempFolder at;
  at.write("proc/self/cgroup", "5:memory:/job\n4:cpu,cpuacct:/job/step\n3:cpuset:/\n0::/job\n");
  const auto quota = [&](const std::string& directory, const char* time, const char* period) {
    at.write("sys/fs/cgroup/" + directory + "/cpu.cfs_quota_us", time);
    at.write("sys/fs/cgroup/" + directory + "/cpu.cfs_period_us", period);
  };
  quota("memory/job", "100000\n", "100000\n");  // not that controller
  quota("cpu,cpuacct", "-1\n", "100000\n");
  CHECK(cores_of_cgroups(at.path()) == 0);
  quota("cpu,cpuacct/job/step", "250000\n", "50000\n");
  CHECK(cores_of_cgroups(at.path()) == 5);
  quota("cpu/job", "150000\n", "50000\n");  // under the other name of the mount
  CHECK(cores_of_cgroups(at.path()) == 3);
  at.write("sys/fs/cgroup/job/cpu.max", "200000 100000\n");
  CHECK(cores_of_cgroups(at.path()) == 2);
}

TEST_CASE("OMP_NUM_THREADS is a number, or a list whose first one counts") {
  CHECK(threads_of_variable(nullptr) == 0);
  CHECK(threads_of_variable("4") == 4);
  CHECK(threads_of_variable(" 4 , 2") == 4);
  CHECK(threads_of_variable("3,garbage") == 3);
  for (const char* garbage : {"", "0", "-1", "four", "4x", "4.5", "0x4", ",4", "99999999999"})
    CHECK(threads_of_variable(garbage) == 0);
}

TEST_CASE("a process takes no more threads than variables and affinity allow") {
  const Variable none("OMP_NUM_THREADS", nullptr), no_limit("OMP_THREAD_LIMIT", nullptr);
  const int all = default_num_threads();
  CHECK(all >= 1);
  CHECK(all <= os::usable_processors());
  {
    const Variable one("OMP_NUM_THREADS", "1");
    CHECK(default_num_threads() == 1);
  }
  {
    const Variable one("OMP_THREAD_LIMIT", "1");
    CHECK(default_num_threads() == 1);
  }
  for (const char* no_number : {"many", "0", "10000000"}) {
    const Variable useless("OMP_NUM_THREADS", no_number);
    CHECK(default_num_threads() == all);
  }
  // Affinity belongs to a thread.
  int seen = 0, chosen = 0;
  std::thread([&] {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return;
    int first = 0;
    while (!CPU_ISSET(first, &set)) ++first;
    CPU_ZERO(&set);
    CPU_SET(first, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) return;
    seen = default_num_threads();
    chosen = Context({.threads = 0}).threads();
  }).join();
  CHECK(seen == 1);
  CHECK(chosen == 1);
}
