// The gate for files that strangers wrote: every configuration, vocabulary, data set, parse, study, manifest and state
// file is opened here. A regular file, of a bounded size, or one message that says what is wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace crisp {

/// The most bytes that a file of a kind may have; far above what any real one has, and below what hurts.
namespace input_limit {
inline constexpr uint64_t study = uint64_t{1} << 20;        // parsed in the order of its keys
inline constexpr uint64_t settings = uint64_t{16} << 20;    // config.json
inline constexpr uint64_t tokenizer = uint64_t{128} << 20;  // vocab.txt, tokenizer.json
inline constexpr uint64_t state = uint64_t{64} << 20;       // of a run: manifests, results, trainer state
inline constexpr uint64_t log = uint64_t{1} << 30;          // of a run: metrics, messages
inline constexpr uint64_t dataset = uint64_t{4} << 30;      // sentences, parses
}  // namespace input_limit

/// Files that belong together and lie elsewhere than in the file system: in a host program's memory, or behind its
/// functions.
class InputFiles {
 public:
  virtual ~InputFiles() = default;
  /// Bytes of the file of this name; nullopt: there is none.
  virtual std::optional<uint64_t> size(const std::string& name) const = 0;
  /// Fills `out` with its bytes from `offset` on; false when it ends before. Threads do not call it at the same time.
  virtual bool read_at(const std::string& name, uint64_t offset, std::span<std::byte> out) const = 0;
};

/// A regular file, open for reading. Move-only; closes itself.
class InputFile {
 public:
  /// Throws BadInput, naming the path and what to do, when there is no such file, it cannot be opened, a symbolic link
  /// leads nowhere, or it is a directory, pipe, socket or device. Never blocks.
  explicit InputFile(const std::string& path) : InputFile(path, nullptr) {}
  /// That of `files`, which outlives it; nullptr: as above. Throws BadInput where there is none of this name.
  InputFile(const std::string& path, const InputFiles* files);
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  const std::string& path() const { return path_; }
  /// -1 for one of InputFiles.
  int descriptor() const { return fd_; }
  /// Bytes when it was opened.
  uint64_t size() const { return size_; }
  /// Reads on into `out` and returns how many bytes; 0 at the end. Throws BadInput when reading fails.
  size_t read(std::span<std::byte> out);
  /// Fills `out` from byte `offset` on; false when the file ends before. Thread-safe for a file of the file system.
  /// Throws BadInput as read() does.
  bool read_at(uint64_t offset, std::span<std::byte> out) const;

 private:
  std::string path_;
  int fd_ = -1;
  const InputFiles* files_ = nullptr;  // instead of the descriptor
  uint64_t size_ = 0, position_ = 0;   // the latter of read() in these
};

/// The whole of a file of at most `limit` bytes; of `files`, unless they are nullptr. Throws BadInput as InputFile
/// does, and when the file is larger.
std::string read_input(const std::string& path, uint64_t limit, const InputFiles* files = nullptr);

/// The same, but "" where read_input throws: for files of our own that an interrupted run may lack, where "absent or
/// unreadable" is an answer.
std::string read_input_or_empty(const std::string& path, uint64_t limit);

/// Whether there is an entry of this name, for files that need not be there. A symbolic link that leads nowhere, or an
/// entry that cannot be looked at, is there: reading it tells what is wrong, where taking it for absent would change
/// the answer without a word.
bool input_exists(const std::string& path, const InputFiles* files = nullptr);

}  // namespace crisp
