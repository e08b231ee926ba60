// A file system that is as forgetful as POSIX allows: after a power failure only what was flushed is certain to be
// there. It is filled from the calls that a program made (weights/file_calls.h) and asked for every state in which the
// disk may be found.
#pragma once

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "weights/file_calls.h"

namespace crisp::test {

/// While it lives, all calls below `root` are recorded and carried out.
class CallLog : public file_calls::Observer {
 public:
  struct Entry {
    file_calls::Kind kind;
    std::string path, to;  // relative to root; of a call on a descriptor: what that was opened as
    std::string bytes;
    int fd = -1;
    bool creates = false;  // open made the file
    uint64_t size = 0;
    int level = 0;  // reached before this call
  };

  explicit CallLog(std::string root);
  ~CallLog() override;
  int before(const file_calls::Call& call) override;
  void after(const file_calls::Call& call, int64_t result) override;

  /// From here on the program may rely on what it has done so far: a crash must not fall behind `level`.
  void reach(int level);
  int level() const { return level_; }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::string below(std::string_view path) const;

  std::string root_;
  std::vector<Entry> entries_;
  std::map<int, std::string> open_;
  bool was_there_ = false;
  int level_ = 0;
};

/// While it lives nothing is flushed, which saves time where that is not what is tested.
class NoFlush : public file_calls::Observer {
 public:
  NoFlush() { file_calls::observe(this); }
  ~NoFlush() override { file_calls::observe(nullptr); }
  int before(const file_calls::Call& call) override { return call.kind == file_calls::Kind::fsync ? EINVAL : 0; }
  void after(const file_calls::Call&, int64_t) override {}
};

/// While it lives, calls of some kinds fail, as on a file system that does not know them.
class Without : public file_calls::Observer {
 public:
  Without(std::vector<file_calls::Kind> kinds, int error) : kinds_(std::move(kinds)), error_(error) {
    file_calls::observe(this);
  }
  ~Without() override { file_calls::observe(nullptr); }
  int before(const file_calls::Call& call) override {
    return std::find(kinds_.begin(), kinds_.end(), call.kind) != kinds_.end() ? error_ : 0;
  }
  void after(const file_calls::Call&, int64_t) override {}

 private:
  std::vector<file_calls::Kind> kinds_;
  int error_;
};

/// A directory's content: paths to bytes; directories end with a slash.
using Disk = std::map<std::string, std::string>;
Disk disk_at(const std::string& root);
void write_disk(const Disk& disk, const std::string& root);

/// What may be found after a crash, with what must have been reached.
struct Crash {
  Disk disk;
  int level = 0;
  bool killed = false;  // the process alone: everything done is there
  std::string when;     // in words
};

/// States that were looked at already: the disk, the level, killed.
using KnownCrashes = std::set<std::tuple<Disk, int, bool>>;

/// Calls check(crash) for every state that a crash after any of the calls may leave and that is not known, until it
/// returns false; they become known: all is there (kill -9); of what was not flushed nothing, or the names without the
/// data, or all names but one, or one alone (with what it depends on). `ignored_flush`: the number of an fsync, from 0,
/// that does nothing; -1: none. False when a check returned false.
bool for_each_crash(const Disk& before, const std::vector<CallLog::Entry>& log, int ignored_flush, KnownCrashes& known,
                    const std::function<bool(const Crash&)>& check);

}  // namespace crisp::test
