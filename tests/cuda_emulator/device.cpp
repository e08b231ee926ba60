// The device that programs see: as many as the settings say, each like an H100.
#include <cstdio>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/findings.h"

using namespace crisp::emulator;

cudaError_t cudaDriverGetVersion(int* version) {
  *version = settings().driver;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (settings().driver < 13000) return cudaErrorInsufficientDriver;  // also where there is no driver at all
  if (settings().devices == 0) return cudaErrorNoDevice;
  *count = settings().devices;
  return device_state();
}

cudaError_t cudaSetDevice(int device) {
  int count = 0;
  if (const cudaError_t e = cudaGetDeviceCount(&count)) return e;
  return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;  // one is emulated, however many are counted
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSetDevice(0);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (const cudaError_t e = cudaSetDevice(device)) return e;
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "emulated device");
  properties->totalGlobalMem = settings().memory_bytes;
  properties->sharedMemPerBlock = 48 << 10;
  properties->sharedMemPerBlockOptin = 227 << 10;
  properties->major = 9;
  properties->multiProcessorCount = 132;
  return cudaSuccess;
}
