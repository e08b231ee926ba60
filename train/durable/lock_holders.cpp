#include "train/durable/lock_holders.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <sstream>

#include "data/input/file.h"
#include "data/input/text.h"
#include "engine/fail.h"
#include "train/durable/process_info.h"
#include "weights/file_calls.h"

namespace crisp {
namespace {

constexpr uint64_t most_bytes = 1 << 16;  // a line for each of two or three processes
constexpr const char* unknown = "0";

// When a living process began, in clock ticks since the machine was started; nothing of one that is dead.
std::optional<std::string> start_of(pid_t id) {
  if (id <= 0 || (::kill(id, 0) != 0 && errno == ESRCH)) return std::nullopt;
  const std::optional<ProcessStat> stat = process_stat(std::to_string(id));
  if (!stat) return unknown;
  if (stat->state == "Z" || stat->state == "X") return std::nullopt;  // dead, and not waited for yet
  return stat->start;
}

// Whether the process that wrote `start` of itself under this number is there still.
bool is_alive(pid_t id, const std::string& start) {
  const std::optional<std::string> now = start_of(id);
  return now && (*now == start || *now == unknown || start == unknown);
}

}  // namespace

void add_lock_holder(int fd, const std::string& path, pid_t process) {
  const std::optional<std::string> start = start_of(process);
  if (!start) return;
  const std::string line = fmt::format("{} {} {}\n", host_name(), process, *start);
  if (file_calls::write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    fail("{}: cannot be written: {}", path, std::strerror(errno));
}

std::string living_lock_holder(const std::string& path) {
  const std::string text = read_input_or_empty(path, most_bytes), here = host_name();
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
