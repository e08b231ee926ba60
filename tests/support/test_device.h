// What a program's tests compute on: many of them hold on every device, and run on each from the same objects.
#pragma once

#include "engine/device.h"

namespace crisp::test {

/// The CPU (support/cpu_device.cpp), unless the program defines it otherwise.
Device test_device();

}  // namespace crisp::test
