#include "train/console.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <optional>

#include "train/interrupt.h"

namespace crisp {
namespace {

using Clock = std::chrono::steady_clock;

// The same pipe or terminal, opened once more so that a write does not block, whoever shares `fd`; else `fd` itself.
class Stream {
 public:
  explicit Stream(int fd) : fd_(fd) {
    struct stat status {};
    if (::fstat(fd, &status) != 0 || !(S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode))) return;
    char path[32];
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    own_ = ::open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  }
  ~Stream() {
    if (own_ >= 0) ::close(own_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int descriptor() const { return own_ >= 0 ? own_ : fd_; }

 private:
  int fd_, own_ = -1;
};

}  // namespace

void write_message(int fd, std::string_view text) noexcept {
  constexpr auto patience = std::chrono::seconds(1);
  const Stream stream(fd);
  std::optional<Clock::time_point> give_up;
  while (!text.empty()) {
    const ssize_t n = ::write(stream.descriptor(), text.data(), text.size());
    if (n > 0) {
      text.remove_prefix(static_cast<size_t>(n));
    } else if (n < 0 && errno == EAGAIN) {
      if (interrupted() != 0 && !give_up) give_up = Clock::now() + patience;
      if (give_up && Clock::now() > *give_up) return;
      struct pollfd writable = {stream.descriptor(), POLLOUT, 0};
      ::poll(&writable, 1, 50);
    } else if (n == 0 || errno != EINTR) {
      return;
    }
  }
}

}  // namespace crisp
