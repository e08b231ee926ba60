// The errors that Crisp throws, a class for each kind; programs make exit codes of them (tools/README.md). A message is
// one or two plain lines: what is wrong, where, what to do. engine/fail.h formats it.
#pragma once

#include <stdexcept>

namespace crisp {

/// A failure at run time: disk full, out of memory, a call that breaks an operation's rules.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Settings that make no sense.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// A file that cannot be used as what it claims to be.
class BadInput : public Error {
 public:
  using Error::Error;
};

/// A loss or gradient in training, or a model's logits, are not finite.
class Diverged : public Error {
 public:
  using Error::Error;
};

}  // namespace crisp
