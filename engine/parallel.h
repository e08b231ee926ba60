// How many threads loops (engine/team.h) use.
#pragma once

#include "engine/context.h"

namespace crisp {

/// Sets the number of threads for all following loops, whichever thread of the process runs them; 0 means
/// default_num_threads(), as it is at the start. Results do not depend on it, bit for bit. Throws UsageError when
/// negative.
void set_num_threads(int n);
int chosen_threads();

}  // namespace crisp
