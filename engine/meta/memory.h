// Addresses without memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "engine/device.h"

namespace crisp::meta {

class Meter;

/// Blocks whose addresses nobody else has. They hold zeros, and take memory only where the host has written to them.
/// Thread-safe.
class Memory {
 public:
  /// That of Device::meta or Device::meta_cuda; never ends, since tensors may be freed at exit.
  static Memory& of(Device device);

  explicit Memory(size_t (*counted_bytes)(size_t bytes)) : counted_bytes_(counted_bytes) {}

  /// 64-byte aligned. Throws Error where the process has no addresses left.
  void* allocate(size_t bytes) { return allocate(bytes, nullptr); }
  /// Of a kernel.
  void* allocate_scratch(size_t bytes);
  /// Null is allowed.
  void free(void* block) noexcept;

  /// The place of bytes of a block, which can be read and written from now on.
  void* open(const void* place);
  /// The same, or null where nobody has written to the block.
  const void* opened(const void* place) const;

  /// From now on what is freed counts until release_held().
  void hold_freed();
  void release_held() noexcept;

  int64_t used_bytes() const;
  int64_t peak_bytes() const;

  void set_meter(Meter* meter);

 private:
  struct Block {
    size_t addresses;
    int64_t counted;
    bool open;
  };
  using Blocks = std::map<char*, Block>;

  void* allocate(size_t bytes, const char* label);
  Blocks::const_iterator block_of(const void* place) const;
  void free_now(char* place) noexcept;

  size_t (*const counted_bytes_)(size_t bytes);
  mutable std::mutex mutex_;
  Blocks blocks_;
  int64_t used_ = 0, peak_ = 0;
  bool hold_ = false;
  std::vector<char*> held_;
  Meter* meter_ = nullptr;
};

}  // namespace crisp::meta
