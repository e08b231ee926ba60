// Catch2, whichever of its two layouts the distribution has, and the way a test says that it was skipped.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <cstdio>
#include <cstdlib>
#include <string>

namespace crisp::test {
/// Set by CRISP_SKIP; support/main.cpp then exits with 77 if nothing failed, which ctest reports as "Skipped".
inline bool skipped = false;
}  // namespace crisp::test

/// Ends the test case, which says why. What failed before it still counts as failed.
#define CRISP_SKIP(reason)                                      \
  do {                                                          \
    std::printf("[skipped] %s\n", std::string(reason).c_str()); \
    crisp::test::skipped = true;                                \
    SUCCEED("skipped");                                         \
    return;                                                     \
  } while (false)

/// The folder of real datasets: environment variable CRISP_DATASETS, else the CMake option's value.
inline std::string datasets_dir() {
  const char* from_environment = std::getenv("CRISP_DATASETS");
  return from_environment ? from_environment : CRISP_DATASETS;
}
