// Finding the weights that a user means, and saying what a file is that is no safetensors file.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace crisp {

/// The safetensors file that is meant: a directory's model.safetensors, or the file itself; where there is neither,
/// that of the model of this name in Hugging Face's cache (hub_cache.h). Throws BadInput that says what to do when
/// there is none, or the directory has only pickled (pytorch_model.bin) or sharded weights, or none.
std::string locate_weights(const std::string& file_or_directory);

/// What the first bytes of a file look like when it is not safetensors (a PyTorch pickle, a Git LFS pointer, ...) and
/// what to do about it; empty when they look like nothing known. Give up to 512 bytes.
std::string explain_foreign_format(std::span<const std::byte> first_bytes);

}  // namespace crisp
