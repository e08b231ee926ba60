// The errors that Crisp throws, one class per exit code of the programs (tools/README.md).
// A message is one or two plain lines: what is wrong, where, what to do.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, which fmt 11 took out of format.h

#include <stdexcept>
#include <string>
#include <utility>

namespace crisp {

/// A failure at run time: disk full, out of memory, a call that breaks an operation's rules. Exit code 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Options that make no sense. Exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// A file that cannot be used as what it claims to be. Exit code 3.
class BadInput : public Error {
 public:
  using Error::Error;
};

/// A loss or gradient in training, or a model's logits, are not finite. Exit code 4.
class Diverged : public Error {
 public:
  using Error::Error;
};

/// Throws E with a formatted message.
template <class E = Error, class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) {
  throw E(fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace crisp
