// Under which sanitizer a test was compiled, whichever compiler did it.
#pragma once

#if defined(__has_feature)  // clang
#define CRISP_HAS_FEATURE(name) __has_feature(name)
#else
#define CRISP_HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || CRISP_HAS_FEATURE(address_sanitizer)
#define CRISP_ADDRESS_SANITIZER 1
#else
#define CRISP_ADDRESS_SANITIZER 0
#endif
#if defined(__SANITIZE_THREAD__) || CRISP_HAS_FEATURE(thread_sanitizer)
#define CRISP_THREAD_SANITIZER 1
#else
#define CRISP_THREAD_SANITIZER 0
#endif
#if CRISP_ADDRESS_SANITIZER || CRISP_THREAD_SANITIZER
#include <sanitizer/common_interface_defs.h>
#endif

namespace crisp::test {

constexpr bool address_sanitizer = CRISP_ADDRESS_SANITIZER, thread_sanitizer = CRISP_THREAD_SANITIZER;
constexpr bool sanitizer = address_sanitizer || thread_sanitizer;

/// For a child that offends on purpose: its report goes to standard error, not to where tests/sanitize collects them.
inline void report_to_stderr() {
#if CRISP_ADDRESS_SANITIZER || CRISP_THREAD_SANITIZER
  __sanitizer_set_report_fd(reinterpret_cast<void*>(2));
#endif
}

}  // namespace crisp::test
