#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "train/durable/tensorboard.h"

namespace crisp {
namespace {

uint64_t little_endian(const std::string& bytes, size_t at, size_t n) {
  uint64_t value = 0;
  for (size_t i = 0; i < n; ++i) value |= uint64_t{static_cast<unsigned char>(bytes.at(at + i))} << (8 * i);
  return value;
}

// The payloads of a TFRecord file, each checksum checked.
std::vector<std::string> records(const std::string& file) {
  std::vector<std::string> payloads;
  for (size_t at = 0; at < file.size();) {
    const uint64_t size = little_endian(file, at, 8);
    REQUIRE(little_endian(file, at + 8, 4) == masked_crc32c(file.substr(at, 8)));
    REQUIRE(at + 12 + size + 4 <= file.size());
    payloads.push_back(file.substr(at + 12, size));
    REQUIRE(little_endian(file, at + 12 + size, 4) == masked_crc32c(payloads.back()));
    at += 12 + size + 4;
  }
  return payloads;
}

struct Field {
  uint32_t number = 0;
  uint64_t value = 0;  // of a varint or fixed field
  std::string bytes;   // of a length-delimited one
};

std::vector<Field> fields(const std::string& message) {
  std::vector<Field> found;
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(message.at(at++));
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.size()) {
    const uint64_t key = varint();
    Field field{static_cast<uint32_t>(key >> 3), 0, ""};
    const uint64_t type = key & 7;
    if (type == 0) {
      field.value = varint();
    } else if (type == 2) {
      const uint64_t size = varint();
      field.bytes = message.substr(at, size);
      at += size;
    } else {
      REQUIRE((type == 1 || type == 5));
      const size_t size = type == 1 ? 8 : 4;
      field.value = little_endian(message, at, size);
      at += size;
    }
    found.push_back(field);
  }
  return found;
}

struct Point {
  std::string tag;
  float value;
  int64_t step;
};

std::vector<Point> points(const std::string& path) {
  std::vector<Point> found;
  for (const std::string& record : records(test::read_file(path))) {
    Point point{};
    for (const Field& field : fields(record)) {
      if (field.number == 1) CHECK(std::bit_cast<double>(field.value) > 1.6e9);  // seconds since 1970
      if (field.number == 2) point.step = static_cast<int64_t>(field.value);
      if (field.number == 3) CHECK(field.bytes == "brain.Event:2");
      if (field.number != 5) continue;
      const std::vector<Field> value = fields(fields(field.bytes).at(0).bytes);
      point.tag = value.at(0).bytes;
      point.value = std::bit_cast<float>(static_cast<uint32_t>(value.at(1).value));
      found.push_back(point);
    }
  }
  return found;
}

TEST_CASE("CRC-32C has the values of RFC 3720") {
  CHECK(crc32c("123456789") == 0xE3069283u);
  CHECK(crc32c(std::string(32, '\0')) == 0x8A9136AAu);
  CHECK(crc32c(std::string(32, '\xFF')) == 0x62A8AB43u);
  CHECK(crc32c("") == 0);
}

TEST_CASE("an event file starts with its version and holds the scalars") {
  const test::TempDir dir;
  TensorBoardWriter writer(dir.path());
  writer.scalar("train/loss", 0.25, 1);
  writer.scalar("eval/accuracy", 0.9, 300);
  writer.scalar("train/" + std::string(200, 'x'), std::numeric_limits<double>::infinity(), int64_t{1} << 40);
  CHECK(is_event_file_name(writer.filename()));
  CHECK(test::names_in(dir.path()) == std::vector<std::string>{writer.filename()});
  CHECK(writer.bytes() == std::filesystem::file_size(dir / writer.filename()));

  CHECK(fields(records(test::read_file(dir / writer.filename())).at(0)).back().bytes == "brain.Event:2");
  const std::vector<Point> found = points(dir / writer.filename());
  REQUIRE(found.size() == 3);
  CHECK(found[0].tag == "train/loss");
  CHECK(found[0].value == 0.25f);
  CHECK(found[0].step == 1);
  CHECK(found[1].tag == "eval/accuracy");
  CHECK(found[1].value == 0.9f);
  CHECK(found[1].step == 300);
  CHECK(found[2].tag.size() == 206);
  CHECK(std::isinf(found[2].value));
  CHECK(found[2].step == int64_t{1} << 40);
}

TEST_CASE("a resumed event file is cut back to the checkpoint and goes on") {
  const test::TempDir dir;
  TensorBoardWriter first(dir.path());
  first.scalar("train/loss", 1, 1);
  first.sync();
  const uint64_t at_checkpoint = first.bytes();
  first.scalar("train/loss", 2, 2);

  TensorBoardWriter second(dir.path(), first.filename(), at_checkpoint);
  CHECK(second.filename() == first.filename());
  second.scalar("train/loss", 2, 2);
  const std::vector<Point> found = points(dir / first.filename());
  REQUIRE(found.size() == 2);
  CHECK(found[0].step == 1);
  CHECK(found[1].step == 2);
}

TEST_CASE("an event file that is gone, cut or oddly named is not continued but started anew") {
  const test::TempDir dir;
  const TensorBoardWriter first(dir.path());
  CHECK(TensorBoardWriter(dir.path(), first.filename(), first.bytes() + 1).filename() != first.filename());
  CHECK(TensorBoardWriter(dir.path(), "events.out.tfevents.1.gone.crisp", 10).filename() !=
        "events.out.tfevents.1.gone.crisp");
  test::write_file(dir / "precious", std::string(100, 'x'));
  CHECK(TensorBoardWriter(dir.path(), "precious", 10).filename() != "precious");
  CHECK(test::read_file(dir / "precious").size() == 100);
  CHECK_FALSE(is_event_file_name("../events.out.tfevents.1.host.crisp"));
  CHECK_FALSE(is_event_file_name("events.out.tfevents.1.host/x.crisp"));
  CHECK_FALSE(is_event_file_name("events.out.tfevents.1.host"));
}

TEST_CASE("metrics are filed under the tags that transformers uses") {
  CHECK(tensorboard_tag("loss") == "train/loss");
  CHECK(tensorboard_tag("eval_accuracy") == "eval/accuracy");
  CHECK(tensorboard_tag("evaluation") == "train/evaluation");
}

}  // namespace
}  // namespace crisp
