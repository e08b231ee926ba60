// SHA-256 (FIPS 180-4), for the manifests of checkpoints.
#pragma once

#include <nettle/sha2.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace crisp {

/// Hashes a message given in pieces, with the CPU's own instructions where it has them.
class Sha256 {
 public:
  Sha256() { sha256_init(&state_); }
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text.data(), text.size()))); }
  /// The digest in lower-case hexadecimal, 64 characters. The object is used up.
  std::string finish();

 private:
  sha256_ctx state_;
};

std::string sha256(std::string_view text);

/// Digest of a file's content. Throws BadInput when it cannot be read or is no regular file.
std::string sha256_file(const std::string& path);

}  // namespace crisp
