// What a Tensor handle points to. Private to the engine's tensor.cpp and tape.cpp.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "engine/tensor.h"

namespace crisp {

struct Storage {
  Storage(size_t bytes, Device where);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  Device device;
  void* data;
};

struct TensorImpl {
  std::shared_ptr<Storage> storage;
  size_t byte_offset = 0;
  Shape shape;
  DType dtype = DType::f32;
  bool requires_grad = false;
  bool has_grad = false;   // grad holds a value (its memory outlives clear_grad())
  bool keep_grad = false;  // do not release it during backward: a leaf, or kept for inspection
  bool leaf = true;        // not made by a recorded operation
  uint64_t recording = 0;  // of a recorded result: the Tape::recording_ that made it
  std::shared_ptr<TensorImpl> grad;
  double grad_sum_squares = std::numeric_limits<double>::quiet_NaN();  // NaN: not known
  bool takes_rows = false;                                             // the gradient is row_grad, never grad
  RowGradient row_grad;
  std::string name;
  const char* made_by = nullptr;  // the operation
  const ScopeName* scope = nullptr;
};

}  // namespace crisp
