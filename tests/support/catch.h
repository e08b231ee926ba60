// Catch2 2 or 3, whichever the distribution has, under version 2's names; and the way a test says that it was skipped.
#pragma once

#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_approx.hpp>
#include <catch2/catch_session.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>

using Catch::Approx;
namespace Catch {
using TestEventListenerBase = EventListenerBase;
using Matchers::EndsWith;
using Matchers::StartsWith;
/// Version 3 calls it so; its own Contains looks for an element of a range.
inline Matchers::StringContainsMatcher Contains(const std::string& text) { return Matchers::ContainsSubstring(text); }
}  // namespace Catch
#else
#include <catch2/catch.hpp>
#endif

#include <cstdio>
#include <cstdlib>
#include <string>

namespace crisp::test {
/// Set by CRISP_SKIP; support/main.cpp then exits with 4 if nothing failed, which ctest reports as "Skipped".
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
