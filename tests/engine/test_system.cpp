// What the system is asked for, with Linux's calls and without: test_engine_portable runs these tests a second time, on
// a system.cpp that was compiled for a system which has none of them.
#include "engine/system.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "tests/data/files.h"
#include "tests/engine/helpers.h"
#include "tests/support/sanitizers.h"

using namespace crisp;
using namespace crisp::test;
namespace fs = std::filesystem;

namespace {

const bool portable = os::bytes_to_reserve() == 0;

constexpr size_t mib = size_t{1} << 20;

bool all_are(const char* begin, size_t bytes, char value) {
  return std::all_of(begin, begin + bytes, [value](char c) { return c == value; });
}

// Closed at the end of a scope.
struct Descriptor {
  int fd;
  explicit Descriptor(const std::string& path) : fd(::open(path.c_str(), O_RDWR | O_CLOEXEC)) {}
  ~Descriptor() { ::close(fd); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

}  // namespace

TEST_CASE("this program runs without Linux's calls", "[.portable]") { CHECK(portable); }

TEST_CASE("what is made usable of a reservation is zero, whatever it held before", "[system]") {
  for (const os::Backing backing :
       {os::Backing::ordinary, os::Backing::huge_pages, os::Backing::only_what_is_written}) {
    const bool huge = backing == os::Backing::huge_pages;
    char* const place = os::reserve(4 * mib, backing);
    REQUIRE(place != nullptr);
    CHECK(reinterpret_cast<uintptr_t>(place) % os::page_size() == 0);
    if (huge && !portable) CHECK(reinterpret_cast<uintptr_t>(place) % (2 * mib) == 0);
    REQUIRE(os::make_usable(place, mib));
    REQUIRE(os::make_usable(place + mib, 2 * mib));
    CHECK(all_are(place, 3 * mib, 0));
    std::memset(place, 7, 3 * mib);
    CHECK(os::discard(place + mib, mib) == !portable);
    CHECK(all_are(place, mib, 7));
    CHECK(all_are(place + mib, mib, portable ? 7 : 0));
    os::make_unusable(place + mib, 2 * mib);
    REQUIRE(os::make_usable(place + mib, 3 * mib));
    CHECK(all_are(place, mib, 7));
    CHECK(all_are(place + mib, 3 * mib, 0));
    os::unreserve(place, 4 * mib);
  }
  if (!sanitizer) CHECK(os::reserve(SIZE_MAX / 4, os::Backing::ordinary) == nullptr);  // (theirs ends the program)
}

TEST_CASE("who sleeps on a number is woken when it has changed", "[system]") {
  std::atomic<int> number = 0, seen = 0;
  os::sleep_while(number, 1);  // not at all
  std::vector<std::thread> sleepers;
  for (int i = 0; i < 3; ++i)
    sleepers.push_back(os::thread_without_signals([&] {
      while (number == 0) os::sleep_while(number, 0);
      ++seen;
    }));
  number = 1;
  os::wake_all(number);
  for (std::thread& sleeper : sleepers) sleeper.join();
  CHECK(seen == 3);
}

TEST_CASE("a child of fork() finds every brief mutex free, and what it guards whole", "[system]") {
  struct Guarded {
    os::BriefMutex mutex;
    int begun = 0, ended = 0;
    void change() {
      const std::lock_guard lock(mutex);
      ++begun;
      for (int i = 0; i < 100; ++i) std::this_thread::yield();
      ++ended;
    }
  } first, second;
  std::atomic<bool> over = false;
  std::vector<std::thread> threads;
  for (Guarded* guarded : {&first, &second, &first})
    threads.emplace_back([&over, guarded] {
      while (!over) guarded->change();
    });
  threads.emplace_back([&] {
    while (!over) Guarded().change();  // others come and go
  });
  int wrong = 0;
  for (int i = 0; i < 50; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      ::alarm(300);
      first.change();
      second.change();
      ::_exit(first.begun == first.ended && second.begun == second.ended ? 0 : 1);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    wrong += status != 0;
  }
  over = true;
  for (std::thread& t : threads) t.join();
  CHECK(wrong == 0);
}

TEST_CASE("a thread that stays on a processor may use that one", "[system]") {
  int before = 0, after = 0;
  std::thread([&] {
    before = os::usable_processors();
    os::stay_on_first_processor();
    after = os::usable_processors();
  }).join();
  CHECK(before >= 1);
  CHECK(after == (portable ? before : 1));
}

TEST_CASE("two directories change places in one step, or an error says that they cannot", "[system]") {
  const TempFolder at;
  at.write("a/of a", "");
  at.write("b/of b", "");
  errno = 0;
  const int result = os::exchange(at.path("a").c_str(), at.path("b").c_str());
  const bool done = result == 0;
  if (portable) CHECK(!done);
  if (!done) CHECK((result == -1 && (errno == ENOSYS || (!portable && errno == EINVAL))));  // of some file systems
  for (const char* moved : {"a/of b", "b/of a"}) CHECK(fs::exists(at.path(moved)) == done);
  for (const char* stayed : {"a/of a", "b/of b"}) CHECK(fs::exists(at.path(stayed)) == !done);
}

TEST_CASE("a lock belongs to the open file, or an error says that there is none", "[system]") {
  const TempFolder at;
  const std::string path = at.write("file", "");
  const Descriptor second(path);
  const auto lock = [](const Descriptor& d) { return os::lock_open_file(d.fd) == 0 ? 0 : errno; };
  {
    const Descriptor first(path);
    CHECK(lock(first) == (portable ? ENOSYS : 0));
    CHECK(lock(first) == (portable ? ENOSYS : 0));  // it has it
    const int error = lock(second);
    CHECK((portable ? error == ENOSYS : error == EAGAIN || error == EACCES));
  }
  CHECK(lock(second) == (portable ? ENOSYS : 0));
}

TEST_CASE("what the system tells of this process is so, or it tells nothing", "[system]") {
  const std::string program = os::this_program();
  CHECK(program.empty() == portable);
  if (!portable) CHECK(fs::equivalent(program, "/proc/self/exe"));

  const std::optional<double> earlier = os::seconds_since_boot(), later = os::seconds_since_boot();
  CHECK(earlier.has_value() == !portable);
  if (earlier && later) {
    double up = 0;
    std::ifstream("/proc/uptime") >> up;  // in hundredths, and later
    CHECK(*earlier <= *later);
    CHECK(*later <= up + 0.01);
    CHECK(up < *earlier + 60);
  }

  std::ifstream status("/proc/self/status");
  int64_t kib = 0;
  for (std::string word; status >> word;)
    if (word == "VmRSS:") status >> kib;
  REQUIRE(kib > 0);
  // The system counts each thread's last pages late.
  CHECK(os::peak_resident_bytes() > kib * 1024 * 3 / 4);
  CHECK(os::peak_resident_bytes() < kib * 1024 * 64);

  os::die_with_parent(SIGUSR1);
  int signal = 0;
  REQUIRE(::prctl(PR_GET_PDEATHSIG, &signal) == 0);
  CHECK(signal == (portable ? 0 : SIGUSR1));
  os::die_with_parent(0);
  const int before = ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  os::stay_unprivileged();
  CHECK(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == (portable ? before : 1));
}
