// bit_cast as the standard has it since C++20: libc++ 13, which comes with emscripten 3.1.6, lacks it. A leaf header.
#pragma once

#include "engine/inline.h"

namespace crisp {

template <class To, class From>
CRISP_INLINE constexpr To bit_cast(const From& from) noexcept {
  return __builtin_bit_cast(To, from);
}

}  // namespace crisp
