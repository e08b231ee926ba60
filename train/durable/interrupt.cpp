#include "train/durable/interrupt.h"

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

}  // namespace

InterruptHandler::InterruptHandler(bool nothing_to_lose) {
  if (installed.exchange(true)) fail("an interrupt handler is installed already");
  first_signal = 0;
  more_interrupts = 0;
  save_requested = false;
  leave_at_once = nothing_to_lose;
  struct sigaction action {};
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < std::size(signals_); ++i) {
    const int signal = signals_[i];
    action.sa_handler = signal == SIGUSR1 ? on_save : on_stop;
    ::sigaction(signal, nullptr, &old_[i]);
    const bool stays_ignored = (signal == SIGINT || signal == SIGHUP) && old_[i].sa_handler == SIG_IGN;
    if (!stays_ignored) ::sigaction(signal, &action, nullptr);
  }
}

InterruptHandler::~InterruptHandler() {
  for (size_t i = 0; i < std::size(signals_); ++i) ::sigaction(signals_[i], &old_[i], nullptr);
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
