// SHA-256 (FIPS 180-4), for the manifests of checkpoints.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace crisp {

/// Hashes a message given in pieces.
class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  /// The digest in lower-case hexadecimal, 64 characters. The object is used up.
  std::string finish();

 private:
  std::array<uint32_t, 8> state_;
  std::array<std::byte, 64> buffer_;
  uint64_t length_ = 0;  // bytes so far
};

std::string sha256(std::string_view text);

/// Digest of a file's content. Throws Error when it cannot be read.
std::string sha256_file(const std::string& path);

}  // namespace crisp
