#include "tools/lessons/grader/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "engine/fail.h"
#include "engine/system.h"
#include "train/durable/interrupt.h"

namespace crisp::lessons {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> all;
  for (const std::string& word : words) all.push_back(const_cast<char*>(word.c_str()));
  all.push_back(nullptr);
  return all;
}

void limit(auto resource, uint64_t value, uint64_t grace = 0) {
  const struct rlimit both = {value, value + grace};
  ::setrlimit(resource, &both);
}

struct Start {
  std::vector<char*> arguments, environment;
  const char* directory;
  int null, out, error;  // `error` takes errno if it cannot be started
  pid_t parent;
};

// In the child, between fork and exec: system calls only.
[[noreturn]] void become(const Start& start, const Limits& limits) {
  ::setpgid(0, 0);
  os::die_with_parent(SIGKILL);
  os::stay_unprivileged();
  if (::getppid() != start.parent) ::_exit(127);  // it died before
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ, SIGUSR1}) ::signal(number, SIG_DFL);
  ::dup2(start.null, 0), ::dup2(start.out, 1), ::dup2(start.out, 2);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_CPU, static_cast<uint64_t>(limits.cpu_seconds), 2);  // SIGXCPU, and SIGKILL for who ignores that
  limit(RLIMIT_FSIZE, limits.file_size);
  limit(RLIMIT_AS, limits.memory);
  if (!limits.may_fork) limit(RLIMIT_NPROC, 0);
  if (::chdir(start.directory) == 0) ::execve(start.arguments[0], start.arguments.data(), start.environment.data());
  const int error = errno;
  (void)!::write(start.error, &error, sizeof error);
  ::_exit(127);
}

// What has been written to the pipe; false at its end.
bool read_some(int fd, std::string& text, size_t most) {
  char buffer[4096];
  const ssize_t n = ::read(fd, buffer, sizeof buffer);
  if (n <= 0) return n < 0 && (errno == EINTR || errno == EAGAIN);
  text.append(buffer, std::min(static_cast<size_t>(n), most - std::min(most, text.size())));
  return true;
}

// A process group that is killed and waited for when this object goes.
class Group {
 public:
  explicit Group(pid_t pid) : pid_(pid) {}
  ~Group() {
    ::kill(-pid_, SIGKILL);
    while (!ended_ && ::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  bool ended() {
    // Its number stays taken until it is waited for, so that the group is killed first.
    siginfo_t info = {};
    if (!ended_ && ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == pid_) {
      ::kill(-pid_, SIGKILL);
      while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
      }
      ended_ = true;
    }
    return ended_;
  }
  int status() const { return status_; }

 private:
  pid_t pid_;
  int status_ = 0;
  bool ended_ = false;
};

struct Pipe {
  int read = -1, write = -1;
  Pipe() {
    int pair[2];
    if (::pipe(pair) != 0) fail("no pipe: {}", std::strerror(errno));
    read = pair[0], write = pair[1];
    for (const int fd : pair) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  ~Pipe() {
    for (const int fd : {read, write})
      if (fd >= 0) ::close(fd);
  }
  void close_write() { ::close(std::exchange(write, -1)); }
};

}  // namespace

Ended run_limited(const std::vector<std::string>& command, const std::string& directory,
                  const std::vector<std::string>& environment, const Limits& limits) {
  Pipe output, error;
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const Start start = {pointers(command), pointers(environment), directory.c_str(), null,
                       output.write,      error.write,           ::getpid()};
  const pid_t pid = ::fork();
  if (pid == 0) become(start, limits);
  const int fork_error = errno;
  if (null >= 0) ::close(null);
  if (pid < 0) fail("{}: cannot be started: {}", command[0], std::strerror(fork_error));
  ::setpgid(pid, pid);  // here too: whichever is first
  Group group(pid);
  output.close_write(), error.close_write();
  int why = 0;
  if (::read(error.read, &why, sizeof why) == sizeof why)
    fail("{}: cannot be started: {}", command[0], std::strerror(why));

  Ended ended;
  ::fcntl(output.read, F_SETFL, O_NONBLOCK);
  const Clock::time_point deadline = Clock::now() + std::chrono::seconds(limits.wall_seconds);
  bool open = true;
  while (!group.ended()) {
    leave_if_interrupted();
    if (Clock::now() > deadline) {
      ended.too_long = true;
      break;
    }
    struct pollfd watched = {open ? output.read : -1, POLLIN, 0};
    if (::poll(&watched, 1, open ? 5 : 1) > 0) open = read_some(output.read, ended.output, limits.output);
  }
  if (ended.too_long) return ended;  // the group dies with its object
  const int status = group.status();
  // What is left in the pipe; somebody who has left the group may still write, so not to its end at any price.
  for (int i = 0; open && i < 64; ++i) {
    struct pollfd watched = {output.read, POLLIN, 0};
    if (::poll(&watched, 1, 0) <= 0) break;
    open = read_some(output.read, ended.output, limits.output);
  }
  if (WIFSIGNALED(status)) {
    ended.signal = WTERMSIG(status);
    ended.too_long = ended.signal == SIGXCPU;
  } else {
    ended.exit_code = WEXITSTATUS(status);
  }
  return ended;
}

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "crisp-lessons-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr)
    fail("{}: no directory can be made there: {}; TMPDIR may name another place", pattern, std::strerror(errno));
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace crisp::lessons
