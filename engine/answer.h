// What the host asks a device now and reads later.
#pragma once

#include <cstddef>

#include "engine/tensor.h"

namespace crisp {

/// A small tensor's elements as they are when all that was called before has run. Whoever reads them waits for that,
/// and not for what has been called since: so the device has work while the host waits.
class Answer {
 public:
  /// To nothing.
  Answer() = default;
  /// Nobody may write to the tensor until the answer is read. Throws Error for more than Answers::most_bytes.
  explicit Answer(const Tensor& of);
  ~Answer();
  Answer(Answer&& other) noexcept;
  Answer& operator=(Answer&& other) noexcept;

  /// All of it, `bytes` as the tensor has. Throws Error where something that was called before failed.
  void read(void* to, size_t bytes) const;

 private:
  Tensor of_;
  void* asked_ = nullptr;  // the backend's; null where it has none
};

}  // namespace crisp
