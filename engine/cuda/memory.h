// Device memory from a cache, with its records in host memory. What is freed is used again in the order of the queue,
// so that no block waits for the kernels that used it before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#ifndef CRISP_CUDA_NAMESPACE
#define CRISP_CUDA_NAMESPACE cuda
#endif

namespace crisp::CRISP_CUDA_NAMESPACE {

/// Blocks cut by best fit from stretches that the device gave, free neighbours merged; the same calls give the same
/// places. Thread-safe.
class Memory {
 public:
  /// The process's memory; never ends, since tensors may be freed at exit.
  static Memory& the();

  /// 256-byte aligned, full of anything. Throws Error, with what was asked for, what is held and what is free, when the
  /// device has no more.
  void* allocate(size_t bytes);
  /// Null is allowed.
  void free(void* block) noexcept;

  /// From now on what is freed is in use until release_held(): another queue may still read or write it.
  void hold_freed();
  void release_held() noexcept;

  int64_t bytes_in_use() const;
  int64_t peak_bytes() const;
  /// What the device gave.
  int64_t bytes_held() const;

  /// For tests: whether blocks that are freed are kept for the next, as they are at the start. The emulator finds more
  /// where each block is the device's own.
  void keep_blocks(bool keep);
  bool keeps_blocks() const;

 private:
  struct Block {
    size_t bytes;
    bool is_free;
    bool begins_stretch;
  };
  using Blocks = std::map<char*, Block>;
  char* from_device(size_t bytes);
  char* take(size_t bytes, bool give_back);
  bool give_back_free_stretches();
  void set_free(Blocks::iterator block);
  void set_used(Blocks::iterator block, size_t bytes);
  void free_now(char* place) noexcept;

  mutable std::mutex mutex_;
  Blocks blocks_;                            // by address; neighbours of one stretch follow each other
  std::set<std::pair<size_t, char*>> free_;  // by size, then address
  std::map<char*, size_t> alone_;            // blocks made while none are kept
  int64_t in_use_ = 0, peak_ = 0, held_ = 0;
  bool keep_ = true, hold_ = false;
  std::vector<char*> held_back_;  // freed, but in use
};

}  // namespace crisp::CRISP_CUDA_NAMESPACE
