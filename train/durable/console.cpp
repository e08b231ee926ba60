#include "train/durable/console.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <optional>

#include "train/durable/interrupt.h"

namespace crisp {
namespace {

using Clock = std::chrono::steady_clock;

// The same pipe or terminal, opened once more so that a write does not block, whoever shares `fd`; else -1.
int open_again(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !(S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode))) return -1;
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return ::open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

}  // namespace

void write_message(int fd, std::string_view text) noexcept {
  constexpr auto patience = std::chrono::seconds(1);
  const int own = open_again(fd), stream = own >= 0 ? own : fd;
  std::optional<Clock::time_point> give_up;
  while (!text.empty()) {
    const ssize_t n = ::write(stream, text.data(), text.size());
    if (n > 0) {
      text.remove_prefix(static_cast<size_t>(n));
    } else if (n < 0 && errno == EAGAIN) {
      if (interrupted() != 0 && !give_up) give_up = Clock::now() + patience;
      if (give_up && Clock::now() > *give_up) break;
      struct pollfd writable = {stream, POLLOUT, 0};
      ::poll(&writable, 1, 50);
    } else if (n == 0 || errno != EINTR) {
      break;
    }
  }
  if (own >= 0) ::close(own);
}

}  // namespace crisp
