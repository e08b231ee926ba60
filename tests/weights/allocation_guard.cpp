// What the program has allocated, so that a test can show that a hostile file was refused without allocating what it
// claims.
#include "tests/support/counting_new.h"
#include "tests/weights/support.h"

namespace crisp::test {
void reset_allocation_guard() {
  new_counts.largest = 0;
  new_counts.total = 0;
}
uint64_t largest_allocation() { return new_counts.largest; }
uint64_t total_allocation() { return new_counts.total; }
}  // namespace crisp::test
