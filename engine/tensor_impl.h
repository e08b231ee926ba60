// What a Tensor handle points to. Private to the engine's tensor.cpp, gradient.cpp and tape.cpp.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/tensor.h"

namespace crisp {

struct Storage {
  Storage(size_t bytes, Device where, bool zeroed);
  explicit Storage(std::shared_ptr<void> elements);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  Device device;
  void* data;
  std::shared_ptr<void> blob;  // what `data` belongs to, if not to the device's backend
};

struct TensorImpl {
  size_t byte_offset = 0;  // into the storage, which belongs to the handles
  Shape shape;
  DType dtype = DType::f32;
  Device device = Device::cpu;
  bool requires_grad = false;
  bool keep_grad = false;  // do not release it during backward: a leaf, or kept for inspection
  bool leaf = true;        // not made by a recorded operation
  uint64_t recording = 0;  // of a recorded result: the Tape::recording_ that made it
  Gradient gradient;
  std::string name;
  const char* made_by = nullptr;  // the operation
  std::shared_ptr<const ScopeName> scope;
};

/// How many backward passes have ended on the device, each of which then joins what runs beside the rest
/// (Backend::join): what was written before has been written whole for all that is called afterwards.
std::atomic<uint64_t>& passes_ended(Device device);

}  // namespace crisp
