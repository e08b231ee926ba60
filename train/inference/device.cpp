#include "train/inference/device.h"

#include "engine/backend.h"
#include "engine/fail.h"

namespace crisp {

Device device_for(DeviceChoice choice) {
  if (choice == DeviceChoice::cpu) return Device::cpu;
  const std::string problem = why_unavailable(Device::cuda);
  if (problem.empty()) return Device::cuda;
  if (choice == DeviceChoice::cuda) fail("--device cuda: {}; --device cpu computes on the CPU", problem);
  return Device::cpu;
}

std::string describe_choice(DeviceChoice choice) {
  if (choice != DeviceChoice::automatic) return {};
  const std::string problem = why_unavailable(Device::cuda);
  return problem.empty() ? fmt::format("--device auto: the GPU, {}", kernels_in_use(MatmulPrecision::f32, Device::cuda))
                         : fmt::format("--device auto: the CPU, since {}", problem);
}

}  // namespace crisp
