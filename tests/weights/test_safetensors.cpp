// Valid files: what the reader gives for them.
#include <fmt/format.h>

#include "weights/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "tests/support/catch.h"
#include "tests/support/mappings.h"
#include "tests/weights/support.h"

namespace crisp {
namespace {

using test::bad_input;
using test::bytes_of;
using test::file_of;
using test::TempDir;

template <class T>
std::vector<T> values(const SafetensorsFile& file, const char* name) {
  const TensorEntry& entry = *file.find(name);
  std::vector<T> out(entry.numel());
  file.read(entry, std::span<T>(out));
  return out;
}

TEST_CASE("a file's tensors, in the order of the data, and its metadata") {
  const TempDir dir;
  // In the header, "b" stands first; in the data, "a" does.
  test::write_file(dir / "f", file_of(R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},)"
                                      R"("__metadata__":{"format":"pt","x":"y"},)"
                                      R"("a":{"shape":[1,1],"data_offsets":[0,8],"dtype":"F64"}})",
                                      bytes_of({1.5}) + bytes_of({2.0f, -3.0f})));
  const auto file = SafetensorsFile::open(dir / "f");
  REQUIRE(file.tensors().size() == 2);
  CHECK(file.tensors()[0].name == "a");
  CHECK(file.tensors()[0].dtype == SafeDType::F64);
  CHECK(file.tensors()[0].shape == std::vector<uint64_t>{1, 1});
  CHECK(file.tensors()[1].name == "b");
  CHECK(file.tensors()[1].begin == 8);
  CHECK(file.tensors()[1].end == 16);
  CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "pt"}, {"x", "y"}});
  CHECK(file.find("c") == nullptr);
  CHECK(values<double>(file, "a") == std::vector<double>{1.5});
  CHECK(values<float>(file, "a") == std::vector<float>{1.5f});
  CHECK(values<float>(file, "b") == std::vector<float>{2, -3});
  CHECK(values<double>(file, "b") == std::vector<double>{2, -3});
  REQUIRE(file.bytes(file.tensors()[1]).size() == 8);
  CHECK(std::memcmp(file.bytes(file.tensors()[1]).data(), bytes_of({2.0f, -3.0f}).data(), 8) == 0);
}

TEST_CASE("rank 0, zero-size tensors and files without tensors are valid") {
  const TempDir dir;
  test::write_file(dir / "f", file_of(R"({"scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                                      R"("empty":{"dtype":"F32","shape":[3,0,1099511627776],"data_offsets":[4,4]},)"
                                      R"("void":{"dtype":"I64","shape":[0],"data_offsets":[0,0]},)"
                                      R"("last":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1],"data_offsets":[4,8]}})",
                                      bytes_of({7.0f, 8.0f})));
  const auto file = SafetensorsFile::open(dir / "f");
  CHECK(values<float>(file, "scalar") == std::vector<float>{7});
  CHECK(values<float>(file, "empty").empty());
  CHECK(file.find("empty")->shape == std::vector<uint64_t>{3, 0, 1099511627776});
  CHECK(values<double>(file, "last") == std::vector<double>{8});

  test::write_file(dir / "none", file_of("{}"));
  CHECK(SafetensorsFile::open(dir / "none").tensors().empty());
}

TEST_CASE("JSON whitespace on both sides of the header, escapes in names, further keys") {
  const TempDir dir;
  test::write_file(dir / "f",
                   file_of("\n\t {\"caf\\u00e9\\n\" :{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],"
                           "\"note\":{\"dtype\":[1,{\"x\":-1.5}]},\"more\":null}} \r\n ",
                           bytes_of({1.0f})));
  CHECK(values<float>(SafetensorsFile::open(dir / "f"), "caf\xc3\xa9\n") == std::vector<float>{1});
}

TEST_CASE("misaligned tensors are read") {
  const TempDir dir;
  // One byte in front, and a header length that is no multiple of anything.
  test::write_file(dir / "f", file_of(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                      R"("d":{"dtype":"F64","shape":[2],"data_offsets":[1,17]},)"
                                      R"("f":{"dtype":"F32","shape":[1],"data_offsets":[17,21]},)"
                                      R"("h":{"dtype":"BF16","shape":[1],"data_offsets":[21,23]}} )",
                                      "!" + bytes_of({0.1, -1e300}) + bytes_of({0.7f}) + bytes_of<uint16_t>({0xc040})));
  const auto file = SafetensorsFile::open(dir / "f");
  CHECK(values<double>(file, "d") == std::vector<double>{0.1, -1e300});
  CHECK(values<float>(file, "d") == std::vector<float>{0.1f, -INFINITY});
  CHECK(values<double>(file, "f") == std::vector<double>{0.7f});
  CHECK(values<float>(file, "h") == std::vector<float>{-3});
}

TEST_CASE("read_part gives a range of elements, and wrong sizes are refused") {
  const TempDir dir;
  std::vector<double> many(200'000);  // more than one conversion buffer
  for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<double>(i);
  const TensorToWrite tensor{"t", SafeDType::F64, {200, 1000}, std::span<const double>(many)};
  write_safetensors(dir / "f", std::span(&tensor, 1));
  const auto file = SafetensorsFile::open(dir / "f");
  const TensorEntry& t = *file.find("t");

  std::vector<float> row(1000);
  file.read_part(t, 199'000, std::span<float>(row));
  CHECK(row.front() == 199'000.0f);
  CHECK(row.back() == 199'999.0f);
  CHECK(values<float>(file, "t")[131'073] == 131'073.0f);

  CHECK_THAT(test::error([&] { file.read(t, std::span<float>(row)); }), Catch::Contains("has 200000 elements"));
  CHECK_THAT(test::error([&] { file.read_part(t, 199'001, std::span<float>(row)); }),
             Catch::Contains("1000 from element 199001"));
  CHECK_THAT(test::error([&] { file.read_part(t, UINT64_MAX, std::span<float>(row)); }), Catch::Contains("asked for"));
}

TEST_CASE("a dtype that is no floating-point type is refused by name when it is read") {
  const TempDir dir;
  test::write_file(dir / "f",
                   file_of(R"({"ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", bytes_of<int64_t>({1})));
  const auto file = SafetensorsFile::open(dir / "f");
  std::vector<float> out(1);
  CHECK_THAT(bad_input([&] { file.read(*file.find("ids"), std::span<float>(out)); }),
             Catch::Contains("tensor \"ids\" has dtype I64"));
}

TEST_CASE("the bytes of any tensor can be copied, and no others") {
  const TempDir dir;
  test::write_file(dir / "f", file_of(R"({"ids":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},
                                          "next":{"dtype":"U8","shape":[1],"data_offsets":[16,17]}})",
                                      bytes_of<int64_t>({1, -2}) + "x"));
  const auto file = SafetensorsFile::open(dir / "f");
  const TensorEntry& ids = *file.find("ids");
  int64_t second = 0;
  file.read_raw(ids, 8, std::as_writable_bytes(std::span(&second, 1)));
  CHECK(second == -2);
  std::vector<std::byte> more(17);
  CHECK_THAT(test::error([&] { file.read_raw(ids, 0, more); }), Catch::Contains("has 16 bytes; 17 from byte 0"));
  CHECK_THAT(test::error([&] { file.read_raw(ids, 17, {}); }), Catch::Contains("has 16 bytes"));
  CHECK_THAT(test::error([&] { file.read_raw(ids, UINT64_MAX, std::span(more).first(2)); }),
             Catch::Contains("has 16 bytes"));
  std::filesystem::resize_file(dir / "f", std::filesystem::file_size(dir / "f") - 2);
  CHECK_THAT(bad_input([&] { file.read_raw(ids, 0, std::span(more).first(16)); }), Catch::Contains("shorter"));
}

TEST_CASE("every dtype of the format is known with its size") {
  const TempDir dir;
  for (int i = 0; i <= static_cast<int>(SafeDType::U64); ++i) {
    const auto t = static_cast<SafeDType>(i);
    const uint64_t bytes = bits_of(t);  // of 8 elements
    test::write_file(dir / "f", file_of(fmt::format(R"({{"x":{{"dtype":"{}","shape":[8],"data_offsets":[0,{}]}}}})",
                                                    name_of(t), bytes),
                                        std::string(bytes, '\0')));
    CHECK(SafetensorsFile::open(dir / "f").find("x")->dtype == t);
  }
}

TEST_CASE("a file cut short after opening is an error, not a crash") {
  const TempDir dir;
  const std::vector<float> data(10'000, 1.0f);
  const TensorToWrite tensor{"t", SafeDType::F32, {10'000}, std::span<const float>(data)};
  write_safetensors(dir / "f", std::span(&tensor, 1));
  const auto file = SafetensorsFile::open(dir / "f");
  std::filesystem::resize_file(dir / "f", 5000);
  std::vector<float> f32(10'000);
  std::vector<double> f64(10'000);
  const auto message = Catch::Contains("f: the file has become shorter since it was opened");
  CHECK_THAT(bad_input([&] { file.read(file.tensors()[0], std::span<float>(f32)); }), message);
  CHECK_THAT(bad_input([&] { file.read(file.tensors()[0], std::span<double>(f64)); }), message);
  CHECK_THAT(bad_input([&] { (void)file.bytes(file.tensors()[0]); }), message);
}

TEST_CASE("a file stays readable when its place is taken by a new one, and after a move") {
  const TempDir dir;
  const std::vector<float> old_data{1, 2}, new_data{3};
  const TensorToWrite before{"t", SafeDType::F32, {2}, std::span<const float>(old_data)};
  const TensorToWrite after{"t", SafeDType::F32, {1}, std::span<const float>(new_data)};
  write_safetensors(dir / "f", std::span(&before, 1));
  auto opened = SafetensorsFile::open(dir / "f");
  write_safetensors(dir / "f", std::span(&after, 1));
  SafetensorsFile file = std::move(opened);
  CHECK(values<float>(file, "t") == old_data);
  file = SafetensorsFile::open(dir / "f");
  CHECK(values<float>(file, "t") == new_data);
}

TEST_CASE("a mapped tensor outlives its file object, is changed by nobody else, and changes nothing") {
  const TempDir dir;
  const std::string path = dir / "f";
  const auto write = [&](std::vector<float> values) {
    const TensorToWrite tensor{"t", SafeDType::F32, {values.size()}, std::span<const float>(values)};
    write_safetensors(path, std::span(&tensor, 1));
  };
  const auto floats = [](const std::shared_ptr<std::byte>& p) { return reinterpret_cast<float*>(p.get()); };
  write({1, 2, 3});
  const std::string before = test::read_file(path);
  std::shared_ptr<std::byte> mine, other, moved;
  {
    const auto file = SafetensorsFile::open(path), same = SafetensorsFile::open(path);
    mine = file.mapped(*file.find("t"));
    other = same.mapped(*same.find("t"));
    SafetensorsFile third = SafetensorsFile::open(path);
    moved = third.mapped(*third.find("t"));
    const SafetensorsFile fourth = std::move(third);
    CHECK(fourth.mapped(*fourth.find("t")) == moved);
    CHECK(reinterpret_cast<const std::byte*>(file.bytes(*file.find("t")).data()) == mine.get());
  }
  CHECK(test::mappings_of(path) == 3);
  floats(mine)[1] = 20;
  CHECK(test::read_file(path) == before);
  CHECK(floats(other)[1] == 2);
  write({7});  // takes the file's place
  CHECK(floats(mine)[0] == 1);
  CHECK(floats(mine)[1] == 20);
  CHECK(floats(mine)[2] == 3);
  CHECK(floats(other)[2] == 3);
  CHECK(values<float>(SafetensorsFile::open(path), "t") == std::vector<float>{7});
  mine.reset();
  CHECK(test::mappings_of(path) == 2);
  other.reset();
  moved.reset();
  CHECK(test::mappings_of(path) == 0);
}

TEST_CASE("what is not mapped: a tensor without bytes, a file in memory, one that was cut short") {
  struct InMemory : InputFiles {
    std::string content;
    std::optional<uint64_t> size(const std::string&) const override { return content.size(); }
    bool read_at(const std::string&, uint64_t offset, std::span<std::byte> out) const override {
      if (offset + out.size() > content.size()) return false;
      std::memcpy(out.data(), content.data() + offset, out.size());
      return true;
    }
  } memory;
  memory.content = file_of(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                           R"("empty":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}})",
                           bytes_of({5.0f}));
  const auto in_memory = SafetensorsFile::open(InputFile("f", &memory));
  CHECK(in_memory.mapped(*in_memory.find("t")) == nullptr);
  const TempDir dir;
  test::write_file(dir / "f", memory.content);
  const auto file = SafetensorsFile::open(dir / "f");
  CHECK(file.mapped(*file.find("t")) != nullptr);
  CHECK(file.mapped(*file.find("empty")) == nullptr);
  std::filesystem::resize_file(dir / "f", 20);
  CHECK_THAT(bad_input([&] { (void)file.mapped(*file.find("t")); }), Catch::Contains("shorter since it was opened"));
}

TEST_CASE("tensors beyond 4 GB are found") {
  const TempDir dir;
  const uint64_t gap = 4'400'000'000;
  const std::string header = fmt::format(R"({{"zeros":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{}]}},)"
                                         R"("t":{{"dtype":"F32","shape":[2],"data_offsets":[{},{}]}}}})",
                                         gap / 4, gap, gap, gap + 8);
  const int fd = ::open((dir / "f").c_str(), O_RDWR | O_CREAT, 0600);
  REQUIRE(fd >= 0);
  const std::string start = file_of(header), end = bytes_of({0.5f, 42.0f});
  const auto at = static_cast<off_t>(start.size() + gap);
  const bool made = ::ftruncate(fd, at) == 0 && ::pwrite(fd, start.data(), start.size(), 0) > 0 &&
                    ::pwrite(fd, end.data(), end.size(), at) == static_cast<ssize_t>(end.size());
  ::close(fd);
  if (!made) CRISP_SKIP("no sparse file of 4.4 GB here");

  const auto file = SafetensorsFile::open(dir / "f");
  CHECK(values<float>(file, "t") == std::vector<float>{0.5f, 42.0f});
  float last_zero = 1;
  file.read_part(*file.find("zeros"), gap / 4 - 1, std::span(&last_zero, 1));
  CHECK(last_zero == 0.0f);
  CHECK(std::memcmp(file.bytes(*file.find("t")).data(), end.data(), end.size()) == 0);
}

}  // namespace
}  // namespace crisp
