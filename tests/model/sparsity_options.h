// Options of sparse attention for tests, and what is said against them.
#pragma once

#include <string>

#include "engine/error.h"
#include "model/sparsity.h"
#include "tests/support/catch.h"

namespace crisp::test {

template <class F>
std::string complaint_of(F&& f) {
  try {
    f();
  } catch (const UsageError& e) {
    return e.what();
  }
  FAIL("accepted");
  return {};
}

inline SparsityOptions with_method(SparseMethod method, const std::string& sparsity = "dense") {
  SparsityOptions o;
  o.method = method;
  o.sparsity = sparsity;
  return o;
}

inline bool mentions(const std::string& message, const std::string& part) {
  INFO(message);
  CHECK(message.find(part) != std::string::npos);
  return message.find(part) != std::string::npos;
}

}  // namespace crisp::test
