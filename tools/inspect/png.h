// Small pictures within a page.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace crisp::inspect {

/// RFC 4648.
std::string base64(std::span<const uint8_t> bytes);

/// A PNG (ISO/IEC 15948) of one colour, whose opacity at each of [height, width] pixels is `alpha` / 255.
std::string shaded_png(int64_t width, int64_t height, std::span<const uint8_t> alpha, uint32_t rgb);

}  // namespace crisp::inspect
