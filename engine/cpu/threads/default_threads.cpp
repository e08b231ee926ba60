#include "engine/cpu/threads/default_threads.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string_view>
#include <system_error>

#include "engine/context.h"
#include "engine/system.h"

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

// The whole of `text` as a number above 0; 0 for anything else.
template <class T>
T limit_in(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value > 0 ? value : 0;
}

// Microseconds of time in each period of so many; -1 and "max" are no limit, as is anything else.
int cores_of_quota(std::string_view quota, std::string_view period) {
  const auto used = limit_in<int64_t>(quota), of = limit_in<int64_t>(period);
  if (used == 0 || of == 0) return 0;
  return static_cast<int>(std::min<int64_t>((used - 1) / of + 1, std::numeric_limits<int>::max()));
}

// Of one cgroup, by the files of either version.
int cores_of_directory(const std::string& directory) {
  const std::string v2 = line_of(directory + "/cpu.max");  // QUOTA PERIOD
  const size_t space = std::min(v2.find(' '), v2.size());
  return smaller_limit(
      cores_of_quota(v2.substr(0, space), v2.substr(std::min(space + 1, v2.size()))),
      cores_of_quota(line_of(directory + "/cpu.cfs_quota_us"), line_of(directory + "/cpu.cfs_period_us")));
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
    } else if ((',' + controllers + ',').find(",cpu,") != std::string::npos) {
      limit = smaller_limit(limit, cores_of_path(mounts + "/" + controllers, path));
      limit = smaller_limit(limit, cores_of_path(mounts + "/cpu", path));
    }
  }
  return limit;
}

int threads_of_variable(const char* value) {
  if (!value) return 0;
  std::string_view first(value);
  first = first.substr(0, first.find(','));
  first.remove_prefix(std::min(first.find_first_not_of(" \t"), first.size()));
  return limit_in<int>(first.substr(0, first.find_last_not_of(" \t") + 1));
}

int default_num_threads() {
  int limit = smaller_limit(os::usable_processors(), cores_of_cgroups());
  for (const char* name : {"OMP_NUM_THREADS", "OMP_THREAD_LIMIT"})
    limit = smaller_limit(limit, threads_of_variable(std::getenv(name)));
  return std::max(1, limit);
}

}  // namespace crisp
