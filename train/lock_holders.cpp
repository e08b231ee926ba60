#include "train/lock_holders.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <sstream>

#include "data/input/text.h"
#include "engine/error.h"
#include "weights/file_calls.h"

namespace crisp {
namespace {

constexpr size_t most_bytes = 4096;  // a line for each of two or three processes

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "localhost";
  for (char& c : name)
    if (c == ' ' || c == '\n') c = '_';
  return name;
}

// The first bytes of a regular file, which may be one of /proc; "" where it cannot be read.
std::string first_bytes(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return "";
  char buffer[most_bytes];
  const ssize_t n = ::read(fd, buffer, sizeof buffer);
  ::close(fd);
  return {buffer, n > 0 ? static_cast<size_t>(n) : 0};
}

// In clock ticks since the machine was started: field 22 of /proc/PID/stat, whose second field may hold spaces. "0"
// for a process that is not there, and for one that is dead but not yet waited for.
std::string start_of(pid_t process) {
  const std::string stat = first_bytes(fmt::format("/proc/{}/stat", process));
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return "0";
  std::istringstream fields(stat.substr(name_end + 1));
  std::string field, state;
  fields >> state;
  for (int i = 4; i <= 22; ++i) fields >> field;
  return state == "Z" || state == "X" || field.empty() ? "0" : field;
}

}  // namespace

void add_lock_holder(int fd, const std::string& path, pid_t process) {
  const std::string line = fmt::format("{} {} {}\n", host_name(), process, start_of(process));
  if (file_calls::write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    fail("{}: cannot be written: {}", path, std::strerror(errno));
}

std::string living_lock_holder(const std::string& path) {
  const std::string text = first_bytes(path), here = host_name();
  std::istringstream lines(text);
  std::string host, start;
  pid_t process = 0;
  while (lines >> host >> process >> start) {
    if (host == here && start_of(process) != start) continue;
    return fmt::format("process {} on host {}{}", process, printable(host),
                       host == here ? "" : fmt::format("; if it no longer runs, delete {}", path));
  }
  struct stat status {};
  if (!text.empty() || ::stat(path.c_str(), &status) != 0 || std::time(nullptr) - status.st_mtime > 2) return "";
  return "a process that is starting";
}

}  // namespace crisp
