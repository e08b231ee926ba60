// Files that are handed over as text and are none, or not yet: gzip is unpacked, other kinds are refused by their name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace crisp {

bool is_gzip(std::string_view content);

/// What a gzip file (RFC 1952; several members one after the other, too) holds. Throws BadInput, naming `name`, when it
/// is damaged or cut short, or holds more than `limit` bytes.
std::string gunzip(std::string_view content, const std::string& name, uint64_t limit);

/// Throws BadInput, saying what `content` is and what to do, where its first bytes are those of a kind of file that is
/// no text (zip, parquet, UTF-16, ...), or text that stands for another file (a Git LFS pointer, a web page).
void refuse_foreign_file(std::string_view content, const std::string& name);

}  // namespace crisp
