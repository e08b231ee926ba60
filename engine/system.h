// What a process asks of the system beyond the standard library. All that only Linux has is in system.cpp; elsewhere,
// and where CRISP_PORTABLE_SYSTEM is defined as that file is compiled (tests/engine does both), each function does what
// stands behind "Elsewhere". A leaf header.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace crisp::os {

// --- memory: addresses are reserved first, and get memory as they are needed -----------------------------------------

/// The functions below take whole pages. Elsewhere 64 bytes.
size_t page_size();
/// The bytes to reserve before any are needed: twice the machine's memory, since addresses cost nothing; under a limit
/// (ulimit -v) half of it. Elsewhere 0: what is reserved is memory, so that only what is needed should be.
size_t bytes_to_reserve();
/// How reserved addresses get memory: as all memory; in pages of 2 MiB, if the system will, from a multiple of that on;
/// or only those pages that are written, however many more there are than memory.
enum class Backing : uint8_t { ordinary, huge_pages, only_what_is_written };
/// Whether these addresses, which have huge pages, get them from now on, too, or each of the smallest pages by itself.
/// Only a hint. Elsewhere nothing happens.
void allow_huge_pages(char* place, size_t bytes, bool allow) noexcept;
/// Addresses that nobody else has and that cannot be read yet, from a page's begin on. Null where the system refuses.
/// Elsewhere operator new's.
char* reserve(size_t bytes, Backing backing);
/// All of what reserve() gave, usable or not.
void unreserve(char* place, size_t bytes) noexcept;
/// From now on these bytes can be read and written; they are 0. False when memory runs out.
bool make_usable(char* place, size_t bytes) noexcept;
/// Gives the memory back; the addresses stay usable, and hold zeros. False where nothing has changed. Elsewhere always.
bool discard(char* place, size_t bytes) noexcept;
/// Gives the memory back, and the addresses are no longer usable. Elsewhere nothing happens.
void make_unusable(char* place, size_t bytes) noexcept;

// --- processors and threads ------------------------------------------------------------------------------------------

/// The processors that this process may run on (`taskset`, cpusets). Elsewhere those of the machine, 0 where they are
/// not known, 1 where the program was built without threads.
int usable_processors();
/// Keeps the calling thread on the first of them. Elsewhere nothing happens.
void stay_on_first_processor();
/// Asks for the right to use AMX's tiles, of a processor that has them; false without it. Elsewhere always.
bool allow_tiles();

/// Sleeps until wake_all(), not at all where `value` is not `old`; may return for no reason. Elsewhere std::atomic's.
void sleep_while(std::atomic<int>& value, int old);
void wake_all(std::atomic<int>& value);

/// A thread that gets no signal but those that it causes itself. Throws std::system_error where none can be made. Where
/// the system is no POSIX, a thread.
std::thread thread_without_signals(std::function<void()> body);
/// `call` is called in every child after fork(). Where the system is no POSIX there is none.
void call_in_children(void (*call)());
/// Guards what takes moments. fork() waits for the threads that hold one: a child, which has none of them, finds each
/// unlocked and what it guards whole. Who holds one neither forks, nor takes, makes or destroys another. Where the
/// system is no POSIX, std::mutex.
class BriefMutex {
 public:
  BriefMutex();
  ~BriefMutex();
  BriefMutex(const BriefMutex&) = delete;
  BriefMutex& operator=(const BriefMutex&) = delete;
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  friend struct BriefMutexes;
  std::mutex mutex_;
  BriefMutex *next_ = nullptr, **place_ = nullptr;  // in the list of all, and where that points to this one
};

// --- processes -------------------------------------------------------------------------------------------------------

/// A path by which the file of this process can be opened. Elsewhere, where none is known, "".
std::string this_program();
/// Since the machine was started, sleep included. Elsewhere nothing.
std::optional<double> seconds_since_boot();
/// The most memory that this process has had resident. 0 where the system is no POSIX.
int64_t peak_resident_bytes();

// Between fork and exec, too:

/// This process gets `signal` when its parent dies. Elsewhere it lives on.
void die_with_parent(int signal) noexcept;
/// What it executes gets no more rights than it has itself (setuid). Elsewhere nothing happens.
void stay_unprivileged() noexcept;

// --- files: as system calls, 0, or -1 and errno ----------------------------------------------------------------------

/// Two entries of a file system change places in one step. Elsewhere ENOSYS.
int exchange(const char* a, const char* b);
/// An exclusive lock on the whole file that belongs to the open file, as flock's does. Elsewhere ENOSYS.
int lock_open_file(int fd);

}  // namespace crisp::os
