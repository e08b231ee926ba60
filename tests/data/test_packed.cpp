// gzip, and files that are no text: data/input/packed.
#include "data/input/packed.h"

#include "engine/error.h"
#include "tests/data/files.h"
#include "tests/data/gzip.h"
#include "tests/support/catch.h"

using namespace crisp;

namespace {
std::string refusal(const std::string& packed, uint64_t limit = 1 << 24) {
  return message_of<BadInput>([&] { gunzip(packed, "d.gz", limit); });
}
std::string foreign(const std::string& content) {
  return message_of<BadInput>([&] { refuse_foreign_file(content, "d"); });
}
}  // namespace

TEST_CASE("packed: gzip is unpacked, several members and zeros behind them, too") {
  const std::string text = "sentence\tlabel\ngood\t1\n", packed = gzipped(text);
  std::string large;
  for (int i = 0; i < 200'000; ++i) large += std::to_string(i * 7919 % 100'003) + "\n";
  CHECK(is_gzip(packed));
  CHECK_FALSE(is_gzip(text));
  CHECK(gunzip(packed, "d", 1000) == text);
  CHECK(gunzip(gzipped(""), "d", 0).empty());
  CHECK((gunzip(gzipped(large), "d", 1 << 24) == large));
  CHECK(gunzip(packed + packed + std::string(100, '\0'), "d", 1000) == text + text);
}

TEST_CASE("packed: gzip that is damaged, cut short or a bomb is refused") {
  const std::string packed = gzipped("sentence\tlabel\ngood\t1\n");
  for (size_t length = 2; length < packed.size(); ++length) {
    CAPTURE(length);
    CHECK(refusal(packed.substr(0, length)).find("ends before it is complete") != std::string::npos);
  }
  std::string damaged = packed;
  damaged[damaged.size() - 6] = static_cast<char>(damaged[damaged.size() - 6] ^ 1);  // the checksum
  CHECK(refusal(damaged) == "d.gz: this gzip file is damaged; fetch or pack it again");
  CHECK(refusal(packed + "x") == "d.gz: this gzip file is damaged: other bytes follow its end");
  const std::string zeros = gzipped(std::string(3 << 20, 'x'));
  CHECK(zeros.size() < 10'000);
  CHECK(refusal(zeros, 1 << 20) ==
        "d.gz: unpacks to more than the 1 MiB that such a file may have (above 64 MiB, 200 times its size)");
  CHECK(refusal(gzipped(std::string(70 << 20, 'x')), uint64_t{1} << 32).find("more than the 64 MiB") !=
        std::string::npos);
  CHECK(refusal(zeros, (3 << 20) - 1) ==
        "d.gz: unpacks to more than the 2 MiB that such a file may have (above 64 MiB, 200 times its size)");
  CHECK(refusal(zeros, 3 << 20) == "(nothing thrown)");
}

TEST_CASE("packed: what is no text is named") {
  using namespace std::literals;
  CHECK(foreign("PK\3\4rest") == "d: is a zip file (or an .xlsx or .npz), not text; unpack it first");
  CHECK(foreign("BZh91AY&SY") == "d: is a bzip2 file, not text; unpack it first");
  CHECK(foreign("\xFD"
                "7zXZ\0"s) == "d: is an xz file, not text; unpack it first");
  CHECK(foreign("PAR1...") ==
        "d: is a parquet file, not text; save it as CSV or JSON lines (pandas: to_csv, or "
        "to_json(orient=\"records\", lines=True))");
  CHECK(foreign("\x80\4\x95").starts_with("d: is a Python pickle, not text; save it as CSV"));
  CHECK(foreign("\xFF\xFEs\0"s) == "d: is UTF-16, not text; save it as UTF-8");
  CHECK(foreign("\xFE\xFF\0s"s) == "d: is UTF-16, not text; save it as UTF-8");
  CHECK(foreign("\xFF\xFE\0\0s\0\0\0"s) == "d: is UTF-32, not text; save it as UTF-8");
  CHECK(foreign("version https://git-lfs.github.com/spec/v1\noid") ==
        "d: is a Git LFS pointer, not the file itself; run `git lfs pull`");
  CHECK(foreign("<!DOCTYPE HTML><html>") == "d: is a web page (HTML); fetch the file itself");
  CHECK(foreign("<table border").starts_with("d: is a web page"));  // pandas' to_html
  for (const std::string text : {"", "P", "a good film\n", "version 2 of it", "{\"text\": \"a\"}"})
    CHECK(foreign(text) == "(nothing thrown)");
}
