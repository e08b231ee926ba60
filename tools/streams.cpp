#include "tools/streams.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "train/durable/console.h"

namespace crisp {
namespace {

// Of a pipe or socket on standard output.
bool reader_is_gone() {
  struct pollfd stream = {STDOUT_FILENO, POLLOUT, 0};
  return ::poll(&stream, 1, 0) == 1 && (stream.revents & (POLLERR | POLLHUP)) != 0;
}

}  // namespace

void prepare_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest number that is free: this one. Where there is no /dev/null, anything that holds its place.
    if (::open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) < 0) (void)!::open("/", O_RDONLY);
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

int finish_output(const std::string& name, int exit_code) {
  errno = 0;
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  return written || exit_code != 0 ? exit_code : fail_output(name, errno);
}

int fail_output(const std::string& name, int error) {
  if (reader_is_gone()) {
    std::signal(SIGPIPE, SIG_DFL);
    std::raise(SIGPIPE);
  }
  say("{}: standard output could not be written{}{}", name, error == 0 ? " completely" : ": ",
      error == 0 ? "" : std::strerror(error));
  return 1;
}

}  // namespace crisp
