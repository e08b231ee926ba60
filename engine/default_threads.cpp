#include "engine/default_threads.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>
#include <thread>
#include <vector>

#include "engine/parse_text.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace crisp {
namespace {

// The smaller of two limits of which 0 is none.
int smaller_limit(int a, int b) { return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b); }

// Its only line, empty where there is none or more than one.
std::string line_of(const std::string& path) {
  std::ifstream file(path);
  std::string line, more;
  return std::getline(file, line) && !std::getline(file, more) ? line : "";
}

// Microseconds of time in each period of so many; -1 and "max" are no limit, as is anything else.
int cores_of_quota(const std::string& quota, const std::string& period) {
  const auto used = parse_number<int64_t>(quota), of = parse_number<int64_t>(period);
  if (!used || !of || *used <= 0 || *of <= 0) return 0;
  return static_cast<int>(std::min<int64_t>((*used - 1) / *of + 1, std::numeric_limits<int>::max()));
}

// Of one cgroup, by the files of either version.
int cores_of_directory(const std::string& directory) {
  const std::vector<std::string> v2 = split(line_of(directory + "/cpu.max"), ' ');
  const int limit = v2.size() == 2 ? cores_of_quota(v2[0], v2[1]) : 0;
  return smaller_limit(
      limit, cores_of_quota(line_of(directory + "/cpu.cfs_quota_us"), line_of(directory + "/cpu.cfs_period_us")));
}

// Of a cgroup and all those around it. In a container `path` may be the host's and lead nowhere: then the mount itself
// is the container's cgroup.
int cores_of_path(const std::string& mount, std::string path) {
  int limit = cores_of_directory(mount);
  if (path.find("..") != std::string::npos) return limit;  // outside of what the container sees
  for (; path.size() > 1; path.resize(path.rfind('/'))) limit = smaller_limit(limit, cores_of_directory(mount + path));
  return limit;
}

}  // namespace

int cores_of_affinity() {
#if defined(__linux__)
  // The system refuses a set that is smaller than its own.
  for (size_t cores = 1024; cores <= size_t{1} << 20; cores *= 2) {
    std::vector<cpu_set_t> set(cores / CPU_SETSIZE);
    const size_t bytes = set.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, set.data()) == 0) return CPU_COUNT_S(bytes, set.data());
  }
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

int cores_of_cgroups(const std::string& root) {
  const std::string mounts = root + "/sys/fs/cgroup";
  std::ifstream groups(root + "/proc/self/cgroup");
  int limit = 0;
  // ID:CONTROLLER,CONTROLLER:/PATH, with ID 0 and no controllers for version 2.
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos || line.compare(second + 1, 1, "/") != 0) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    if (controllers.empty()) {
      limit = smaller_limit(limit, cores_of_path(mounts, path));
    } else if (const auto names = split(controllers, ',');
               std::find(names.begin(), names.end(), "cpu") != names.end()) {
      limit = smaller_limit(limit, cores_of_path(mounts + "/" + controllers, path));
      limit = smaller_limit(limit, cores_of_path(mounts + "/cpu", path));
    }
  }
  return limit;
}

int threads_of_variable(const char* value) {
  if (!value) return 0;
  std::string first = split(value, ',').front();
  first.erase(0, first.find_first_not_of(" \t"));
  first.erase(first.find_last_not_of(" \t") + 1);
  return std::max(0, parse_number<int>(first).value_or(0));
}

int default_num_threads() {
  int limit = smaller_limit(cores_of_affinity(), cores_of_cgroups());
  for (const char* name : {"OMP_NUM_THREADS", "OMP_THREAD_LIMIT"})
    limit = smaller_limit(limit, threads_of_variable(std::getenv(name)));
  return std::max(1, limit);
}

}  // namespace crisp
