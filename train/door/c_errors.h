// How the C interface (crisp/crisp.h) turns exceptions into codes and messages.
#pragma once

#include <array>
#include <utility>

#include "engine/error.h"
#include "engine/system.h"
#include "train/door/crisp/crisp.h"

namespace crisp::door {

/// A callback of the caller's has asked for the end. No Error, so that nobody takes it for one and tries again.
struct Stopped {
  const char* what;
};

/// The message of the last error, cut to its room: no memory is needed to tell that there is none.
class ErrorText {
 public:
  void set(const char* text) noexcept;
  const char* get() const noexcept { return text_.data(); }

 private:
  std::array<char, 1024> text_{};
};

/// What a handle remembers of its failed calls; several threads may fail at once.
class Failures {
 public:
  void set(const char* text) noexcept;
  const char* last() const noexcept { return text_.get(); }

 private:
  os::BriefMutex mutex_;
  ErrorText text_;
};

/// For a catch (...): the code of the exception, whose message is remembered for the thread, and for a handle if there
/// is one.
int report_exception(Failures* failures) noexcept;

/// Runs f, which throws what goes wrong.
template <class F>
int guarded(Failures* failures, F&& f) noexcept {
  try {
    std::forward<F>(f)();
    return CRISP_OK;
  } catch (...) {
    return report_exception(failures);
  }
}

/// Throws UsageError for a null pointer.
template <class T>
T* not_null(T* pointer, const char* name) {
  if (!pointer) throw UsageError(std::string("a null pointer was given for ").append(name));
  return pointer;
}

}  // namespace crisp::door
