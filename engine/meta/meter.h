// Who takes the memory of a device without data, at the moment when most of it is taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "engine/device.h"

namespace crisp::meta {

/// Counts what is allocated on Device::meta or Device::meta_cuda while it lives, one at a time on a device.
class Meter {
 public:
  /// Scratch memory of kernels has a label of its own; so have, on Device::meta, the lists that the host keeps beside
  /// tensors (plans, shapes, names), which the CPU's backend takes from the same memory.
  static constexpr const char *scratch = "scratch", *host_lists = "host lists";

  /// `label` is called for each block, before it is there, and returns what it is for.
  Meter(Device device, std::function<std::string()> label);
  ~Meter();
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;

  /// Gives the block in which an address lies another label, from its beginning on. No block: nothing happens.
  void relabel(const void* address, const std::string& label);

  struct Part {
    std::string label;
    int64_t bytes;
  };
  struct Peak {
    int64_t bytes = 0;
    std::vector<Part> parts;  // whose sum it is, in the order in which their labels first came up
    std::string reached_by;   // the label of the block that made it so many
  };
  /// The first moment at which most bytes were in use.
  Peak peak() const;

 private:
  friend class Memory;
  struct Block {
    size_t label, addresses;  // how many of these
    int64_t bytes;            // that it counts for
  };
  struct Event {
    size_t block;
    bool frees;
    int64_t host_bytes;  // of lists, then
  };
  void allocated(const char* place, size_t addresses, int64_t bytes, const std::string& label);
  void freed(const char* place) noexcept;
  size_t number_of(const std::string& label);

  const Device device_;
  const std::function<std::string()> label_;
  const int64_t host_before_;
  mutable std::mutex mutex_;
  std::vector<std::string> labels_;
  std::vector<Block> blocks_;
  std::map<const char*, size_t> here_;  // blocks by their first address
  std::vector<Event> events_;
};

}  // namespace crisp::meta
