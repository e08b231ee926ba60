// How an error is thrown with a formatted message. For source files: no header includes it, so that programs which use
// the engine need no fmt.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, which fmt 11 took out of format.h

#include <utility>

#include "engine/error.h"

namespace crisp {

/// Throws E with a formatted message.
template <class E = Error, class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) {
  throw E(fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace crisp
