// The device's memory: one stretch of addresses that the host cannot touch, with a gap behind each allocation.
#pragma once

#include <cstddef>

namespace crisp::emulator {

constexpr size_t device_addresses = size_t{4} << 30;
constexpr int not_a_number = 0xFF;  // each byte of memory that nobody wrote

/// Null where the settings' memory does not suffice.
void* allocate(size_t bytes);
/// False for what is no allocation.
bool release(void* p);
size_t allocated();
bool is_device_memory(const void* p);
/// Whether the bytes lie in one allocation, or in the running block's shared memory.
bool is_allocated(const void* p, size_t bytes);
size_t offset_in_device(const void* p);

/// The shared memory of the block to run, full of NaN.
char* open_shared(size_t bytes);
bool is_shared(const void* p);
size_t offset_in_shared(const void* p);

/// While one lives, device memory can be touched.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

/// Whether the bytes lie in one allocation of cudaMallocHost.
bool is_pinned(const void* p, size_t bytes);

}  // namespace crisp::emulator
