// The elements of model tensors as safetensors files have them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/tensor.h"

namespace crisp {

inline std::vector<uint64_t> file_shape(const Shape& shape) { return {shape.dims().begin(), shape.dims().end()}; }

/// Calls f with the elements of a CPU tensor as a span.
template <class F>
void with_elements(const Tensor& tensor, F&& f) {
  with_type(tensor, [&]<class T>() { f(std::span<T>(tensor.data<T>(), static_cast<size_t>(tensor.numel()))); });
}

/// f(std::span<T>) with room in host memory for the tensor's elements, which then become those.
template <class F>
void write_elements(const Tensor& tensor, F&& f) {
  if (tensor.device() == Device::cpu) return with_elements(tensor, f);
  const Tensor host = Tensor::empty(tensor.shape(), tensor.dtype());
  with_elements(host, f);
  tensor.copy_from(host);
}

}  // namespace crisp
