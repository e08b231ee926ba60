// On which device a program computes: what its user asks for, and the device that follows.
#pragma once

#include <string>

#include "engine/device.h"
#include "train/inference/choices.h"

namespace crisp {

/// The device. Throws Error, a sentence that says what is missing, where a GPU is asked for and cannot be used.
Device device_for(DeviceChoice choice);

/// What `automatic` has taken, for people: "--device auto: the CPU, since ..". Empty for the other choices.
std::string describe_choice(DeviceChoice choice);

}  // namespace crisp
