#include "tests/tools/process.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <utility>

#include "engine/fail.h"

namespace crisp::test {
namespace {

// The pipes of a program, before and after the fork.
struct Streams {
  int in = -1, out_read = -1, out_write = -1, err_read = -1, err_write = -1;
};

// A file without a name, positioned at its start.
int file_with(const std::string& text) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::tmpfile(), &std::fclose);
  if (!file || std::fwrite(text.data(), 1, text.size(), file.get()) != text.size() || std::fflush(file.get()) != 0)
    fail("no temporary file");
  std::rewind(file.get());
  return ::dup(::fileno(file.get()));
}

Streams open_streams(const ProcessOptions& options) {
  Streams s;
  s.in = file_with(options.input);
  int pair[2];
  if (::pipe(pair) != 0) fail("pipe: {}", std::strerror(errno));
  s.out_read = pair[0], s.out_write = pair[1];
  if (options.terminal) {
    struct winsize size {};
    size.ws_row = 25, size.ws_col = 100;
    if (::openpty(&pair[0], &pair[1], nullptr, nullptr, &size) != 0) fail("openpty: {}", std::strerror(errno));
  } else {
    if (::pipe(pair) != 0) fail("pipe: {}", std::strerror(errno));
    (void)::fcntl(pair[1], F_SETPIPE_SZ, 4096);
  }
  s.err_read = pair[0], s.err_write = pair[1];
  for (const int fd : {s.out_read, s.err_read}) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return s;
}

// In the child; does not return.
[[noreturn]] void become(const std::vector<std::string>& command, const ProcessOptions& options, const Streams& s) {
  ::dup2(s.in, 0), ::dup2(s.out_write, 1), ::dup2(s.err_write, 2);
  ::close(s.in), ::close(s.out_write), ::close(s.err_write);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGPIPE, SIGXFSZ}) std::signal(number, SIG_DFL);
  if (options.largest_file > 0) {
    const struct rlimit limit { options.largest_file, options.largest_file };
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  if (!options.working_directory.empty() && ::chdir(options.working_directory.c_str()) != 0) ::_exit(126);
  for (const std::string& variable : options.environment) {
    const size_t equals = variable.find('=');
    ::setenv(variable.substr(0, equals).c_str(), variable.c_str() + equals + 1, 1);
  }
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  ::_exit(127);
}

// A line of /proc/PID/status or the like; "" when the process is gone.
std::string proc_field(pid_t pid, const char* name) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name)) return line.substr(line.find_first_not_of("\t ", std::strlen(name)));
  return "";
}

}  // namespace

Process::Process(const std::vector<std::string>& command, const ProcessOptions& options) {
  const Streams s = open_streams(options);
  pid_ = ::fork();
  if (pid_ < 0) fail("fork: {}", std::strerror(errno));
  if (pid_ == 0) become(command, options, s);
  for (const int fd : {s.in, s.out_write, s.err_write}) ::close(fd);
  out_ = s.out_read, err_ = s.err_read;
}

Process::~Process() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    wait();
  }
}

// False at the end of both streams.
bool Process::read_some() {
  struct pollfd watched[] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}};  // a negative descriptor is passed over
  if (out_ < 0 && err_ < 0) return false;
  if (::poll(watched, 2, -1) < 0) return errno == EINTR;
  const auto take = [](const struct pollfd& ready, int& fd, std::string& text) {
    if (ready.revents == 0) return;
    char buffer[4096];
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n > 0) {
      text.append(buffer, static_cast<size_t>(n));
    } else if (n == 0 || errno != EINTR) {  // a terminal that nobody writes to any more reports EIO
      ::close(std::exchange(fd, -1));
    }
  };
  take(watched[0], out_, outcome_.out);
  take(watched[1], err_, outcome_.err);
  return true;
}

bool Process::wait_for_error(const std::string& text, int times) {
  size_t begin = 0;
  for (int found = 0; found < times;) {
    const size_t at = outcome_.err.find(text, begin);
    if (at != std::string::npos) {
      ++found;
      begin = at + text.size();
    } else if (!read_some()) {
      return false;
    }
  }
  return true;
}

void Process::signal(int number) {
  ::kill(pid_, number);
  if (number == SIGKILL) return;
  for (;;) {
    const std::string pending = proc_field(pid_, "ShdPnd:");
    if (pending.empty() || proc_field(pid_, "State:").starts_with('Z')) return;
    if (std::strtoull(pending.c_str(), nullptr, 16) == 0) return;
    ::usleep(500);
  }
}

void Process::wait_until_stuck() {
  for (int before = -1;;) {
    int waiting = 0;
    ::ioctl(err_, FIONREAD, &waiting);
    if (waiting > 4096 - 200 && waiting == before && proc_field(pid_, "State:").starts_with('S')) return;
    before = waiting;
    ::usleep(10'000);
  }
}

Outcome Process::wait() {
  while (read_some()) {
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  outcome_.killed = WIFSIGNALED(status);
  outcome_.exit_code = outcome_.killed ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return outcome_;
}

}  // namespace crisp::test
