// Every operation's gradient against central differences in f64. On other devices gradients are compared with the
// CPU's.
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("every operation has samples, and their gradients equal central differences", "[isa]") {
  for (const Op* op : all_ops()) {
    INFO(op->name);
    REQUIRE(op->samples().size() >= 2);
  }
  for_all_samples([](const Sample& sample) { CHECK(gradient_problem(sample) == ""); });
}
