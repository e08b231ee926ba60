// Messages for people. Nothing that becomes of one - a closed, full or broken stream - may stop a run or change its
// exit code.
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "data/input/text.h"

namespace crisp {

/// Writes the text to the descriptor, as it is. Errors end it silently. Once a signal has asked for the end of the run
/// (interrupt.h), a stream that takes nothing (a terminal that is stopped, a pager that nobody scrolls) is waited for
/// no longer than a second.
void write_message(int fd, std::string_view text) noexcept;

/// A line on standard error, or several; `text` has no line end. What it quotes of files cannot steer a terminal.
template <class... Args>
void say(fmt::format_string<Args...> text, Args&&... args) noexcept {
  try {
    write_message(2, printable_lines(fmt::format(text, std::forward<Args>(args)...)) + "\n");
  } catch (...) {  // no memory for it
  }
}

}  // namespace crisp
