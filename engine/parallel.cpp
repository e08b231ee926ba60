#include "engine/parallel.h"

#include <omp.h>

#include "engine/error.h"

namespace crisp {

void set_num_threads(int n) {
  if (n < 0) fail<UsageError>("the number of threads cannot be negative: {}", n);
  omp_set_num_threads(n == 0 ? omp_get_num_procs() : n);
}

int num_threads() { return omp_get_max_threads(); }

}  // namespace crisp
