// Of the shared library alone: what the process-wide cache keeps goes with it at dlclose().
#include "engine/cpu/memory/allocator.h"

namespace {

[[gnu::destructor]] void unload() { crisp::unmap_cached_memory(); }

}  // namespace
