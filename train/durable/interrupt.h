// Signals as requests: to finish what is being computed, save and leave, or to save and go on.
#pragma once

#include <signal.h>

#include <exception>
#include <iterator>

namespace crisp {

/// What the signals do while it lives; the destructor restores the former handlers. One at a time; another is an Error.
///
/// SIGINT, SIGTERM, SIGHUP  the first is only remembered, in interrupted(). After it one more SIGINT is noted with a
///                          word on standard error, so that a key pressed twice loses nothing; the next leaves the
///                          process at once with exit code 130. Repeated SIGTERM and SIGHUP change nothing.
/// SIGUSR1                  is remembered for take_save_request().
///
/// A SIGINT or SIGHUP that was ignored when the program started (a background job of a shell script, nohup) stays so.
class InterruptHandler {
 public:
  /// `nothing_to_lose`: the first SIGINT, SIGTERM or SIGHUP leaves the process at once with its exit code, until
  /// keep_from_now_on().
  explicit InterruptHandler(bool nothing_to_lose = false);
  ~InterruptHandler();
  InterruptHandler(const InterruptHandler&) = delete;
  InterruptHandler& operator=(const InterruptHandler&) = delete;

  /// There is something now that a sudden end would lose.
  void keep_from_now_on();

 private:
  static constexpr int signals_[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
  struct sigaction old_[std::size(signals_)] = {};
};

/// The first SIGINT, SIGTERM or SIGHUP that came while the present (or last) handler was installed; 0 for none.
int interrupted();

/// Whether a SIGUSR1 has come since the last call.
bool take_save_request();

/// Thrown where a computation is given up because of interrupted(). No Error: nothing is wrong.
class Interrupted : public std::exception {
 public:
  explicit Interrupted(int signal) : signal_(signal) {}
  int signal() const { return signal_; }
  const char* what() const noexcept override { return "interrupted"; }

 private:
  int signal_;
};
/// Throws Interrupted once there is a signal.
void leave_if_interrupted();

/// The exit code that tells a shell of a signal: 129 for SIGHUP, 130 for SIGINT, 143 for SIGTERM.
int exit_code_of(int signal);

}  // namespace crisp
