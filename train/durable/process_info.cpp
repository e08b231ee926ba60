#include "train/durable/process_info.h"

#include <unistd.h>

#include <cctype>
#include <iterator>
#include <sstream>
#include <vector>

#include "data/input/file.h"
#include "data/input/parse_text.h"
#include "engine/system.h"

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
  const std::optional<double> now = os::seconds_since_boot();
  if (!ticks || !now) return std::nullopt;
  return *now - *ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "localhost";
  for (char& c : name)
    if (c == '/' || std::isspace(static_cast<unsigned char>(c)) != 0) c = '_';
  return name;
}

}  // namespace crisp
