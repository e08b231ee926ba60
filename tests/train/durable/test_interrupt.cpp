#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "train/durable/interrupt.h"

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
  CHECK(exit_code_of(SIGHUP) == 129);
  CHECK(exit_code_of(SIGINT) == 130);
  CHECK(exit_code_of(SIGTERM) == 143);
}

TEST_CASE("after a first signal one more Ctrl-C is noted, and the next leaves at once") {
  for (const int first : {SIGINT, SIGTERM, SIGHUP}) {
    const int status = status_of_child([&] {
      ::close(2);
      const InterruptHandler handler;
      ::raise(first);
      ::raise(SIGTERM);
      ::raise(SIGHUP);
      ::raise(SIGINT);
      if (interrupted() != first) ::_exit(1);
      ::raise(SIGINT);
    });
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 130);
  }
}

TEST_CASE("while there is nothing to lose the first signal leaves at once") {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const int status = status_of_child([&] {
      InterruptHandler handler(true);
      ::raise(SIGUSR1);
      ::raise(signal);
    });
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 128 + signal);
  }
  InterruptHandler handler(true);
  handler.keep_from_now_on();
  ::raise(SIGTERM);
  CHECK(interrupted() == SIGTERM);
}

TEST_CASE("SIGUSR1 is a request that is taken once") {
  const InterruptHandler handler;
  CHECK_FALSE(take_save_request());
  ::raise(SIGUSR1);
  CHECK(interrupted() == 0);
  CHECK(take_save_request());
  CHECK_FALSE(take_save_request());
}

TEST_CASE("what is given up says by which signal") {
  const InterruptHandler handler;
  CHECK_NOTHROW(leave_if_interrupted());
  ::raise(SIGHUP);
  try {
    leave_if_interrupted();
    FAIL("nothing was thrown");
  } catch (const Interrupted& end) {
    CHECK(end.signal() == SIGHUP);
  }
}

TEST_CASE("an ignored Ctrl-C or hangup stays ignored, as in a background job or under nohup") {
  const int status = status_of_child([] {
    for (const int signal : {SIGINT, SIGHUP}) ::signal(signal, SIG_IGN);
    const InterruptHandler handler;
    for (const int signal : {SIGINT, SIGHUP, SIGINT, SIGINT}) ::raise(signal);
    ::_exit(interrupted() == 0 ? 0 : 1);
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace crisp
