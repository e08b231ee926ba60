#include "train/durable/sha256.h"

#include <fmt/format.h>

#include <vector>

#include "data/input/file.h"

namespace crisp {

void Sha256::update(std::span<const std::byte> bytes) {
  sha256_update(&state_, bytes.size(), reinterpret_cast<const uint8_t*>(bytes.data()));
}

std::string Sha256::finish() {
  uint8_t digest[SHA256_DIGEST_SIZE];
  sha256_digest(&state_, sizeof digest, digest);
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

std::string sha256(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.finish();
}

std::string sha256_file(const std::string& path) {
  InputFile file(path);
  Sha256 hash;
  std::vector<std::byte> buffer(size_t{1} << 18);
  while (const size_t n = file.read(buffer)) hash.update(std::span<const std::byte>(buffer).first(n));
  return hash.finish();
}

}  // namespace crisp
