#include "engine/system.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#if !defined(__linux__) && !defined(CRISP_PORTABLE_SYSTEM)
#define CRISP_PORTABLE_SYSTEM
#endif

#if defined(CRISP_PORTABLE_SYSTEM)
#include <cstring>
#include <new>
#else
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <ctime>
#include <vector>
#endif

#if defined(__unix__) || defined(__APPLE__)
#define CRISP_POSIX
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#endif

namespace crisp::os {

#if !defined(CRISP_PORTABLE_SYSTEM)

// --- memory ----------------------------------------------------------------------------------------------------------

size_t page_size() {
  static const auto size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

size_t bytes_to_reserve() {
  const long pages = std::max(::sysconf(_SC_PHYS_PAGES), 0L);
  const size_t wanted = 2 * static_cast<size_t>(pages) * page_size();
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return wanted;
  // Threads, files and the C library need addresses as well.
  return std::min(wanted, static_cast<size_t>(limit.rlim_cur / 2));
}

char* reserve(size_t bytes, Backing backing) {
  constexpr size_t huge_page = size_t{2} << 20;
  const bool huge = backing == Backing::huge_pages;
  const size_t more = huge ? huge_page : 0;
  const int uncounted = backing == Backing::only_what_is_written ? MAP_NORESERVE : 0;
  void* const place = ::mmap(nullptr, bytes + more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | uncounted, -1, 0);
  if (place == MAP_FAILED) return nullptr;
  char* const all = static_cast<char*>(place);
  if (!huge) return all;
  const size_t before = (huge_page - reinterpret_cast<uintptr_t>(all) % huge_page) % huge_page;
  char* const begin = all + before;
  if (before > 0) ::munmap(all, before);
  if (before < more) ::munmap(begin + bytes, more - before);
  ::madvise(begin, bytes, MADV_HUGEPAGE);  // only a hint
  return begin;
}

void allow_huge_pages(char* place, size_t bytes, bool allow) noexcept {
  ::madvise(place, bytes, allow ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

void unreserve(char* place, size_t bytes) noexcept { ::munmap(place, bytes); }

bool make_usable(char* place, size_t bytes) noexcept { return ::mprotect(place, bytes, PROT_READ | PROT_WRITE) == 0; }

bool discard(char* place, size_t bytes) noexcept { return ::madvise(place, bytes, MADV_DONTNEED) == 0; }

void make_unusable(char* place, size_t bytes) noexcept {
  ::madvise(place, bytes, MADV_DONTNEED);
  ::mprotect(place, bytes, PROT_NONE);
}

// --- processors and threads ------------------------------------------------------------------------------------------

int usable_processors() {
  // The system refuses a set that is smaller than its own.
  for (size_t cores = 1024; cores <= size_t{1} << 20; cores *= 2) {
    std::vector<cpu_set_t> set(cores / CPU_SETSIZE);
    const size_t bytes = set.size() * sizeof(cpu_set_t);
    if (::sched_getaffinity(0, bytes, set.data()) == 0) return CPU_COUNT_S(bytes, set.data());
  }
  return static_cast<int>(std::thread::hardware_concurrency());
}

void stay_on_first_processor() {
  cpu_set_t allowed, first;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  int core = 0;
  while (!CPU_ISSET(core, &allowed)) ++core;
  CPU_ZERO(&first);
  CPU_SET(core, &first);
  ::sched_setaffinity(0, sizeof first, &first);
}

bool allow_tiles() {
#if defined(SYS_arch_prctl)
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

static_assert(sizeof(std::atomic<int>) == sizeof(int));
void sleep_while(std::atomic<int>& value, int old) {
  ::syscall(SYS_futex, &value, FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
}
void wake_all(std::atomic<int>& value) {
  ::syscall(SYS_futex, &value, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

// --- processes -------------------------------------------------------------------------------------------------------

// Without /proc, the name by which it was started.
std::string this_program() {
  const char* const usual = "/proc/self/exe";
  if (::access(usual, R_OK) == 0) return usual;
  const auto started = ::getauxval(AT_EXECFN);
  return started == 0 ? usual : reinterpret_cast<const char*>(started);
}

std::optional<double> seconds_since_boot() {
  timespec now{};
  if (::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return std::nullopt;
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void die_with_parent(int signal) noexcept { ::prctl(PR_SET_PDEATHSIG, signal); }

void stay_unprivileged() noexcept { ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }

// --- files -----------------------------------------------------------------------------------------------------------

int exchange(const char* a, const char* b) { return ::renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE); }

int lock_open_file(int fd) {
  struct ::flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return ::fcntl(fd, F_OFD_SETLK, &whole);
}

#else  // what every C++ library has

constexpr std::align_val_t line{64};

size_t page_size() { return static_cast<size_t>(line); }
size_t bytes_to_reserve() { return 0; }
char* reserve(size_t bytes, Backing) { return static_cast<char*>(::operator new(bytes, line, std::nothrow)); }
void unreserve(char* place, size_t) noexcept { ::operator delete(place, line); }
bool make_usable(char* place, size_t bytes) noexcept {
  std::memset(place, 0, bytes);
  return true;
}
bool discard(char*, size_t) noexcept { return false; }
void allow_huge_pages(char*, size_t, bool) noexcept {}
void make_unusable(char*, size_t) noexcept {}

int usable_processors() {
#if defined(__EMSCRIPTEN__) && !defined(__EMSCRIPTEN_PTHREADS__)
  return 1;
#else
  return static_cast<int>(std::thread::hardware_concurrency());
#endif
}
void stay_on_first_processor() {}
bool allow_tiles() { return false; }
void sleep_while(std::atomic<int>& value, int old) { value.wait(old); }
void wake_all(std::atomic<int>& value) { value.notify_all(); }

std::string this_program() { return ""; }
std::optional<double> seconds_since_boot() { return std::nullopt; }
void die_with_parent(int) noexcept {}
void stay_unprivileged() noexcept {}

namespace {
int not_here() {
  errno = ENOSYS;
  return -1;
}
}  // namespace
int exchange(const char*, const char*) { return not_here(); }
int lock_open_file(int) { return not_here(); }

#endif

#if defined(CRISP_POSIX)

std::thread thread_without_signals(std::function<void()> body) {
  // It inherits what its maker blocks. Those that a thread causes itself cannot wait.
  class Blocked {
   public:
    Blocked() {
      sigset_t all;
      sigfillset(&all);
      for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&all, own);
      pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~Blocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    Blocked(const Blocked&) = delete;
    Blocked& operator=(const Blocked&) = delete;

   private:
    sigset_t before_;
  } const blocked;
  return std::thread(std::move(body));
}

void call_in_children(void (*call)()) { pthread_atfork(nullptr, nullptr, call); }

// All that there are. Usable before and after all other objects of static lifetime.
struct BriefMutexes {
  static void add(BriefMutex& one) {
    const std::lock_guard lock(mutex);
    one.next_ = first;
    one.place_ = &first;
    if (first) first->place_ = &one.next_;
    first = &one;
  }
  static void remove(BriefMutex& one) {
    const std::lock_guard lock(mutex);
    *one.place_ = one.next_;
    if (one.next_) one.next_->place_ = one.place_;
  }
  static void lock() {
    mutex.lock();
    for (BriefMutex* each = first; each; each = each->next_) each->lock();
  }
  static void unlock() {
    for (BriefMutex* each = first; each; each = each->next_) each->unlock();
    mutex.unlock();
  }

 private:
  static constinit inline std::mutex mutex;
  static constinit inline BriefMutex* first = nullptr;
};

BriefMutex::BriefMutex() {
  static const int watched = pthread_atfork(BriefMutexes::lock, BriefMutexes::unlock, BriefMutexes::unlock);
  static_cast<void>(watched);
  BriefMutexes::add(*this);
}
BriefMutex::~BriefMutex() { BriefMutexes::remove(*this); }

int64_t peak_resident_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
#if defined(__APPLE__)
  constexpr int64_t unit = 1;
#else
  constexpr int64_t unit = 1024;
#endif
  return int64_t{usage.ru_maxrss} * unit;
}

#else

std::thread thread_without_signals(std::function<void()> body) { return std::thread(std::move(body)); }
void call_in_children(void (*)()) {}
BriefMutex::BriefMutex() = default;
BriefMutex::~BriefMutex() = default;
int64_t peak_resident_bytes() { return 0; }

#endif

}  // namespace crisp::os
