#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "train/interrupt.h"

namespace crisp {
namespace {

// Runs `action` in a child process; the status as waitpid gives it.
int status_of_child(const std::function<void()>& action) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    action();
    ::_exit(77);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status;
}

TEST_CASE("the first signal is only remembered, and the handlers are gone afterwards") {
  struct sigaction before {
  }, after{};
  ::sigaction(SIGTERM, nullptr, &before);
  {
    const InterruptHandler handler;
    CHECK(interrupted() == 0);
    ::raise(SIGTERM);
    CHECK(interrupted() == SIGTERM);
    ::raise(SIGTERM);  // a second one changes nothing
    CHECK(interrupted() == SIGTERM);
    CHECK_THROWS_AS(InterruptHandler(), Error);
  }
  ::sigaction(SIGTERM, nullptr, &after);
  CHECK(after.sa_handler == before.sa_handler);
  CHECK(interrupted() == SIGTERM);
  const InterruptHandler next;
  CHECK(interrupted() == 0);
}

TEST_CASE("exit codes are the shell's") {
  CHECK(exit_code_of(SIGINT) == 130);
  CHECK(exit_code_of(SIGTERM) == 143);
}

TEST_CASE("a Ctrl-C after a first signal leaves at once") {
  for (const int first : {SIGINT, SIGTERM}) {
    const int status = status_of_child([&] {
      const InterruptHandler handler;
      ::raise(first);
      ::raise(SIGINT);
    });
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 130);
  }
}

TEST_CASE("an ignored Ctrl-C stays ignored, as in a background job") {
  const int status = status_of_child([] {
    ::signal(SIGINT, SIG_IGN);
    const InterruptHandler handler;
    ::raise(SIGINT);
    ::raise(SIGINT);
    ::_exit(interrupted() == 0 ? 0 : 1);
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace crisp
