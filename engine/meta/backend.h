// Devices without data, after PyTorch's "meta": tensors have shapes, types and addresses, memory is counted as on
// another device, and kernels compute nothing. The code of a training step then tells in milliseconds how much memory
// it takes (meter.h), for a model that need not fit into this machine.
//
// Device::meta stands in for the CPU, Device::meta_cuda for a GPU: with that device's sizes of blocks and scratch
// memory and on its paths through the operations. What the host copies to a tensor stays there; everything else that it
// reads is 0, and a norm or a loss is finite.
#pragma once

#include "engine/backend.h"

namespace crisp::meta {

/// Of one of the two.
const Backend& backend(Device device);

}  // namespace crisp::meta
