// Shadows NVIDIA's header of this name where .cu files are compiled by a host compiler: the part of the language and of
// the runtime API that engine/cuda may use. What nvcc would refuse is not declared here; what is missing here is either
// forbidden (README.md) or waits for its first use.
#pragma once

#include "emulated/language.h"
#include "emulated/runtime_api.h"
