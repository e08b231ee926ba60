#include <sys/stat.h>

#include <string>

#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "train/durable/sha256.h"

namespace crisp {
namespace {

TEST_CASE("SHA-256 of the messages that NIST publishes with FIPS 180") {
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrs"
               "tnopqrstu") == "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  CHECK(sha256(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 does not depend on how the message is cut, at every length around the block size") {
  std::string message;
  for (int length = 0; length < 200; ++length) {
    const std::string whole = sha256(message);
    for (const size_t piece : {1u, 7u, 55u, 56u, 63u, 64u, 65u}) {
      Sha256 hash;
      for (size_t at = 0; at < message.size(); at += piece) hash.update(message.substr(at, piece));
      REQUIRE(hash.finish() == whole);
    }
    message += static_cast<char>(length * 31);
  }
}

TEST_CASE("SHA-256 of a file equals that of its content, a missing file is an error") {
  const test::TempDir dir;
  const std::string content(700'001, '\x17');
  test::write_file(dir / "file", content);
  CHECK(sha256_file(dir / "file") == sha256(content));
  CHECK(test::contains(test::message_of<Error>([&] { sha256_file(dir / "none"); }), "none: cannot be opened"));
  REQUIRE(mkfifo((dir / "fifo").c_str(), 0600) == 0);
  CHECK(test::contains(test::message_of<Error>([&] { sha256_file(dir / "fifo"); }),
                       "fifo: is a pipe, not a regular file"));
}

}  // namespace
}  // namespace crisp
