// How many threads the CPU kernels use.
#pragma once

namespace crisp {

/// Sets the number of OpenMP threads for all following kernels; 0 means one per available core. Results do not depend
/// on it, bit for bit. Throws UsageError when negative.
void set_num_threads(int n);
int num_threads();

}  // namespace crisp
