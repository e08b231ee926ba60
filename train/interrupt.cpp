#include "train/interrupt.h"

#include <unistd.h>

#include <atomic>

#include "engine/error.h"

namespace crisp {
namespace {

std::atomic<int> first_signal{0};
std::atomic<bool> installed{false};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may use lock-free atomics only");

extern "C" void on_signal(int signal) {
  int none = 0;
  if (first_signal.compare_exchange_strong(none, signal)) return;
  if (signal == SIGINT) ::_exit(exit_code_of(SIGINT));
}

}  // namespace

InterruptHandler::InterruptHandler() {
  if (installed.exchange(true)) fail("an interrupt handler is installed already");
  first_signal = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, nullptr, &old_int_);
  if (old_int_.sa_handler != SIG_IGN) ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, &old_term_);
}

InterruptHandler::~InterruptHandler() {
  ::sigaction(SIGINT, &old_int_, nullptr);
  ::sigaction(SIGTERM, &old_term_, nullptr);
  installed = false;
}

int interrupted() { return first_signal; }

int exit_code_of(int signal) { return 128 + signal; }

}  // namespace crisp
