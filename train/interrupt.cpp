#include "train/interrupt.h"

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string_view>

#include "engine/fail.h"

namespace crisp {
namespace {

std::atomic<int> first_signal{0};
std::atomic<int> more_interrupts{0};  // SIGINTs after the first signal
std::atomic<bool> save_requested{false};
std::atomic<bool> leave_at_once{false};
std::atomic<bool> installed{false};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may use lock-free atomics only");

// In a handler: system calls only, and none that may wait.
void note_second_interrupt() {
  constexpr std::string_view note = "\nleaving already; Ctrl-C once more leaves without saving\n";
  struct pollfd stream = {2, POLLOUT, 0};
  if (::poll(&stream, 1, 0) == 1 && stream.revents == POLLOUT) (void)!::write(2, note.data(), note.size());
}

extern "C" void on_stop(int signal) {
  const int error = errno;
  if (leave_at_once) ::_exit(exit_code_of(signal));
  int none = 0;
  if (!first_signal.compare_exchange_strong(none, signal) && signal == SIGINT) {
    if (more_interrupts.fetch_add(1) > 0) ::_exit(exit_code_of(SIGINT));
    note_second_interrupt();
  }
  errno = error;
}

extern "C" void on_save(int) { save_requested = true; }

struct sigaction action_of(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  return action;
}

}  // namespace

InterruptHandler::InterruptHandler(bool nothing_to_lose) {
  if (installed.exchange(true)) fail("an interrupt handler is installed already");
  first_signal = 0;
  more_interrupts = 0;
  save_requested = false;
  leave_at_once = nothing_to_lose;
  const struct sigaction stop = action_of(on_stop), save = action_of(on_save);
  const auto unless_ignored = [&](int signal, struct sigaction& old) {
    ::sigaction(signal, nullptr, &old);
    if (old.sa_handler != SIG_IGN) ::sigaction(signal, &stop, nullptr);
  };
  unless_ignored(SIGINT, old_int_);
  unless_ignored(SIGHUP, old_hup_);
  ::sigaction(SIGTERM, &stop, &old_term_);
  ::sigaction(SIGUSR1, &save, &old_usr1_);
}

InterruptHandler::~InterruptHandler() {
  ::sigaction(SIGINT, &old_int_, nullptr);
  ::sigaction(SIGTERM, &old_term_, nullptr);
  ::sigaction(SIGHUP, &old_hup_, nullptr);
  ::sigaction(SIGUSR1, &old_usr1_, nullptr);
  installed = false;
}

void InterruptHandler::keep_from_now_on() { leave_at_once = false; }

int interrupted() { return first_signal; }

bool take_save_request() { return save_requested.exchange(false); }

void leave_if_interrupted() {
  if (const int signal = interrupted()) throw Interrupted(signal);
}

int exit_code_of(int signal) { return 128 + signal; }

}  // namespace crisp
