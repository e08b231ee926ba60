#include "tests/train/durable/crash_model.h"

#include <fmt/format.h>

#include <fcntl.h>

#include <algorithm>
#include <filesystem>

#include "tests/train/support.h"
#include "weights/file_changes.h"

namespace crisp::test {
namespace {

namespace fs = std::filesystem;
using file_calls::Kind;

struct Node {
  bool directory = false;
  std::string now, flushed;  // of a file
};
using NodePtr = std::shared_ptr<Node>;
using Key = std::pair<Node*, std::string>;  // a name in a directory
using Names = std::map<Key, NodePtr>;

// A change of one or two names.
struct Change {
  std::vector<std::pair<Key, NodePtr>> sets;  // nullptr: the name goes
  std::set<Node*> touched;                    // directories
  Node* made = nullptr;                       // the directory that is new
  bool flushed = false;
  std::string what;
};

class Model {
 public:
  explicit Model(const Disk& before) {
    for (const auto& [path, bytes] : before) {
      const bool directory = path.ends_with('/');
      base_[key(directory ? path.substr(0, path.size() - 1) : path)] =
          std::make_shared<Node>(Node{directory, bytes, bytes});
      now_ = base_;
    }
  }

  void apply(const CallLog::Entry& call, bool ignore_flush) {
    switch (call.kind) {
      case Kind::open:
        if (call.creates) change({{key(call.path), std::make_shared<Node>()}}, call);
        open_[call.fd] = call.path.empty() ? root_ : now_.at(key(call.path));
        break;
      case Kind::write:
        open_.at(call.fd)->now += call.bytes;
        break;
      case Kind::ftruncate:
        open_.at(call.fd)->now.resize(call.size);
        break;
      case Kind::fsync:
        if (!ignore_flush) flush(*open_.at(call.fd));
        break;
      case Kind::close:
        open_.erase(call.fd);
        break;
      case Kind::mkdir:
        change({{key(call.path), std::make_shared<Node>(Node{.directory = true, .now = {}, .flushed = {}})}}, call);
        break;
      case Kind::unlink:
      case Kind::rmdir:
        change({{key(call.path), nullptr}}, call);
        break;
      case Kind::rename:
        change({{key(call.to), now_.at(key(call.path))}, {key(call.path), nullptr}}, call);
        break;
      case Kind::exchange: {
        const NodePtr a = now_.at(key(call.path)), b = now_.at(key(call.to));
        change({{key(call.path), b}, {key(call.to), a}}, call);
        break;
      }
      case Kind::link:
        change({{key(call.to), now_.at(key(call.path))}}, call);
        break;
      default:
        break;
    }
  }

  // Every state that a crash may leave now.
  bool for_each_state(const std::function<bool(Disk, bool killed, const std::string& how)>& check) const {
    std::vector<size_t> pending;
    for (size_t i = 0; i < changes_.size(); ++i)
      if (!changes_[i].flushed) pending.push_back(i);
    std::vector<bool> all(changes_.size(), true), none;
    for (const Change& c : changes_) none.push_back(c.flushed);
    if (!check(disk(all, true), true, "all is there")) return false;
    if (!check(disk(all, false), false, "all names are there")) return false;
    if (!check(disk(none, false), false, "nothing unflushed is there")) return false;
    if (!check(disk(none, true), false, "unflushed data is there, and no name")) return false;
    for (const size_t i : pending) {
      std::vector<bool> but_one = all, one = none;
      but_one[i] = false;
      for (size_t j = i + 1; j < changes_.size(); ++j)
        for (size_t k = i; k < j; ++k)
          if (!but_one[k] && depends(j, k) && !changes_[j].flushed) but_one[j] = false;
      one[i] = true;
      for (size_t j = i; j-- > 0;)
        for (size_t k = j + 1; k <= i; ++k)
          if (one[k] && depends(k, j)) one[j] = true;
      if (!check(disk(but_one, false), false, "lost: " + changes_[i].what)) return false;
      if (!check(disk(one, false), false, "kept alone: " + changes_[i].what)) return false;
    }
    return true;
  }

 private:
  Key key(const std::string& path) const {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return {root_.get(), path};
    const auto parent = now_.find(key(path.substr(0, slash)));
    if (parent == now_.end()) fail("crash model: no directory for {}", path);
    return {parent->second.get(), path.substr(slash + 1)};
  }

  void change(std::vector<std::pair<Key, NodePtr>> sets, const CallLog::Entry& call) {
    Change c{.sets = std::move(sets),
             .touched = {},
             .what = fmt::format("{} {} {}", file_calls::name_of(call.kind), call.path, call.to)};
    if (call.kind == Kind::mkdir) c.made = c.sets[0].second.get();
    for (const auto& [name, node] : c.sets) {
      c.touched.insert(name.first);
      if (node)
        now_[name] = node;
      else
        now_.erase(name);
      if (node) kept_.push_back(node);
    }
    changes_.push_back(std::move(c));
  }

  // The later one is not on the disk without the earlier: they change one name, or give one thing a name.
  bool follows(size_t later, size_t earlier) const {
    for (const auto& [a, node_a] : changes_[later].sets)
      for (const auto& [b, node_b] : changes_[earlier].sets)
        if (a == b || (node_a && node_a == node_b)) return true;
    return false;
  }
  // Or the earlier made the directory of the later, which is then nowhere to be found.
  bool depends(size_t later, size_t earlier) const {
    const Node* const made = changes_[earlier].made;
    return follows(later, earlier) || (made != nullptr && changes_[later].touched.contains(const_cast<Node*>(made)));
  }

  void flush(Node& node) {
    if (!node.directory) {
      node.flushed = node.now;
      return;
    }
    for (size_t i = 0; i < changes_.size(); ++i)
      if (changes_[i].touched.contains(&node)) changes_[i].flushed = true;
    for (size_t i = changes_.size(); i-- > 0;)  // and what these depend on
      for (size_t j = i + 1; j < changes_.size(); ++j)
        if (changes_[j].flushed && follows(j, i)) changes_[i].flushed = true;
  }

  Disk disk(const std::vector<bool>& there, bool data) const {
    Names names = base_;
    for (size_t i = 0; i < changes_.size(); ++i) {
      if (!there[i]) continue;
      for (const auto& [name, node] : changes_[i].sets) {
        if (node)
          names[name] = node;
        else
          names.erase(name);
      }
    }
    Disk found;
    collect(names, root_.get(), "", data, found);
    return found;
  }

  static void collect(const Names& names, Node* directory, const std::string& prefix, bool data, Disk& found) {
    for (auto it = names.lower_bound({directory, ""}); it != names.end() && it->first.first == directory; ++it) {
      const Node& node = *it->second;
      const std::string path = prefix + it->first.second;
      found[path + (node.directory ? "/" : "")] = data ? node.now : node.flushed;
      if (node.directory) collect(names, it->second.get(), path + "/", data, found);
    }
  }

  NodePtr root_ = std::make_shared<Node>(Node{.directory = true, .now = {}, .flushed = {}});
  Names base_, now_;
  std::vector<Change> changes_;
  std::vector<NodePtr> kept_;  // so that no address is used twice
  std::map<int, NodePtr> open_;
};

}  // namespace

CallLog::CallLog(std::string root) : root_(std::move(root)) { file_calls::observe(this); }
CallLog::~CallLog() { file_calls::observe(nullptr); }

void CallLog::reach(int level) {
  level_ = level;
  entries_.push_back({.kind = Kind::statvfs, .path = "reached", .to = {}, .bytes = {}, .level = level});
}

std::string CallLog::below(std::string_view path) const {
  if (path == root_) return "";
  if (!path.starts_with(root_ + "/")) fail("call log: {} is not below {}", path, root_);
  std::string relative(path.substr(root_.size() + 1));
  while (relative.ends_with('/')) relative.pop_back();
  return relative;
}

int CallLog::before(const file_calls::Call& call) {
  was_there_ = call.kind == Kind::open && entry_exists(std::string(call.path));
  return 0;
}

void CallLog::after(const file_calls::Call& call, int64_t result) {
  if (result < 0) return;
  Entry entry{.kind = call.kind,
              .path = call.path.empty() ? open_.at(call.fd) : below(call.path),
              .to = call.to.empty() ? "" : below(call.to),
              .bytes = std::string(call.bytes),
              .fd = call.fd,
              .size = call.size,
              .level = level_};
  if (call.kind == Kind::open) {
    entry.fd = static_cast<int>(result);
    entry.creates = !was_there_ && (call.flags & O_CREAT) != 0;
    open_[entry.fd] = entry.path;
  }
  entries_.push_back(std::move(entry));
}

Disk disk_at(const std::string& root) {
  Disk disk;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root)) {
    const std::string path = entry.path().lexically_relative(root).string();
    if (entry.is_directory())
      disk[path + "/"] = "";
    else
      disk[path] = read_file(entry.path().string());
  }
  return disk;
}

void write_disk(const Disk& disk, const std::string& root) {
  fs::remove_all(root);
  fs::create_directories(root);
  for (const auto& [path, bytes] : disk) {
    if (path.ends_with('/'))
      fs::create_directories(root + "/" + path);
    else
      write_file(root + "/" + path, bytes);
  }
}

bool for_each_crash(const Disk& before, const std::vector<CallLog::Entry>& log, int ignored_flush, KnownCrashes& known,
                    const std::function<bool(const Crash&)>& check) {
  Model model(before);
  int flushes = 0;
  for (size_t i = 0; i < log.size(); ++i) {
    model.apply(log[i], log[i].kind == Kind::fsync && flushes++ == ignored_flush);
    const int level = log[i].level;
    const bool good = model.for_each_state([&](Disk disk, bool killed, const std::string& how) {
      if (!known.insert({disk, level, killed}).second) return true;
      return check({std::move(disk), level, killed,
                    fmt::format("after call {}, {} {} {}: {}", i, file_calls::name_of(log[i].kind), log[i].path,
                                log[i].to, how)});
    });
    if (!good) return false;
  }
  return true;
}

}  // namespace crisp::test
