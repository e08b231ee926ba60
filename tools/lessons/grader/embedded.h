// The files of the course that the program carries with it, so that it and a C++ compiler are all that a grader needs.
#pragma once

#include <span>
#include <string_view>

namespace crisp::lessons {

struct EmbeddedFile {
  std::string_view name;  // "gelu.cpp"
  std::string_view text;
};

/// exercise.h and the stubs, as students get them.
std::span<const EmbeddedFile> student_files();
/// exchange.h and runner.cpp, which with exercise.h make a program of an exercise.
std::span<const EmbeddedFile> grader_files();

/// One of either by its name. Throws Error for another.
std::string_view embedded(std::string_view name);

}  // namespace crisp::lessons
