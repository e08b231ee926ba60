#include "train/door/c_errors.h"

#include <cstring>
#include <exception>
#include <mutex>
#include <new>

namespace crisp::door {
namespace {

// Of this thread. Trivial to destroy, so that the library can be unloaded.
thread_local constinit ErrorText last_of_thread;

int remember(Failures* failures, int code, const char* text) noexcept {
  last_of_thread.set(text);
  if (failures) failures->set(text);
  return code;
}

}  // namespace

void ErrorText::set(const char* text) noexcept {
  size_t size = std::strlen(text);
  if (size >= text_.size()) {
    size = text_.size() - 1;
    while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0u) == 0x80u) --size;  // a character stays whole
  }
  std::memmove(text_.data(), text, size);
  text_[size] = '\0';
}

void Failures::set(const char* text) noexcept {
  const std::scoped_lock lock(mutex_);
  text_.set(text);
}

int report_exception(Failures* failures) noexcept {
  try {
    throw;
  } catch (const Diverged& e) {
    return remember(failures, CRISP_NOT_FINITE, e.what());
  } catch (const BadInput& e) {
    return remember(failures, CRISP_BAD_INPUT, e.what());
  } catch (const UsageError& e) {
    return remember(failures, CRISP_USAGE, e.what());
  } catch (const Stopped& e) {
    return remember(failures, CRISP_STOPPED, e.what);
  } catch (const std::bad_alloc&) {
    return remember(failures, CRISP_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& e) {
    return remember(failures, CRISP_FAILED, e.what());
  } catch (...) {
    return remember(failures, CRISP_FAILED, "an exception of a callback that is no std::exception");
  }
}

}  // namespace crisp::door

const char* crisp_last_error(void) { return crisp::door::last_of_thread.get(); }

const char* crisp_code_name(int code) {
  switch (code) {
    case CRISP_OK:
      return "ok";
    case CRISP_FAILED:
      return "failed";
    case CRISP_USAGE:
      return "usage";
    case CRISP_BAD_INPUT:
      return "bad input";
    case CRISP_NOT_FINITE:
      return "not finite";
    case CRISP_OUT_OF_MEMORY:
      return "out of memory";
    case CRISP_STOPPED:
      return "stopped";
    default:
      return "unknown code";
  }
}
