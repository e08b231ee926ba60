// A corpus of malformed files, each with its own error: one line of the table is one file.
#include <fmt/format.h>

#include "tests/support/catch.h"
#include "tests/weights/support.h"
#include "weights/safetensors.h"

namespace crisp {
namespace {

using namespace std::string_literals;
using test::file_of;
using test::TempDir;
using test::u64;

struct Malformed {
  const char* what;
  std::string bytes;
  std::string expected;  // a distinctive part of the message
};

const std::string four = "\1\2\3\4";
const std::string ok = R"("dtype":"F32","shape":[1],"data_offsets":[0,4])";  // an entry's inside for four bytes

// A file with the header {"t": {inside}}.
std::string entry(const std::string& inside, const std::string& data = four) {
  return file_of("{\"t\":{" + inside + "}}", data);
}
// A file with one F32 tensor of this shape and these offsets, given as JSON.
std::string placed(const std::string& shape, const std::string& offsets, const std::string& data = four) {
  return entry("\"dtype\":\"F32\",\"shape\":" + shape + ",\"data_offsets\":" + offsets, data);
}
// Two U8 tensors at these offsets.
std::string two(const std::string& a, int na, const std::string& b, int nb, size_t bytes) {
  return file_of(fmt::format(R"({{"a":{{"dtype":"U8","shape":[{}],"data_offsets":{}}},)"
                             R"("b":{{"dtype":"U8","shape":[{}],"data_offsets":{}}}}})",
                             na, a, nb, b),
                 std::string(bytes, 'x'));
}

std::vector<Malformed> length_cases() {
  const std::string fine = entry(ok);
  return {
      {"empty file", "", "it has 0 bytes, too short"},
      {"seven bytes", "\1\0\0\0\0\0\0"s, "it has 7 bytes, too short"},
      {"length 0", u64(0), "the header is empty"},
      {"length 0 with data", u64(0) + four, "the header is empty"},
      {"one byte missing in the header", u64(3) + "{}",
       "the header of 3 bytes reaches past the end of the file (10 bytes)"},
      {"length at the limit", u64(100'000'000) + "{}", "the header of 100000000 bytes reaches past"},
      {"length over the limit", u64(100'000'001) + "{}", "header length 100000001 is over the limit of 100000000"},
      {"length 2^63", u64(uint64_t{1} << 63) + "{}", "header length 9223372036854775808 is over the limit"},
      {"length 2^64 - 1", u64(UINT64_MAX) + "{}", "header length 18446744073709551615 is over the limit"},
      {"length that wraps with its own 8 bytes", u64(UINT64_MAX - 7) + "{}", "18446744073709551608 is over the limit"},
      {"length in big-endian", "\0\0\0\0\0\0\0\2{}"s, "is over the limit"},
      {"length one too small", u64(fine.size() - 8 - 4 - 1) + fine.substr(8), "not valid JSON"},
      {"length one too large", u64(fine.size() - 8 - 4 + 1) + fine.substr(8), "not valid JSON"},
  };
}

std::vector<Malformed> text_cases() {
  return {
      {"BOM", file_of("\xef\xbb\xbf{}"), "byte order mark"},
      {"UTF-16 BOM", file_of("\xff\xfe{\0}\0"s), "NUL byte at 3"},
      {"NUL padding", file_of("{}\0\0"s), "NUL byte at 2 (padding must be spaces)"},
      {"NUL only", file_of("\0"s), "NUL byte at 0"},
      {"NUL in a name", file_of("{\"a\0b\":{"s + ok + "}}", four), "NUL byte at 3"},
      {"bad UTF-8 in a name", file_of("{\"a\xff\":{" + ok + "}}", four), "not valid UTF-8 at byte 3"},
      {"overlong UTF-8", file_of("{\"\xc0\xaf\":{" + ok + "}}", four), "not valid UTF-8 at byte 2"},
      {"UTF-8 surrogate", file_of("{\"\xed\xa0\x80\":{" + ok + "}}", four), "not valid UTF-8 at byte 2"},
      {"beyond U+10FFFF", file_of("{\"\xf4\x90\x80\x80\":{" + ok + "}}", four), "not valid UTF-8 at byte 2"},
      {"cut UTF-8 sequence at the end", file_of("{} \xe2\x82"), "not valid UTF-8 at byte 3"},
      {"spaces only", file_of("        "), "not valid JSON at byte 9"},
      {"no JSON", file_of("hello"), "not valid JSON at byte 1"},
      {"unclosed object", file_of("{"), "not valid JSON at byte 2"},
      {"unclosed string", file_of("{\"a"), "not valid JSON"},
      {"trailing comma", file_of("{\"t\":{" + ok + ",}}", four), "not valid JSON"},
      {"trailing comma in the shape", placed("[1,]", "[0,4]"), "not valid JSON"},
      {"text after the object", file_of("{} x"), "not valid JSON at byte 4"},
      {"second object", file_of("{}{}"), "not valid JSON at byte 3"},
      {"comment", file_of("{/* */}"), "not valid JSON at byte 2"},
      {"single quotes", file_of("{'t':1}"), "not valid JSON"},
      {"lone surrogate escape", file_of(R"({"\ud800":{)" + ok + "}}", four), "not valid JSON"},
      {"raw control character in a name", file_of("{\"a\nb\":{" + ok + "}}", four), "not valid JSON"},
      {"number with a leading zero", placed("[01]", "[0,4]"), "not valid JSON"},
      {"number with a plus", placed("[+1]", "[0,4]"), "not valid JSON"},
      {"NaN", placed("[NaN]", "[0,4]"), "not valid JSON"},
      {"number out of the range of doubles", placed("[1e999]", "[0,4]"), "not valid JSON"},
  };
}

std::vector<Malformed> type_cases() {
  return {
      {"header is an array", file_of("[]"), "the header must be a JSON object, not an array"},
      {"header is a string", file_of("\"x\""), "the header must be a JSON object, not a string"},
      {"header is a number", file_of("12"), "the header must be a JSON object, not a number"},
      {"header is null", file_of("null"), "the header must be a JSON object, not null"},
      {"entry is null", file_of(R"({"t":null})"), "tensor \"t\" must be an object, not null"},
      {"entry is a string", file_of(R"({"t":"x"})"), "tensor \"t\" must be an object, not a string"},
      {"entry is an array", file_of(R"({"t":[]})"), "tensor \"t\" must be an object, not an array"},
      {"metadata is an array", file_of(R"({"__metadata__":[]})"), "'__metadata__' must be an object, not an array"},
      {"metadata holds a number", file_of(R"({"__metadata__":{"step":3}})"),
       "strings only (no tensor can have that name): \"step\" is a number"},
      {"metadata holds a boolean", file_of(R"({"__metadata__":{"x":true}})"), "\"x\" is a boolean"},
      {"metadata holds null", file_of(R"({"__metadata__":{"x":null}})"), "\"x\" is null"},
      {"metadata holds an object", file_of(R"({"__metadata__":{"x":{}}})"), "\"x\" is an object"},
      {"a tensor named __metadata__", file_of("{\"__metadata__\":{" + ok + "}}", four),
       "no tensor can have that name): \"shape\" is an array"},
      {"metadata key twice", file_of(R"({"__metadata__":{"k":"1","k":"2"}})"),
       "'__metadata__' has the key \"k\" twice"},
      {"metadata twice", file_of(R"({"__metadata__":{},"__metadata__":{}})"), "two tensors are named \"__metadata__\""},
      {"no dtype", entry(R"("shape":[1],"data_offsets":[0,4])"), "tensor \"t\" has no 'dtype'"},
      {"no shape", entry(R"("dtype":"F32","data_offsets":[0,4])"), "tensor \"t\" has no 'shape'"},
      {"no offsets", entry(R"("dtype":"F32","shape":[1])"), "tensor \"t\" has no 'data_offsets'"},
      {"empty entry", entry(""), "tensor \"t\" has no 'dtype'"},
      {"dtype is a number", entry(R"("dtype":32,"shape":[1],"data_offsets":[0,4])"),
       "\"dtype\" must be a string, not a number"},
      {"dtype is null", entry(R"("dtype":null,"shape":[1],"data_offsets":[0,4])"),
       "\"dtype\" must be a string, not null"},
      {"dtype is an array", entry(R"("dtype":["F32"],"shape":[1],"data_offsets":[0,4])"),
       "\"dtype\" must be a string, not an array"},
      {"unknown dtype", entry(R"("dtype":"F31","shape":[1],"data_offsets":[0,4])"),
       "tensor \"t\": unknown dtype \"F31\""},
      {"dtype in lower case", entry(R"("dtype":"f32","shape":[1],"data_offsets":[0,4])"), "unknown dtype \"f32\""},
      {"dtype with a space", entry(R"("dtype":"F32 ","shape":[1],"data_offsets":[0,4])"), "unknown dtype \"F32 \""},
      {"empty dtype", entry(R"("dtype":"","shape":[1],"data_offsets":[0,4])"), "unknown dtype \"\""},
      {"shape is a number", placed("1", "[0,4]"), "\"shape\" must be an array, not a number"},
      {"shape is an object", placed("{}", "[0,4]"), "\"shape\" must be an array, not an object"},
      {"shape is a boolean", placed("true", "[0,4]"), "\"shape\" must be an array, not a boolean"},
      {"shape holds a string", placed(R"(["1"])", "[0,4]"), "\"shape\" holds a string instead of a number"},
      {"shape holds null", placed("[null]", "[0,4]"), "\"shape\" holds null instead of a number"},
      {"shape holds an array", placed("[[1]]", "[0,4]"), "\"shape\" holds an array instead of a number"},
      {"shape holds an object", placed("[{}]", "[0,4]"), "\"shape\" holds an object instead of a number"},
      {"offsets are an object", placed("[1]", "{}"), "\"data_offsets\" must be an array, not an object"},
      {"offsets are a string", placed("[1]", "\"0,4\""), "\"data_offsets\" must be an array, not a string"},
      {"offsets hold a boolean", placed("[1]", "[false,4]"), "\"data_offsets\" holds a boolean instead of a number"},
      {"no offset", placed("[1]", "[]"), "'data_offsets' must be two numbers"},
      {"one offset", placed("[1]", "[4]"), "'data_offsets' must be two numbers"},
      {"three offsets", placed("[1]", "[0,4,4]"), "'data_offsets' must be two numbers"},
      {"two tensors of one name", file_of("{\"t\":{" + ok + "},\"t\":{" + ok + "}}", four),
       "two tensors are named \"t\""},
      {"one name in two spellings", file_of("{\"t\":{" + ok + "},\"\\u0074\":{" + ok + "}}", four),
       "two tensors are named \"t\""},
      {"dtype twice", entry(ok + R"(,"dtype":"F32")"), "tensor \"t\" has the key \"dtype\" twice"},
      {"shape twice", entry(ok + R"(,"shape":[1])"), "tensor \"t\" has the key \"shape\" twice"},
      {"offsets twice", entry(ok + R"(,"data_offsets":[0,4])"), "tensor \"t\" has the key \"data_offsets\" twice"},
      {"unknown key twice", entry(ok + R"(,"x":1,"x":2)"), "tensor \"t\" has the key \"x\" twice"},
  };
}

std::vector<Malformed> number_cases() {
  const std::string not_whole = "is not a whole number from 0 to 2^64 - 1";
  return {
      {"negative dimension", placed("[-1]", "[0,4]"), "\"shape\" holds -1, which " + not_whole},
      {"minus zero", placed("[-0]", "[0,4]"), "\"shape\" holds -0, which " + not_whole},
      {"fractional dimension", placed("[1.5]", "[0,4]"), "\"shape\" holds 1.5, which " + not_whole},
      {"whole but written as a fraction", placed("[1.0]", "[0,4]"), "\"shape\" holds 1.0, which " + not_whole},
      {"whole but written with an exponent", placed("[1e0]", "[0,4]"), "\"shape\" holds 1e0, which " + not_whole},
      {"dimension 2^64", placed("[18446744073709551616]", "[0,4]"), "\"shape\" holds 18446744073709551616, which"},
      {"dimension of 30 digits", placed("[999999999999999999999999999999]", "[0,4]"), "999999999999999999, which"},
      {"negative begin", placed("[1]", "[-4,0]"), "\"data_offsets\" holds -4, which " + not_whole},
      {"negative end", placed("[1]", "[0,-4]"), "\"data_offsets\" holds -4, which " + not_whole},
      {"fractional end", placed("[1]", "[0,4.0]"), "\"data_offsets\" holds 4.0, which " + not_whole},
      {"end 2^64", placed("[1]", "[0,18446744073709551616]"), "\"data_offsets\" holds 18446744073709551616, which"},
      {"end before begin", placed("[1]", "[4,0]"), "tensor \"t\" ends at byte 0, before its beginning at 4"},
      {"product wraps to 0", placed("[4294967296,4294967296]", "[0,0]", ""),
       "the size of F32 [4294967296, 4294967296] overflows"},
      {"product wraps to 1", placed("[6700417,641,4294967297,4294967295]", "[0,4]"), "overflows 64 bits"},
      {"bits wrap to 0", placed("[576460752303423488]", "[0,0]", ""), "overflows 64 bits"},
      {"bits wrap to 32", placed("[576460752303423489]", "[0,4]"), "overflows 64 bits"},
      {"overflow before a zero", placed("[4294967296,4294967296,0]", "[0,0]", ""), "overflows 64 bits"},
      {"10^18 elements", placed("[1000000000,1000000000]", "[0,4]"), "overflows 64 bits"},
      {"10^17 elements in 4 bytes", placed("[100000000000000000]", "[0,4]"),
       "takes 400000000000000000 bytes, but its data_offsets span 4"},
  };
}

std::vector<Malformed> layout_cases() {
  return {
      {"span smaller than the shape", placed("[2]", "[0,4]"), "F32 [2] takes 8 bytes, but its data_offsets span 4"},
      {"span larger than the shape", placed("[1]", "[0,8]", four + four),
       "F32 [1] takes 4 bytes, but its data_offsets span 8"},
      {"span for another dtype", entry(R"("dtype":"F64","shape":[1],"data_offsets":[0,4])"),
       "F64 [1] takes 8 bytes, but"},
      {"zero-size tensor with bytes", placed("[0]", "[0,4]"), "F32 [0] takes 0 bytes, but its data_offsets span 4"},
      {"scalar without bytes", placed("[]", "[0,0]", ""), "F32 [] takes 4 bytes, but its data_offsets span 0"},
      {"half a byte", entry(R"("dtype":"F4","shape":[1],"data_offsets":[0,1])", "x"),
       "1 elements of F4 do not fill whole bytes"},
      {"six bits", entry(R"("dtype":"F6_E2M3","shape":[2],"data_offsets":[0,1])", "x"),
       "2 elements of F6_E2M3 do not fill"},
      {"gap at the start", placed("[1]", "[4,8]", four + four), "a gap of 4 bytes before tensor \"t\""},
      {"gap in the middle", two("[0,2]", 2, "[3,4]", 1, 4), "a gap of 1 bytes before tensor \"b\""},
      {"overlap", two("[0,3]", 3, "[2,4]", 2, 4), "tensor \"b\" overlaps tensor \"a\""},
      {"the same bytes twice", two("[0,4]", 4, "[0,4]", 4, 4), "overlaps tensor"},
      {"one inside the other", two("[1,2]", 1, "[0,4]", 4, 4), "tensor \"a\" overlaps tensor \"b\""},
      {"empty tensor in the middle of another", two("[2,2]", 0, "[0,4]", 4, 4), "tensor \"a\" overlaps tensor \"b\""},
      {"empty tensor behind the end", two("[5,5]", 0, "[0,4]", 4, 4), "a gap of 1 bytes before tensor \"a\""},
      {"no data at all", placed("[1]", "[0,4]", ""),
       "it is cut short: the tensors take 4 bytes of data and the file has 0"},
      {"one byte missing", placed("[1]", "[0,4]", "abc"), "the tensors take 4 bytes of data and the file has 3"},
      {"one byte too many", placed("[1]", "[0,4]", "abcde"), "1 bytes too many after the last tensor"},
      {"data without tensors", file_of("{}", four), "4 bytes too many after the last tensor"},
      {"offsets near 2^64", placed("[1]", "[18446744073709551608,18446744073709551612]"),
       "a gap of 18446744073709551608 bytes"},
      {"offsets near 2^64 that would wrap", placed("[2]", "[18446744073709551612,4]"),
       "ends at byte 4, before its beginning"},
  };
}

std::vector<Malformed> foreign_cases() {
  const std::string rest(600, 'z');
  return {
      {"zip archive", "PK\3\4\0\0\10\10" + rest, "a zip archive, probably a PyTorch checkpoint"},
      {"pickle", "\x80\2\x8a\nl\xfc\x9c\x46\xf9" + rest, "a Python pickle, probably a PyTorch checkpoint"},
      {"Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "run 'git lfs pull'"},
      {"HDF5", "\x89HDF\r\n\x1a\n" + rest, "an HDF5 file"},
      {"GGUF", "GGUF\3\0\0\1" + rest, "a GGUF file"},
      {"web page", "<!DOCTYPE html><html>" + rest, "the download probably failed"},
      {"index of shards", R"({"metadata":{"total_size":1},"weight_map":{}})", "a sharded checkpoint"},
      {"config", R"({"model_type":"distilbert"})", "a JSON file, not a safetensors file"},
      {"short text", "x", "too short"},
  };
}

TEST_CASE("every malformed file of the corpus is refused with its own error") {
  const TempDir dir;
  size_t count = 0;
  for (const auto& cases :
       {length_cases(), text_cases(), type_cases(), number_cases(), layout_cases(), foreign_cases()}) {
    for (const Malformed& m : cases) {
      INFO(m.what);
      test::write_file(dir / "bad.safetensors", m.bytes);
      const std::string message = test::bad_input([&] { SafetensorsFile::open(dir / "bad.safetensors"); });
      CHECK_THAT(message, Catch::Contains(m.expected));
      CHECK_THAT(message, Catch::StartsWith(dir / "bad.safetensors: "));
      CHECK(message.find('\n') == std::string::npos);
      ++count;
    }
  }
  CHECK(count >= 60);
}

}  // namespace
}  // namespace crisp
