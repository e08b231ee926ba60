// Who holds a lock that is a file's being there (lock_file.h): one line "HOST PID START" for each process, START being
// the time at which it began, so that another one with the same number is not taken for it (0: the system does not
// say).
#pragma once

#include <sys/types.h>

#include <string>

namespace crisp {

/// Adds a line for a process that lives. Throws Error.
void add_lock_holder(int fd, const std::string& path, pid_t process);

/// A process in the file that lives, or may live on another host, in words; "" when none does. A file that is empty
/// is being written or was left by a process that was killed over it: it counts as held for its first two seconds.
std::string living_lock_holder(const std::string& path);

}  // namespace crisp
