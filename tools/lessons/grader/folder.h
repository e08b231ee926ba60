// The directory that a student works in. What is there is never overwritten.
#pragma once

#include <string>
#include <vector>

namespace crisp::lessons {

inline constexpr const char* default_directory = "lessons";

/// The current directory if it holds exercises, else `lessons` below it if that does, else "".
std::string find_directory();
/// `given`, or what find_directory() finds. Throws UsageError, saying what to do, where there is no such directory.
std::string existing_directory(const std::string& given, const std::string& program);

struct Started {
  std::vector<std::string> made, kept;  // names of files
};
/// Makes the directory and those of the students' files that it lacks. Throws Error.
Started start(const std::string& directory);

}  // namespace crisp::lessons
