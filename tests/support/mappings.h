// What a process has mapped, as /proc/self/maps and /proc/self/status tell it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace crisp::test {

/// How many mappings are of files whose path contains `part`.
inline int mappings_of(const std::string& part) {
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find(part) != std::string::npos;
  return count;
}

/// Whether the address lies in a file whose path contains `part`.
inline bool lies_in_file(const void* address, const std::string& part) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream text(line);
    uintptr_t begin = 0, end = 0;
    char dash = 0;
    text >> std::hex >> begin >> dash >> end;
    const auto at = reinterpret_cast<uintptr_t>(address);
    if (at >= begin && at < end) return line.find(part) != std::string::npos;
  }
  return false;
}

/// Memory of the process that no file backs, in bytes.
inline int64_t anonymous_bytes() {
  const std::string key = "RssAnon:";
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key)) return std::strtoll(line.c_str() + key.size(), nullptr, 10) * 1024;
  return -1;
}

}  // namespace crisp::test
