#include "train/durable/process_info.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cctype>
#include <ctime>
#include <iterator>
#include <sstream>
#include <vector>

#include "data/input/file.h"
#include "data/input/parse_text.h"

namespace crisp {

std::optional<ProcessStat> process_stat(const std::string& id) {
  // "pid (name) state ...": the name may hold spaces and brackets. The start is field 22.
  const std::string text = read_input_or_empty("/proc/" + id + "/stat", 4096);
  std::istringstream behind_name(text.substr(text.rfind(')') + 1));
  const std::vector<std::string> fields(std::istream_iterator<std::string>(behind_name), {});
  if (fields.size() <= 22 - 3) return std::nullopt;
  return ProcessStat{fields[0], fields[22 - 3]};
}

std::optional<double> process_age() {
  const std::optional<ProcessStat> stat = process_stat("self");
  const std::optional<double> ticks = stat ? parse_number<double>(stat->start) : std::nullopt;
  timespec now{};
  if (!ticks || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return std::nullopt;
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) -
         *ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "localhost";
  for (char& c : name)
    if (c == '/' || std::isspace(static_cast<unsigned char>(c)) != 0) c = '_';
  return name;
}

}  // namespace crisp
