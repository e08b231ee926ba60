// No kernel is missing on the CPU.
#include "engine/backend.h"
#include "engine/cpu/tables.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("every entry of every kernel table is filled") {
  const auto complete = [](const auto& table) {
    const auto* entries = reinterpret_cast<void* const*>(&table);
    for (size_t i = 0; i < sizeof(table) / sizeof(void*); ++i) {
      INFO("entry " << i);
      CHECK(entries[i] != nullptr);
    }
  };
  complete(cpu_generic::tables().f32);
  complete(cpu_generic::tables().f64);
  complete(backend(Device::cpu).f32);
  complete(backend(Device::cpu).f64);
}
