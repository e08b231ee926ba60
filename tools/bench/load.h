// Another job on this machine, for measurements beside it.
#pragma once

#include <atomic>
#include <thread>

namespace crisp::bench {

/// While it lives, a thread computes without a pause on the first of the cores that this process may use.
class BusyCore {
 public:
  BusyCore();
  ~BusyCore();
  BusyCore(const BusyCore&) = delete;
  BusyCore& operator=(const BusyCore&) = delete;

 private:
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

}  // namespace crisp::bench
