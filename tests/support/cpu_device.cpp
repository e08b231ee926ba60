#include "tests/support/test_device.h"

namespace crisp::test {

Device test_device() { return Device::cpu; }

}  // namespace crisp::test
