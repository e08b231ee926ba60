// Standard input, output and error as a program finds them: open, closed, full or without a reader.
#pragma once

#include <string>

namespace crisp {

/// Comes first in a program. Opens those of the descriptors 0, 1 and 2 that are closed on /dev/null, so that no file of
/// ours gets such a number and with it what is meant for people. A write to a pipe without a reader, or to a file that
/// may not grow (ulimit -f), is an error from now on and no sudden death (SIGPIPE, SIGXFSZ).
void prepare_streams();

/// Comes last: flushes standard output, which holds results. Where some of them could not be written and `exit_code` is
/// 0: says why, as "NAME: message", and returns 1; if it is a pipe that nobody reads any more, ends the process by
/// SIGPIPE, silently, as any filter ends. Else returns `exit_code`.
int finish_output(const std::string& name, int exit_code);

/// What finish_output does once standard output has failed with `error` (errno; 0: not known).
int fail_output(const std::string& name, int error);

}  // namespace crisp
