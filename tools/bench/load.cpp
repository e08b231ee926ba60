#include "tools/bench/load.h"

#include "engine/system.h"

namespace crisp::bench {
BusyCore::BusyCore()
    : thread_([this] {
        os::stay_on_first_processor();
        while (!ended_.load(std::memory_order_relaxed)) {
        }
      }) {}

BusyCore::~BusyCore() {
  ended_ = true;
  thread_.join();
}

}  // namespace crisp::bench
