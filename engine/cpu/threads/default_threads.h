// How many threads a process may have work for: what the system, its container and its user allow.
#pragma once

#include <string>

namespace crisp {

// default_num_threads() (engine/context.h) is the smallest of what limits this process:
// - the processors that it may run on (engine/system.h);
// - the quotas of its cgroups (v1 and v2) and of those around them, rounded up: 1.5 cores are 2;
// - OMP_NUM_THREADS (of a list "4,2" the first) and OMP_THREAD_LIMIT.
// What cannot be read, or is not as its documentation says, limits nothing. Here 0 means no limit.

/// `root` stands before the paths /proc/self/cgroup and /sys/fs/cgroup.
int cores_of_cgroups(const std::string& root = "");
/// Of the value of OMP_NUM_THREADS or OMP_THREAD_LIMIT; null where it is not set.
int threads_of_variable(const char* value);

}  // namespace crisp
