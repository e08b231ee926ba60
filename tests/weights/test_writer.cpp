#include "tests/support/catch.h"
#include "tests/weights/support.h"
#include "weights/safetensors.h"

namespace crisp {
namespace {

using namespace std::string_literals;
using test::error;
using test::TempDir;

using F32 = std::span<const float>;
using F64 = std::span<const double>;

TEST_CASE("the written file is, byte for byte, the one of the safetensors package 0.8.0") {
  const std::vector<float> b{1.5f, -2.0f}, a{3}, big{7}, none{}, h{1, 2, 3}, g{1};
  const std::vector<double> z{0.1, 0.2};
  const TensorToWrite tensors[] = {
      {"b.weight", SafeDType::F32, {1, 2}, F32(b)}, {"a.f32", SafeDType::F32, {}, F32(a)},
      {"z.f64", SafeDType::F64, {2}, F64(z)},       {"h.f16", SafeDType::F16, {3}, F32(h)},
      {"g.bf16", SafeDType::BF16, {1}, F32(g)},     {"\xc3\xa9\"\\\n\1", SafeDType::F32, {0, 3}, F32(none)},
      {"B", SafeDType::F32, {1}, F32(big)},
  };
  const TempDir dir;
  write_safetensors(dir / "f", tensors);
  const std::string expected =
      "\xd0\1\0\0\0\0\0\0"s
      R"({"__metadata__":{"format":"pt"},"z.f64":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},)"
      R"("B":{"dtype":"F32","shape":[1],"data_offsets":[16,20]},)"
      R"("a.f32":{"dtype":"F32","shape":[],"data_offsets":[20,24]},)"
      R"("b.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[24,32]},)"
      "\"\xc3\xa9"
      R"(\"\\\n\u0001":{"dtype":"F32","shape":[0,3],"data_offsets":[32,32]},)"
      R"("g.bf16":{"dtype":"BF16","shape":[1],"data_offsets":[32,34]},)"
      R"("h.f16":{"dtype":"F16","shape":[3],"data_offsets":[34,40]}}       )"
      "\x9a\x99\x99\x99\x99\x99\xb9\x3f\x9a\x99\x99\x99\x99\x99\xc9\x3f"
      "\0\0\xe0\x40\0\0\x40\x40\0\0\xc0\x3f\0\0\0\xc0\x80\x3f\0\x3c\0\x40\0\x42"s;
  CHECK(test::read_file(dir / "f") == expected);
}

TEST_CASE("what is written is read back: f32 and f64 sources, every dtype, metadata") {
  const TempDir dir;
  const std::vector<float> f32{0.5f, -1.25f, 3.0f, 1e-3f};
  const std::vector<double> f64{0.5, -1.25, 3.0, 1e-3};
  for (const SafeDType dtype : {SafeDType::F64, SafeDType::F32, SafeDType::BF16, SafeDType::F16}) {
    INFO(name_of(dtype));
    const TensorToWrite tensors[] = {{"from_f32", dtype, {2, 2}, F32(f32)}, {"from_f64", dtype, {4}, F64(f64)}};
    write_safetensors(dir / "f", tensors, {{"format", "pt"}, {"note", "\"quoted\"\n"}});
    const auto file = SafetensorsFile::open(dir / "f");
    CHECK(file.metadata().at("note") == "\"quoted\"\n");
    CHECK(file.find("from_f32")->shape == std::vector<uint64_t>{2, 2});
    for (const TensorEntry& t : file.tensors()) {
      CHECK(t.dtype == dtype);
      std::vector<double> back(4);
      file.read(t, std::span<double>(back));
      CHECK(std::vector<double>(back.begin(), back.begin() + 3) == std::vector<double>{0.5, -1.25, 3.0});
      // Half a unit in the last place, relative.
      const double precision = dtype == SafeDType::BF16 ? 0x1p-8 : dtype == SafeDType::F16 ? 0x1p-11 : 0x1p-24;
      CHECK(std::abs(back[3] - 1e-3) <= 1e-3 * precision);
      if (dtype == SafeDType::F64 && t.name == "from_f64") CHECK(back[3] == 1e-3);
    }
  }
}

TEST_CASE("a file without tensors and without metadata") {
  const TempDir dir;
  write_safetensors(dir / "f", {}, {});
  CHECK(test::read_file(dir / "f") == "\x8\0\0\0\0\0\0\0{}      "s);
  CHECK(SafetensorsFile::open(dir / "f").tensors().empty());
}

TEST_CASE("the tensor data begin at a multiple of 8, whatever the header's length") {
  const TempDir dir;
  const std::vector<float> x{1};
  for (size_t n = 1; n <= 16; ++n) {
    const TensorToWrite t{std::string(n, 'n'), SafeDType::F32, {1}, F32(x)};
    write_safetensors(dir / "f", std::span(&t, 1));
    CHECK(test::read_file(dir / "f").size() % 8 == 4);
  }
}

TEST_CASE("what would make an invalid file is refused before anything is written") {
  const TempDir dir;
  const std::vector<float> x{1, 2};
  const auto write = [&](std::vector<TensorToWrite> tensors) {
    return error([&] { write_safetensors(dir / "f", tensors); });
  };
  CHECK_THAT(write({{"t", SafeDType::F32, {3}, F32(x)}}), Catch::Contains("\"t\" has shape [3] and 2 elements"));
  CHECK_THAT(write({{"t", SafeDType::F32, {uint64_t{1} << 63, 2, 2}, F32(x)}}), Catch::Contains("2 elements of data"));
  CHECK_THAT(write({{"t", SafeDType::I64, {2}, F32(x)}}), Catch::Contains("cannot be written as I64"));
  CHECK_THAT(write({{"t", SafeDType::F32, {2}, F32(x)}, {"t", SafeDType::F64, {2}, F32(x)}}),
             Catch::Contains("two tensors are named \"t\""));
  CHECK_THAT(write({{"__metadata__", SafeDType::F32, {2}, F32(x)}}), Catch::Contains("cannot be named __metadata__"));
  CHECK_THAT(write({{"bad\xff", SafeDType::F32, {2}, F32(x)}}), Catch::Contains("not valid UTF-8"));
  CHECK(dir.names().empty());
}

}  // namespace
}  // namespace crisp
