#include "train/lock_holders.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <sstream>

#include "data/input/text.h"
#include "engine/fail.h"
#include "weights/file_calls.h"

namespace crisp {
namespace {

constexpr size_t most_bytes = 4096;  // a line for each of two or three processes

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "localhost";
  for (char& c : name)
    if (std::isspace(static_cast<unsigned char>(c)) != 0) c = '_';
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

constexpr const char* unknown = "0";

struct Process {
  bool lives = false;
  std::string start = unknown;  // in clock ticks since the machine was started
};

Process look_at(pid_t id) {
  if (id <= 0 || (::kill(id, 0) != 0 && errno == ESRCH)) return {};
  // Field 22, counted from the second, which is a name in brackets and may hold spaces and brackets.
  const std::string stat = first_bytes(fmt::format("/proc/{}/stat", id));
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return {.lives = true};  // /proc does not show it
  std::istringstream fields(stat.substr(name_end + 1));
  std::string field, state;
  fields >> state;
  for (int i = 4; i <= 22; ++i) fields >> field;
  // Dead, and not waited for yet.
  if (state == "Z" || state == "X") return {};
  return {.lives = true, .start = field.empty() ? unknown : field};
}

// Whether the process that wrote `start` of itself under this number is there still.
bool is_alive(pid_t id, const std::string& start) {
  const Process now = look_at(id);
  return now.lives && (now.start == start || now.start == unknown || start == unknown);
}

}  // namespace

void add_lock_holder(int fd, const std::string& path, pid_t process) {
  const Process now = look_at(process);
  if (!now.lives) return;
  const std::string line = fmt::format("{} {} {}\n", host_name(), process, now.start);
  if (file_calls::write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    fail("{}: cannot be written: {}", path, std::strerror(errno));
}

std::string living_lock_holder(const std::string& path) {
  const std::string text = first_bytes(path), here = host_name();
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string host, start;
    pid_t process = 0;
    if (!(fields >> host >> process >> start)) continue;  // a part of a line: whoever wrote it did not get the lock
    if (host == here && !is_alive(process, start)) continue;
    return fmt::format("process {} on host {}{}", process, printable(host),
                       host == here ? "" : fmt::format("; if it no longer runs, delete {}", path));
  }
  struct stat status {};
  // The clock of a file server may be ahead.
  if (!text.empty() || ::stat(path.c_str(), &status) != 0 || std::abs(std::time(nullptr) - status.st_mtime) > 2)
    return "";
  return "a process that is starting";
}

}  // namespace crisp
