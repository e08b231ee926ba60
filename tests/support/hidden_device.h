// A device whose memory the host cannot touch, as a GPU's: the CPU's kernels on pages that are without access except
// while a kernel or a copy runs. What reads or writes a tensor's elements past the backend ends the program and says
// where; copies, waits and kernels are counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/tape.h"
#include "engine/tensor.h"

namespace crisp::test {

constexpr Device hidden = static_cast<Device>(100);

struct DeviceCopy {
  Device from, to;
  size_t bytes;
  std::string where;  // what HiddenDevice::during() and follow() named, and the last kernel before it
};

/// What the device did.
struct DeviceRecord {
  std::map<std::string, int64_t> calls;  // of each kernel
  int64_t waits = 0;  // of the host for the device: copies to the host, and kernels that return something
  int64_t joins = 0;
  std::vector<DeviceCopy> copies;

  int64_t kernels() const;
  int64_t to_device() const { return count(Device::cpu, hidden); }
  int64_t to_host() const { return count(hidden, Device::cpu); }
  int64_t within() const { return count(hidden, hidden); }
  int64_t count(Device from, Device to) const;
  /// All of it: one line for the kernels, one for each copy, or equal ones, with their number.
  std::string str() const;
};

/// The device, for a test that makes one; one at a time. While it lives, a fault in the device's memory names itself on
/// standard error before the program ends as it does after any fault:
///
///   the host touched memory of the hidden device in gelu (element access), last kernel unary
///
/// Tensors may outlive it. Memory that is new or free is full of NaN (i32: -1); writes outside of a block end the
/// program when it is freed; a kernel that is given an address of the host throws Error.
class HiddenDevice {
 public:
  HiddenDevice();
  ~HiddenDevice();
  HiddenDevice(const HiddenDevice&) = delete;
  HiddenDevice& operator=(const HiddenDevice&) = delete;

  /// Names what the host does from here on.
  void during(const std::string& operation) const;
  /// Names the operations of this tape and the place in the model. Takes its before_each().
  void follow(Tape& tape) const;
  /// What happened since the last call, or since the device was made.
  DeviceRecord take() const;
};

}  // namespace crisp::test
