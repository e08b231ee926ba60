// Ctrl-C and SIGTERM as a request to finish the current step and save.
#pragma once

#include <signal.h>

namespace crisp {

/// While it lives, the first SIGINT or SIGTERM only sets interrupted(); a SIGINT after that leaves the process at once
/// with exit code 130. The destructor restores the former handlers. A SIGINT that was ignored when the program started
/// (a background job of a shell script) stays ignored. One at a time; another is an Error.
class InterruptHandler {
 public:
  InterruptHandler();
  ~InterruptHandler();
  InterruptHandler(const InterruptHandler&) = delete;
  InterruptHandler& operator=(const InterruptHandler&) = delete;

 private:
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
};

/// The first signal that came while the present (or last) handler was installed, SIGINT or SIGTERM; 0 for none.
int interrupted();

/// The exit code that tells a shell of it: 130 for SIGINT, 143 for SIGTERM.
int exit_code_of(int signal);

}  // namespace crisp
