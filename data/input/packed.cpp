#include "data/input/packed.h"

#include <zlib.h>

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <new>

#include "engine/fail.h"

namespace crisp {
namespace {

using namespace std::literals;

constexpr size_t chunk = size_t{1} << 18;

// zlib's state, ended with its scope.
struct Inflater {
  z_stream stream{};
  explicit Inflater(std::string_view content) {
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) throw std::bad_alloc();  // 16: gzip, not zlib's own format
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

struct Signature {
  size_t at;
  std::string_view bytes, what;
};

// Of files that are handed over for text by mistake.
constexpr Signature signatures[] = {
    {0, "PK\3\4"sv, "a zip file (or an .xlsx or .npz)"},
    {0, "PK\5\6"sv, "an empty zip file"},
    {4, "1AY&SY"sv, "a bzip2 file"},
    {0,
     "\xFD"
     "7zXZ\0"sv,
     "an xz file"},
    {0, "\x28\xB5\x2F\xFD"sv, "a zstd file"},
    {0, "\x04\x22\x4D\x18"sv, "an lz4 file"},
    {0, "7z\xBC\xAF\x27\x1C"sv, "a 7z file"},
    {0, "Rar!\x1A\x07"sv, "a rar file"},
    {257, "ustar\0"sv, "a tar file"},
    {257, "ustar  \0"sv, "a tar file"},
    {0, "PAR1"sv, "a parquet file"},
    {0, "ARROW1"sv, "an Arrow file"},
    {0, "FEA1"sv, "a Feather file"},
    {0, "\xFF\xFF\xFF\xFF"sv, "an Arrow stream"},
    {0, "Obj\1"sv, "an Avro file"},
    {0, "SQLite format 3\0"sv, "an SQLite database"},
    {0, "\x89HDF\r\n\x1A\n"sv, "an HDF5 file"},
    {0, "\x93NUMPY"sv, "a NumPy file"},
    {0, "\x80\2"sv, "a Python pickle"},
    {0, "\x80\3"sv, "a Python pickle"},
    {0, "\x80\4"sv, "a Python pickle"},
    {0, "\x80\5"sv, "a Python pickle"},
    {0, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"sv, "an old Excel or Word file"},
    {0, "%PDF-"sv, "a PDF file"},
    {0, "{\\rtf"sv, "an RTF file"},
    {0,
     "\x7F"
     "ELF"sv,
     "a program"},
    {0, "\xFF\xFE\0\0"sv, "UTF-32"},
    {0, "\0\0\xFE\xFF"sv, "UTF-32"},
    {0, "\xFF\xFE"sv, "UTF-16"},
    {0, "\xFE\xFF"sv, "UTF-16"},
};

// What to do about it.
std::string_view advice(std::string_view what) {
  const auto is_one_of = [what](std::initializer_list<std::string_view> words) {
    return std::any_of(words.begin(), words.end(), [what](auto word) { return what.find(word) != what.npos; });
  };
  if (is_one_of({"UTF-"})) return "; save it as UTF-8";
  if (is_one_of({"zip", "xz", "zstd", "lz4", "7z", "rar", "tar"})) return "; unpack it first";
  if (is_one_of({"program", "PDF", "RTF", "Word"})) return "; give a text file";
  return "; save it as CSV or JSON lines (pandas: to_csv, or to_json(orient=\"records\", lines=True))";
}

bool begins_like(std::string_view content, std::string_view lower_case) {
  return content.size() >= lower_case.size() &&
         std::equal(lower_case.begin(), lower_case.end(), content.begin(),
                    [](char a, char b) { return a == std::tolower(static_cast<unsigned char>(b)); });
}

// Sentences shrink to a third or a tenth; what shrinks more is made to fill the memory of who unpacks it.
constexpr uint64_t harmless_size = uint64_t{64} << 20, most_expansion = 200;

}  // namespace

bool is_gzip(std::string_view content) { return content.starts_with("\x1F\x8B"); }

std::string gunzip(std::string_view content, const std::string& name, uint64_t limit) {
  limit = std::min(limit, std::max(harmless_size, most_expansion * content.size()));
  std::string text;
  Inflater inflater(content);
  z_stream& stream = inflater.stream;
  const char* const end = content.data() + content.size();
  const auto rest = [&] {
    const char* next = reinterpret_cast<const char*>(stream.next_in);
    return std::string_view(next, static_cast<size_t>(end - next));
  };
  for (int status = Z_OK;;) {
    if (status == Z_STREAM_END) {
      if (rest().find_first_not_of('\0') == std::string_view::npos) return text;  // tapes are filled up with zeros
      if (!is_gzip(rest())) fail<BadInput>("{}: this gzip file is damaged: other bytes follow its end", name);
      if (inflateReset(&stream) != Z_OK) fail<BadInput>("{}: this gzip file is damaged", name);
    }
    const size_t before = text.size();
    const size_t room = static_cast<size_t>(std::min<uint64_t>(chunk, limit - before + 1));
    text.resize(before + room);
    stream.next_out = reinterpret_cast<Bytef*>(text.data()) + before;
    stream.avail_out = static_cast<uInt>(room);
    stream.avail_in = static_cast<uInt>(std::min(rest().size(), chunk));
    status = inflate(&stream, Z_NO_FLUSH);
    text.resize(before + room - stream.avail_out);
    if (text.size() > limit)
      fail<BadInput>("{}: unpacks to more than the {} MiB that such a file may have (above {} MiB, {} times its size)",
                     name, limit >> 20, harmless_size >> 20, most_expansion);
    if (status == Z_MEM_ERROR) throw std::bad_alloc();
    if (status == Z_BUF_ERROR || (status == Z_OK && rest().empty() && stream.avail_out > 0))
      fail<BadInput>("{}: this gzip file ends before it is complete; fetch or pack it again", name);
    if (status != Z_OK && status != Z_STREAM_END)
      fail<BadInput>("{}: this gzip file is damaged; fetch or pack it again", name);
  }
}

void refuse_foreign_file(std::string_view content, const std::string& name) {
  for (const Signature& s : signatures)
    if (content.size() >= s.at && content.substr(s.at).starts_with(s.bytes))
      fail<BadInput>("{}: is {}, not text{}", name, s.what, advice(s.what));
  if (content.starts_with("version https://git-lfs.github.com/"))
    fail<BadInput>("{}: is a Git LFS pointer, not the file itself; run `git lfs pull`", name);
  if (begins_like(content, "<!doctype html") || begins_like(content, "<html") || begins_like(content, "<table"))
    fail<BadInput>("{}: is a web page (HTML); fetch the file itself", name);
}

}  // namespace crisp
