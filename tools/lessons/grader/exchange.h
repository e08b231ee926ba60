// The file through which the grader and a student's program, another process, exchange arrays: both map it. It begins
// with this structure; behind it lie the arrays, with a zone before and behind each in which nobody may write. Belongs
// to the program that the grader makes (runner.cpp), so it includes nothing of Crisp.
#pragma once

#include <cstdint>

namespace crisp::lessons {

/// What the grader reads from it afterwards, whatever has become of the program.
enum class Phase : int64_t {
  not_started,
  started,
  forward,     // the forward function is at work
  backward,    // the backward function is
  done,        // both have returned
  no_forward,  // the file defines no such function with these parameters
  no_backward
};

struct Exchange {
  static constexpr int64_t words_before = 512;  // of each array, and as many behind it
  static constexpr int most_sizes = 8, most_arrays = 16;
  static constexpr uint64_t guard = 0x7ff8'dead'0000'0001;      // in the zones, a NaN: who reads there gets no number
  static constexpr uint64_t unwritten = 0x7ff8'dead'0000'0002;  // in outputs, before

  struct Array {
    char name[24];
    bool written;         // an output or gradient
    int64_t first, size;  // in words of 8 bytes from the begin of the file
  };

  char exercise[32];
  int64_t bytes;  // of the file
  bool forward_only;
  int64_t sizes[most_sizes];  // whole numbers, in the order of the parameters
  double number;              // dloss or epsilon
  int64_t arrays_count;
  Array arrays[most_arrays];

  // What the program writes, beside the arrays:
  Phase phase;
  char outside_of[24];  // an index was outside of this array, which has `outside_size` elements
  int64_t outside_index, outside_size, outside_line;
};

}  // namespace crisp::lessons
