#include "train/study/child.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "engine/fail.h"
#include "engine/system.h"

namespace crisp {
namespace {

// In the child, between fork and exec: system calls only.
[[noreturn]] void become(char* const* arguments, int null, int log, int kept_descriptor, pid_t parent) {
  ::setpgid(0, 0);
  os::die_with_parent(SIGTERM);
  if (::getppid() != parent) ::_exit(143);  // it died before
  ::signal(SIGUSR1, SIG_IGN);               // until it has a handler: one that comes early must not kill it
  ::dup2(null, 0), ::dup2(log, 1), ::dup2(log, 2);
  if (kept_descriptor >= 0) ::fcntl(kept_descriptor, F_SETFD, 0);
  ::execv(arguments[0], arguments);
  ::_exit(127);
}

}  // namespace

Child::Child(const std::vector<std::string>& command, const std::string& log, int kept_descriptor) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (null < 0 || out < 0) {
    const int error = errno;
    if (null >= 0) ::close(null);
    fail("{}: cannot be written: {}", log, std::strerror(error));
  }
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) become(arguments.data(), null, out, kept_descriptor, parent);
  const int error = errno;
  ::close(null), ::close(out);
  if (pid_ < 0) fail("{}: cannot be started: {}", command[0], std::strerror(error));
  ::setpgid(pid_, pid_);  // here too: whichever is first
}

Child::Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}

Child::~Child() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::optional<int> Child::ended() {
  int status = 0;
  if (pid_ < 0 || ::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void Child::signal(int number) {
  if (pid_ > 0) ::kill(pid_, number);
}

}  // namespace crisp
