#include "tools/bench/load.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace crisp::bench {
namespace {

void stay_on_first_core() {
#if defined(__linux__)
  cpu_set_t allowed, first;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  int core = 0;
  while (!CPU_ISSET(core, &allowed)) ++core;
  CPU_ZERO(&first);
  CPU_SET(core, &first);
  sched_setaffinity(0, sizeof first, &first);
#endif
}

}  // namespace

BusyCore::BusyCore()
    : thread_([this] {
        stay_on_first_core();
        while (!ended_.load(std::memory_order_relaxed)) {
        }
      }) {}

BusyCore::~BusyCore() {
  ended_ = true;
  thread_.join();
}

}  // namespace crisp::bench
