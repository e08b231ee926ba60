#include <fmt/format.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "tests/support/catch.h"
#include "tests/train/durable/crash_model.h"
#include "tests/train/support.h"
#include "train/durable/interrupt.h"
#include "train/durable/lock_file.h"
#include "train/durable/lock_holders.h"

namespace crisp::test {
namespace {

namespace fs = std::filesystem;
using file_calls::Kind;
using Kinds = std::vector<Kind>;

const Kinds no_locks{Kind::flock, Kind::lock_range};
// What a file system may lack, from the way of locking that is tried first to the last.
const std::vector<Kinds> lacking{{}, {Kind::flock}, no_locks};

// Another process, from `begin`, which returns what it reports, to its end by SIGKILL.
class Other {
 public:
  explicit Other(const std::function<char()>& begin) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    id_ = ::fork();
    if (id_ == 0) {
      try {
        const char report = begin();
        if (::write(ends[1], &report, 1) == 1) ::pause();
      } catch (...) {
      }
      ::_exit(1);
    }
    ::close(ends[1]);
    report_ = ends[0];
  }
  ~Other() {
    end();
    ::close(report_);
  }
  Other(const Other&) = delete;
  Other& operator=(const Other&) = delete;

  pid_t id() const { return id_; }
  bool has_reported() const {
    struct pollfd ready = {report_, POLLIN, 0};
    return ::poll(&ready, 1, 0) == 1;
  }
  /// Waits for it; '\0' if the process ended without.
  char report() const {
    char c = '\0';
    return ::read(report_, &c, 1) == 1 ? c : '\0';
  }
  void die() const { ::kill(id_, SIGKILL); }
  /// It is not waited for yet.
  void become_zombie() const {
    die();
    siginfo_t info;
    ::waitid(P_PID, static_cast<id_t>(id_), &info, WEXITED | WNOWAIT);
  }
  void end() {
    if (id_ <= 0) return;
    die();
    ::waitpid(id_, nullptr, 0);
    id_ = -1;
  }

 private:
  pid_t id_ = -1;
  int report_ = -1;
};

char hold(const std::string& path) {
  static LockFile lock;
  lock = LockFile(path);
  return lock.held() ? 'y' : 'n';
}

char wait_and_hold(const std::string& path) {
  static LockFile lock;
  lock = LockFile::wait_for(path, [](const std::string&) {});
  return 'y';
}

// As a process writes it down; "HOST PID START\n".
std::string line_of(const TempDir& dir, pid_t process) {
  const std::string path = dir / "line";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  add_lock_holder(fd, path, process);
  ::close(fd);
  return read_file(path);
}

std::string host_of(const std::string& line) { return line.substr(0, line.find(' ')); }

TEST_CASE("a lock is held by one, by whatever the file system can, and leaves nothing") {
  for (const int error : {ENOSYS, ENOLCK, EOPNOTSUPP, EINVAL}) {
    for (const Kinds& kinds : lacking) {
      INFO(std::strerror(error) << " for " << kinds.size() << " of two ways");
      const TempDir dir;
      const Without less(kinds, error);
      {
        LockFile lock(dir / "lock");
        CHECK(lock.held());
        CHECK(names_in(dir.path()) == std::vector<std::string>{kinds == no_locks ? "lock.held" : "lock"});
        const LockFile second(dir / "lock");
        CHECK_FALSE(second.held());
        CHECK(contains(second.holder(), kinds == no_locks ? fmt::format("process {} on host ", ::getpid()) : ""));
        const LockFile moved(std::move(lock));
        CHECK(moved.held());
        CHECK_FALSE(LockFile(dir / "lock").held());
      }
      CHECK(LockFile(dir / "lock").held());
      CHECK(names_in(dir.path()).empty());
    }
  }
}

TEST_CASE("a file system that locks, but fails, is an error") {
  const TempDir dir;
  const Without less({Kind::flock}, EIO);
  CHECK(message_of<Error>([&] { LockFile(dir / "lock"); }) == dir.path() + ": cannot be locked: Input/output error");
  CHECK(message_of<Error>([&] { LockFile(dir / "none/lock"); }) ==
        dir / "none: cannot be written: No such file or directory");
}

TEST_CASE("the lock of a process that was killed is free, at once and for who waits") {
  for (const Kinds& kinds : lacking) {
    INFO(kinds.size() << " of two ways are missing");
    const TempDir dir;
    const Without less(kinds, EOPNOTSUPP);
    Other first([&] { return hold(dir / "lock"); });
    REQUIRE(first.report() == 'y');
    CHECK_FALSE(LockFile(dir / "lock").held());
    Other second([&] { return wait_and_hold(dir / "lock"); });
    ::usleep(100'000);  // were it to fail, or not to wait, it would most likely have done so
    CHECK_FALSE(second.has_reported());
    first.become_zombie();
    CHECK(second.report() == 'y');
    CHECK_FALSE(LockFile(dir / "lock").held());
    second.end();
    CHECK(LockFile(dir / "lock").held());
    CHECK(names_in(dir.path()).empty());
  }
}

TEST_CASE("who waits for a lock says so once, and gives up for a signal") {
  const TempDir dir;
  const Without less(no_locks, ENOLCK);
  std::vector<std::string> said;
  {
    LockFile lock(dir / "lock");
    const LockFile waited = LockFile::wait_for(dir / "lock", [&](const std::string& text) {
      said.push_back(text);
      lock.release();
    });
    CHECK(waited.held());
  }
  REQUIRE(said.size() == 1);
  CHECK(contains(said[0], "waiting for another process that has locked " + dir / "lock: process "));
  const LockFile lock(dir / "lock");
  {
    const InterruptHandler signals;
    std::raise(SIGTERM);
    CHECK(message_of<Error>([&] { LockFile::wait_for(dir / "lock", [](const std::string&) {}); }) ==
          dir / "lock: interrupted while waiting for another process that has locked it");
  }
  const InterruptHandler forgets_the_signal;
}

TEST_CASE("a holder that is written down holds while it lives, or may live") {
  const TempDir dir;
  const std::string path = dir / "lock.held";
  Other other([] { return 'y'; });
  REQUIRE(other.report() == 'y');
  const std::string line = line_of(dir, other.id()), ours = line_of(dir, ::getpid()), host = host_of(line);
  const std::string living = fmt::format("process {} on host {}", other.id(), host);
  const auto holder = [&](const std::string& text) {
    write_file(path, text);
    return living_lock_holder(path);
  };
  CHECK(holder(line) == living);
  CHECK(holder(fmt::format("{} 999999999 5\n", host) + line) == living);  // one of the two is enough
  CHECK(holder("half of a li\n" + line) == living);
  CHECK(holder(fmt::format("{} {} 0\n", host, other.id())) == living);  // /proc did not say when it began
  CHECK(holder(fmt::format("elsewhere {} 5\n", other.id())) ==
        fmt::format("process {} on host elsewhere; if it no longer runs, delete {}", other.id(), path));
  CHECK(contains(holder("\x1b[31m 1 5\n"), "process 1 on host \"\\u001b[31m\";"));

  CHECK(holder(fmt::format("{} {} 1\n", host, other.id())) == "");  // another process had this number
  for (const char* process : {"0", "-1", "99999999999999999999", "x"})
    CHECK(holder(fmt::format("{} {} 5\n", host, process)) == "");
  CHECK(holder("no line of ours") == "");
  CHECK(holder(std::string(10'000, 'x')) == "");
  other.become_zombie();
  CHECK(holder(line) == "");
  CHECK(line_of(dir, other.id()) == "");  // a child that has ended before it was written down
  const pid_t gone = other.id();
  other.end();
  CHECK(holder(line) == "");
  CHECK(holder(fmt::format("{} {} 0\n", host, gone)) == "");
  CHECK(holder(line + ours) != "");
  fs::remove(path);
  CHECK(living_lock_holder(path) == "");
}

TEST_CASE("a lock without a holder is that of a process that is starting, for two seconds") {
  const TempDir dir;
  const std::string path = dir / "lock.held";
  const Without less(no_locks, ENOSYS);
  const auto write_empty = [&](int64_t age) {
    write_file(path, "");
    const struct timespec time = {::time(nullptr) - age, 0}, times[] = {time, time};
    REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
  };
  write_empty(0);
  const LockFile refused(dir / "lock");
  CHECK_FALSE(refused.held());
  CHECK(refused.holder() == "a process that is starting");
  for (const int64_t age : {10, -1000}) {  // and a file server whose clock is ahead
    write_empty(age);
    CHECK(LockFile(dir / "lock").held());
    CHECK(names_in(dir.path()).empty());
  }
}

TEST_CASE("a lock that cannot be written down is an error and none") {
  const TempDir dir;
  struct Failing : Without {
    Failing() : Without({Kind::write}, ENOSPC) {}
    int before(const file_calls::Call& call) override {
      return call.kind == Kind::flock || call.kind == Kind::lock_range ? ENOSYS : Without::before(call);
    }
  } const failing;
  CHECK(message_of<Error>([&] { LockFile(dir / "lock"); }) ==
        dir / "lock.held: cannot be written: No space left on device");
  CHECK(names_in(dir.path()).empty());
}

TEST_CASE("what is left of a lock is tidied up, a lock that is held is not") {
  for (const Kinds& kinds : lacking) {
    const TempDir dir;
    const Without less(kinds, EOPNOTSUPP);
    LockFile::tidy(dir / "lock");
    CHECK(names_in(dir.path()).empty());
    write_file(dir / (kinds == no_locks ? "lock.held" : "lock"), "a line of nobody\n");
    LockFile::tidy(dir / "lock");
    CHECK(names_in(dir.path()).empty());
    const LockFile lock(dir / "lock");
    LockFile::tidy(dir / "lock");
    CHECK(names_in(dir.path()).size() == 1);
    CHECK_FALSE(LockFile(dir / "lock").held());
  }
}

TEST_CASE("a process that was killed while it took a lock over is in nobody's way") {
  const TempDir dir;
  const Without less(no_locks, ENOSYS);
  write_file(dir / "lock.held", "a line of nobody\n");
  write_file(dir / "lock.held.takeover", "");
  CHECK(LockFile(dir / "lock").held());
  CHECK(names_in(dir.path()).empty());
}

TEST_CASE("a lock that was taken for a dead one's before its holder was written down is not held twice") {
  const TempDir dir;
  struct Slow : Without {
    explicit Slow(std::string file) : Without(no_locks, ENOSYS), path(std::move(file)) {}
    int before(const file_calls::Call& call) override {
      if (call.kind == Kind::write && !path.empty()) {  // another process was faster
        fs::remove(path);
        write_file(path, "elsewhere 1 5\n");
        path.clear();
      }
      return Without::before(call);
    }
    std::string path;
  } const slow(dir / "lock.held");
  const LockFile lock(dir / "lock");
  CHECK_FALSE(lock.held());
  CHECK(contains(lock.holder(), "process 1 on host elsewhere"));
  CHECK(read_file(dir / "lock.held") == "elsewhere 1 5\n");
}

TEST_CASE("of processes that find a dead one's lock together, one gets it") {
  const TempDir dir;
  const Without less(no_locks, ENOSYS);
  for (int round = 0; round < 10; ++round) {
    write_file(dir / "lock.held", "a line of nobody\n");
    std::vector<std::unique_ptr<Other>> others;
    for (int i = 0; i < 4; ++i) others.push_back(std::make_unique<Other>([&] { return hold(dir / "lock"); }));
    int held = 0;
    for (const auto& other : others) held += other->report() == 'y';
    CHECK(held == 1);
    for (const auto& other : others) other->end();
  }
}

TEST_CASE("a child keeps the lock that its parent shared with it") {
  for (const Kinds& kinds : lacking) {
    INFO(kinds.size() << " of two ways are missing");
    const TempDir dir;
    const Without less(kinds, EOPNOTSUPP);
    pid_t child = -1;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    Other parent([&] {
      static LockFile lock;
      lock = LockFile(dir / "lock");
      const pid_t id = ::fork();  // it inherits the descriptor
      if (id == 0)
        for (;;) ::pause();
      lock.share_with(id);
      if (::write(ends[1], &id, sizeof id) != sizeof id) return 'n';
      return lock.held() ? 'y' : 'n';
    });
    REQUIRE(parent.report() == 'y');
    REQUIRE(::read(ends[0], &child, sizeof child) == sizeof child);
    ::close(ends[0]), ::close(ends[1]);
    parent.end();
    CHECK_FALSE(LockFile(dir / "lock").held());
    ::kill(child, SIGKILL);
    const LockFile lock = LockFile::wait_for(dir / "lock", [](const std::string&) {});
    CHECK(lock.held());
  }
}

}  // namespace
}  // namespace crisp::test
