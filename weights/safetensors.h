// Reading and writing of safetensors files (https://github.com/huggingface/safetensors, format description), strict:
// a u64 header length N, N bytes of JSON, then the tensors, row-major, little-endian, without gap or overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "data/input/file.h"
#include "engine/dtype.h"
#include "weights/atomic_file.h"

namespace crisp {

/// Every element type of the format. The order is the canonical file's: later types are stored first.
enum class SafeDType : uint8_t {
  BOOL,
  F4,
  F6_E2M3,
  F6_E3M2,
  U8,
  I8,
  F8_E5M2,
  F8_E4M3,
  F8_E8M0,
  F8_E4M3FNUZ,
  F8_E5M2FNUZ,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  C64,
  F64,
  I64,
  U64
};

/// The type's name in a file: "BF16".
std::string_view name_of(SafeDType t);
/// Bits per element. The sub-byte types are packed.
uint64_t bits_of(SafeDType t);
/// How a tensor of the engine is called in a file.
SafeDType safe_dtype(DType t);
/// True for F64, F32, BF16, F16: what SafetensorsFile::read converts and write_safetensors writes.
bool is_readable_float(SafeDType t);

/// One tensor of a file. `begin` and `end` are byte offsets in the data section.
struct TensorEntry {
  std::string name;
  SafeDType dtype = SafeDType::F32;
  std::vector<uint64_t> shape;  // any rank, zeros allowed; the product fits 64 bits
  uint64_t begin = 0;
  uint64_t end = 0;

  uint64_t numel() const;
};

/// "[2, 768]"; "[]" for rank 0.
std::string shape_string(std::span<const uint64_t> shape);

/// A valid safetensors file, open for reading and memory-mapped. Move-only; reading is const and thread-safe.
///
/// read() copies with pread instead of touching the mapping: when another process cuts the file short, that is a short
/// read and a BadInput here, where an access to the mapping, bytes() and mapped(), would be a SIGBUS. A file of
/// InputFiles is not mapped, and reading it is as thread-safe as these are.
class SafetensorsFile {
 public:
  /// Throws BadInput naming the file and the first rule of the format that it breaks. Never blocks on a FIFO, never
  /// allocates more than the header really holds.
  static SafetensorsFile open(const std::string& path) { return open(InputFile(path)); }
  static SafetensorsFile open(InputFile file);

  const std::string& path() const { return file_.path(); }
  /// In the order of the data section.
  std::span<const TensorEntry> tensors() const { return tensors_; }
  /// nullptr when there is none of that name.
  const TensorEntry* find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// The tensor's bytes in the mapping, perhaps misaligned for their type; valid while the file object lives.
  /// Throws BadInput if the file has become shorter by now, Error for a file of InputFiles. A file cut short later
  /// still raises SIGBUS on access, so prefer read() for files that someone else may write.
  std::span<const std::byte> bytes(const TensorEntry& entry) const;
  /// The same bytes for whoever keeps them; null for a file of InputFiles, a tensor without bytes, and where the system
  /// copies what it maps or lets nobody write to it. The mapping stays until the last such pointer goes, this object or
  /// not. Writing changes what this process sees and never the file. A file that another takes the place of (rename)
  /// stays as it is; one that somebody else writes to or cuts short shows that, or raises SIGBUS.
  std::shared_ptr<std::byte> mapped(const TensorEntry& entry) const;

  /// Copies a F64, F32, BF16 or F16 tensor, converting (F64 to float rounds to nearest even). `out` holds exactly
  /// entry.numel() elements. Throws BadInput for another dtype or a file that has been cut short since it was opened.
  void read(const TensorEntry& entry, std::span<float> out) const;
  void read(const TensorEntry& entry, std::span<double> out) const;
  /// The same for out.size() elements from element `first`, for instance one row.
  void read_part(const TensorEntry& entry, uint64_t first, std::span<float> out) const;
  void read_part(const TensorEntry& entry, uint64_t first, std::span<double> out) const;
  /// Copies out.size() bytes of a tensor of any dtype, from its byte `first` on. Throws BadInput as read() does.
  void read_raw(const TensorEntry& entry, uint64_t first, std::span<std::byte> out) const;

 private:
  explicit SafetensorsFile(InputFile file) : file_(std::move(file)) {}
  void check_whole(const TensorEntry& entry, size_t n) const;
  void read_bytes(uint64_t offset, std::span<std::byte> out) const;
  template <class T>
  void read_as(const TensorEntry& entry, uint64_t first, std::span<T> out) const;

  InputFile file_;
  std::shared_ptr<std::byte> map_;  // null for a file of InputFiles
  uint64_t data_begin_ = 0;         // 8 + N
  std::vector<TensorEntry> tensors_;
  std::unordered_map<std::string_view, size_t> index_;  // keys point into tensors_
  std::map<std::string, std::string> metadata_;
};

/// One tensor to write. `dtype` is F64, F32, BF16 or F16; the conversion rounds to nearest even.
struct TensorToWrite {
  std::string name;
  SafeDType dtype = SafeDType::F32;
  std::vector<uint64_t> shape;
  std::variant<std::span<const float>, std::span<const double>> data;
};

/// Takes the bytes of a file, part by part from its beginning on.
using ByteSink = std::function<void(std::span<const std::byte>)>;

/// Writes the canonical file: byte for byte what the `safetensors` package writes for the same tensors and metadata.
/// Tensors in the order of SafeDType from last to first, then by name; the header padded with spaces to a multiple
/// of 8. Atomic (weights/atomic_file.h): on Error the file that was at `path` is untouched. Throws Error for duplicate
/// or unusable names, a shape that does not match its data, and failures of the file system.
void write_safetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}},
                       Flush flush = Flush::now);
/// The same bytes for whoever takes them; `name` stands for the file in messages.
void write_safetensors(const ByteSink& sink, const std::string& name, std::span<const TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace crisp
