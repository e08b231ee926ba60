// Files made to hurt: claims far beyond their size, deep nesting, things that are no files, random damage.
#include <fmt/format.h>

#include <sys/stat.h>
#include <unistd.h>

#include "engine/error.h"
#include "tests/support/catch.h"
#include "tests/weights/support.h"
#include "weights/safetensors.h"

namespace crisp {
namespace {

using test::bad_input;
using test::file_of;
using test::TempDir;
using test::u64;

TEST_CASE("a hostile header is refused without allocating what it claims") {
  const TempDir dir;
  const std::string huge_shape =
      R"({"t":{"dtype":"F32","shape":[1000000000,100000000],"data_offsets":[0,400000000000000000]}})";
  std::string many = "{";
  for (int i = 0; i < 60; ++i)
    many += fmt::format(
        R"("t{}":{{"dtype":"F64","shape":[1152921504606846975],"data_offsets":[0,9223372036854775800]}},)", i);
  many.back() = '}';
  const std::pair<const char*, std::string> files[] = {
      {"length 2^63", u64(uint64_t{1} << 63) + "{}"},
      {"length 99,999,999 in 10 bytes", u64(99'999'999) + "{}"},
      {"a tensor of 10^17 elements", file_of(huge_shape)},
      {"many huge tensors", file_of(many)},
      {"50,000 open arrays as the header", file_of(std::string(50'000, '['))},
      {"50,000 open objects", file_of([] {
         std::string s;
         for (int i = 0; i < 50'000; ++i) s += "{\"a\":";
         return s;
       }())},
      {"50,000 arrays in an unknown key",
       file_of("{\"t\":{\"x\":" + std::string(50'000, '[') + std::string(50'000, ']') + "}}")},
      {"50,000 arrays in a shape", file_of("{\"t\":{\"shape\":" + std::string(50'000, '[') + "}}")},
      {"a name of 100,000 characters", file_of("{\"" + std::string(100'000, 'n') + "\":1}")},
  };
  for (const auto& [what, bytes] : files) {
    INFO(what);
    test::write_file(dir / "f", bytes);
    const std::string path = dir / "f";
    std::string message;
    test::reset_allocation_guard();
    try {
      (void)SafetensorsFile::open(path);
    } catch (const BadInput& e) {
      const uint64_t largest = test::largest_allocation(), total = test::total_allocation();
      message = e.what();
      CHECK(largest < 4 * bytes.size() + 4096);
      CHECK(total < 64 * bytes.size() + 65536);
    }
    CHECK_THAT(message, Catch::StartsWith(path + ": not a valid safetensors file: "));
    CHECK(message.size() < 1000);
  }
}

TEST_CASE("100 MB of header in a sparse file are refused at the first bad byte") {
  const TempDir dir;
  test::write_file(dir / "f", u64(99'999'992));
  REQUIRE(::truncate((dir / "f").c_str(), 100'000'000) == 0);
  CHECK_THAT(bad_input([&] { SafetensorsFile::open(dir / "f"); }), Catch::Contains("NUL byte at 0"));
}

TEST_CASE("a message shows a hostile name without control characters and without its full length") {
  const TempDir dir;
  test::write_file(dir / "f", file_of("{\"\\u001b[31m\\n\\u007f\xc2\x9b" + std::string(5000, 'n') + "\":1}"));
  const std::string message = bad_input([&] { SafetensorsFile::open(dir / "f"); });
  CHECK_THAT(message, Catch::Contains("\\u001b[31m\\n\\u007f\\u009bnnn") && Catch::Contains("nnn...\""));
  CHECK(message.size() < 400);
}

TEST_CASE("a missing file, a directory, a FIFO and a device are refused without waiting") {
  const TempDir dir;
  const auto open = [&](const std::string& path) { return bad_input([&] { SafetensorsFile::open(path); }); };
  CHECK_THAT(open(dir / "none"), Catch::Contains("none: cannot be opened: No such file"));
  CHECK_THAT(open(dir.path()), Catch::Contains("is a directory"));
  REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
  CHECK_THAT(open(dir / "fifo"), Catch::Contains("fifo: is a pipe, not a regular file"));
  CHECK_THAT(open("/dev/zero"), Catch::Contains("is a device, not a regular file"));
}

// Opens and reads everything; true when the file is valid. Anything but success and BadInput ends the test.
bool survives(const std::string& path) {
  try {
    const auto file = SafetensorsFile::open(path);
    for (const TensorEntry& t : file.tensors()) {
      std::vector<double> out(t.numel());
      if (is_readable_float(t.dtype)) file.read(t, std::span<double>(out));
    }
    return true;
  } catch (const BadInput&) {
    return false;
  }
}

TEST_CASE("a valid file cut at any byte, or with any byte changed, is valid or refused") {
  const TempDir dir;
  const std::string valid =
      file_of(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
              R"("b":{"dtype":"F16","shape":[],"data_offsets":[8,10]}} )",
              "0123456789");
  const std::string path = dir / "f";
  test::write_file(path, valid);
  REQUIRE(survives(path));
  for (size_t n = 0; n < valid.size(); ++n) {
    test::write_file(path, valid.substr(0, n));
    CHECK_FALSE(survives(path));
  }
  size_t still_valid = 0;
  for (size_t i = 0; i < valid.size(); ++i) {
    for (const int change : {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff}) {
      std::string changed = valid;
      changed[i] = static_cast<char>(changed[i] ^ change);
      test::write_file(path, changed);
      still_valid += survives(path);
    }
  }
  // The ten bytes of data may hold anything, and so may names; lengths, offsets and structure may not.
  CHECK(still_valid >= 90);
  CHECK(still_valid < valid.size() * 9 / 2);
}

}  // namespace
}  // namespace crisp
