#include "tools/inspect/png.h"

#include <zlib.h>

#include <algorithm>

#include "engine/fail.h"

namespace crisp::inspect {
namespace {

std::string big_endian(uint32_t value) {
  std::string bytes;
  for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(value >> shift & 0xFF);
  return bytes;
}

std::string chunk(const std::string& type, const std::string& data) {
  const std::string content = type + data;
  const auto crc = ::crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size()));
  return big_endian(static_cast<uint32_t>(data.size())) + content + big_endian(static_cast<uint32_t>(crc));
}

std::string deflated(const std::string& data) {
  uLongf size = ::compressBound(static_cast<uLong>(data.size()));
  std::string out(size, '\0');
  if (::compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(data.data()),
                  static_cast<uLong>(data.size()), 9) != Z_OK)
    fail("a picture of {} bytes cannot be compressed", data.size());
  out.resize(size);
  return out;
}

}  // namespace

std::string base64(std::span<const uint8_t> bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t here = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k) word = word << 8 | (k < here ? bytes[i + k] : 0);
    for (size_t k = 0; k < 4; ++k) text += k <= here ? digits[word >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

std::string shaded_png(int64_t width, int64_t height, std::span<const uint8_t> alpha, uint32_t rgb) {
  std::string palette, opacities, rows;
  for (int i = 0; i < 256; ++i) {
    palette += big_endian(rgb).substr(1);
    opacities += static_cast<char>(i);
  }
  for (int64_t r = 0; r < height; ++r) {
    rows += '\0';  // no filter
    rows.append(reinterpret_cast<const char*>(alpha.data()) + r * width, static_cast<size_t>(width));
  }
  const std::string header = big_endian(static_cast<uint32_t>(width)) + big_endian(static_cast<uint32_t>(height)) +
                             std::string("\x08\x03\0\0\0", 5);  // 8 bits, palette
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + chunk("PLTE", palette) + chunk("tRNS", opacities) +
         chunk("IDAT", deflated(rows)) + chunk("IEND", "");
}

}  // namespace crisp::inspect
