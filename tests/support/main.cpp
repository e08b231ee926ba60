// The main() of the test programs. Exit codes: 0 all passed; 4 nothing failed, but something was skipped, which is
// Catch2 3's code for that and the only one that its CMake function leaves in place; else failed.
#define CATCH_CONFIG_RUNNER
#include "tests/support/catch.h"

int main(int argc, char** argv) {
  constexpr int skip_code = 4;
  Catch::Session session;
#if CATCH_VERSION_MAJOR == 2  // a name that no test has is an error, as in version 3
  session.configData().warnings = Catch::WarnAbout::NoTests;
#endif
  const int result = session.run(argc, argv);
  if (result == 0) return crisp::test::skipped ? skip_code : 0;
  return result == skip_code ? 1 : result;  // Catch2 returns the number of failures
}
