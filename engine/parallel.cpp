#include "engine/parallel.h"

#include <atomic>

#include "engine/default_threads.h"
#include "engine/error.h"

namespace crisp {
namespace {

std::atomic<int> chosen{0};  // 0: nobody has chosen yet

}  // namespace

void set_num_threads(int n) {
  if (n < 0) fail<UsageError>("the number of threads cannot be negative: {}", n);
  chosen.store(n == 0 ? default_num_threads() : n, std::memory_order_relaxed);
}

int chosen_threads() {
  if (const int n = chosen.load(std::memory_order_relaxed); n > 0) return n;
  static const int at_first = default_num_threads();
  return at_first;
}

}  // namespace crisp
