// weights/fetch with a curl of our own on PATH: arguments, checks, going on after an interruption, and what it says
// when there is no network.
#include <fmt/format.h>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "tests/support/catch.h"
#include "tests/weights/support.h"

namespace crisp {
namespace {

using test::read_file;
using test::TempDir;
using test::write_file;

// Copies SERVER/NAME to the --output file, from where that ends; at most CURL_BYTES bytes; then exits with CURL_EXIT.
constexpr const char* fake_curl = R"(#!/usr/bin/env bash
while (($#)); do
  case $1 in
    --output) out=$2; shift ;;
    --retry | --connect-timeout | --continue-at) shift ;;
    http*) name=${1##*/} ;;
  esac
  shift
done
echo "$name" >>"$SERVER/../curl.log"
[[ -z ${CURL_EXIT_ONCE:-} || -e $SERVER/../failed ]] || { touch "$SERVER/../failed"; exit "$CURL_EXIT_ONCE"; }
have=0
[[ ! -e $out ]] || have=$(stat -c %s "$out")
tail -c +$((have + 1)) "$SERVER/$name" | head -c "${CURL_BYTES:-1000000}" >>"$out"
exit "${CURL_EXIT:-0}"
)";

// SHA-256 of the two files that the fake server has.
constexpr const char* hello_line = "hello 6 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\n";
constexpr const char* empty_line = "empty 0 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";

class Fetch {
 public:
  Fetch() {
    for (const char* folder : {"/bin", "/server", "/out"}) ::mkdir((dir_.path() + folder).c_str(), 0700);
    write_file(dir_ / "bin/curl", fake_curl);
    ::chmod((dir_ / "bin/curl").c_str(), 0700);
    write_file(dir_ / "server/hello", "hello\n");
    write_file(dir_ / "server/empty", "");
    write_file(dir_ / "list", std::string(hello_line) + empty_line);
    write_file(dir_ / "curl.log", "");
  }

  // Runs it with these arguments and environment settings; the exit code. `text` then holds both outputs.
  int run(const std::string& arguments, const std::string& settings = {}) {
    const std::string command = fmt::format(
        "env -u CRISP_FETCH_URL -u CRISP_FETCH_LIST PATH='{0}/bin:'\"$PATH\" SERVER='{0}/server' "
        "CRISP_FETCH_URL=http://x "
        "CRISP_FETCH_LIST='{0}/list' {1} '{2}/weights/fetch' {3} 2>&1 </dev/null",
        dir_.path(), settings, CRISP_SOURCE_DIR, arguments);
    FILE* pipe = ::popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    text.clear();
    for (int c; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
    const int status = ::pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int run_into_out(const std::string& settings = {}) { return run("--output '" + out() + "'", settings); }

  std::string out() const { return dir_ / "out"; }
  std::string in_out(const char* name) const { return out() + "/" + name; }
  bool has(const char* name) const { return ::access(in_out(name).c_str(), F_OK) == 0; }
  std::string downloads() const { return read_file(dir_ / "curl.log"); }
  const TempDir& dir() const { return dir_; }

  std::string text;

 private:
  TempDir dir_;
};

TEST_CASE("fetch: help and wrong arguments") {
  Fetch fetch;
  CHECK(fetch.run("--help") == 0);
  CHECK_THAT(fetch.text, Catch::StartsWith("Usage: weights/fetch") && Catch::Contains("--output DIR"));
  CHECK(fetch.run("-h") == 0);
  for (const char* wrong : {"--outpt x", "--output", "-o", "--output=", "''", "one two", "one -o two", "-x"}) {
    INFO(wrong);
    CHECK(fetch.run(wrong) == 2);
    CHECK_THAT(fetch.text, Catch::Contains("Try weights/fetch --help"));
  }
  CHECK(fetch.downloads().empty());
}

TEST_CASE("fetch: downloads, checks, and does not download again") {
  Fetch fetch;
  INFO(fetch.text);
  CHECK(fetch.run_into_out() == 0);
  CHECK(read_file(fetch.in_out("hello")) == "hello\n");
  CHECK(read_file(fetch.in_out("empty")).empty());
  CHECK_FALSE(fetch.has("hello.part"));
  CHECK(fetch.downloads() == "hello\nempty\n");

  CHECK(fetch.run_into_out() == 0);
  CHECK_THAT(fetch.text, Catch::Contains("hello: already there and right"));
  CHECK(fetch.downloads() == "hello\nempty\n");
}

TEST_CASE("fetch: the folder is a plain argument, as that of data/fetch, or that of --output") {
  for (const char* option : {"", "-o ", "--output ", "--output="}) {
    INFO(option);
    Fetch fetch;
    CHECK(fetch.run(fmt::format("{}'{}'", option, fetch.out())) == 0);
    CHECK(read_file(fetch.in_out("hello")) == "hello\n");
    CHECK_THAT(fetch.text, Catch::Contains("Train with: crisp-train --weights " + fetch.out()));
  }
}

TEST_CASE("fetch: an interrupted download keeps its part, never under the final name, and goes on from there") {
  Fetch fetch;
  CHECK(fetch.run_into_out("CURL_BYTES=2 CURL_EXIT=18") == 1);
  CHECK_FALSE(fetch.has("hello"));
  CHECK(read_file(fetch.in_out("hello.part")) == "he");
  write_file(fetch.dir() / "server/hello", "XXllo\n");  // proves that the first two bytes are not fetched again
  CHECK(fetch.run_into_out() == 0);
  CHECK(read_file(fetch.in_out("hello")) == "hello\n");
}

TEST_CASE("fetch: without network it says what to do") {
  Fetch fetch;
  CHECK(fetch.run_into_out("CURL_BYTES=0 CURL_EXIT=6") == 1);
  CHECK_THAT(fetch.text, Catch::Contains("could not download hello (curl's exit code 6)") &&
                             Catch::Contains("http://x/hello") && Catch::Contains("http://x/empty") &&
                             Catch::Contains("CRISP_FETCH_URL"));
  CHECK_FALSE(fetch.has("hello"));
}

TEST_CASE("fetch: a server that cannot continue is asked for the whole file") {
  Fetch fetch;
  write_file(fetch.in_out("hello.part"), "he");
  CHECK(fetch.run_into_out("CURL_EXIT_ONCE=33") == 0);
  CHECK(read_file(fetch.in_out("hello")) == "hello\n");
}

TEST_CASE("fetch: a wrong file is removed and never gets the final name") {
  Fetch fetch;
  write_file(fetch.dir() / "server/hello", "jello\n");
  CHECK(fetch.run_into_out() == 1);
  CHECK_THAT(fetch.text, Catch::Contains("hello is not the expected file: found 6 bytes"));
  CHECK_FALSE(fetch.has("hello"));
  CHECK_FALSE(fetch.has("hello.part"));
}

TEST_CASE("fetch: a user's file in the way is kept and reported") {
  Fetch fetch;
  write_file(fetch.in_out("hello"), "mine");
  CHECK(fetch.run_into_out() == 1);
  CHECK_THAT(fetch.text, Catch::Contains("hello is there, but is not the expected file"));
  CHECK(read_file(fetch.in_out("hello")) == "mine");
}

TEST_CASE("fetch: a whole part needs no network, a wrong one starts again") {
  Fetch fetch;
  write_file(fetch.in_out("hello.part"), "hello\n");
  write_file(fetch.in_out("empty.part"), "too long");
  CHECK(fetch.run_into_out() == 0);
  CHECK(fetch.downloads() == "empty\n");
}

TEST_CASE("fetch: unwritable folders and bad lists are failures") {
  Fetch fetch;
  CHECK(fetch.run("--output /dev/null/x") == 1);
  CHECK_THAT(fetch.text, Catch::Contains("cannot make the folder /dev/null/x"));
  write_file(fetch.dir() / "list", "../evil 6 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\n");
  CHECK(fetch.run_into_out() == 1);
  CHECK_THAT(fetch.text, Catch::Contains("a line is not 'NAME BYTES SHA256'"));
}

TEST_CASE("fetch: the vocabulary's size and hash in the script are those of the dataset's copy") {
  const std::string vocab = datasets_dir() + "/bert-base-uncased/vocab.txt";
  if (::access(vocab.c_str(), R_OK) != 0) CRISP_SKIP("no " + vocab);
  Fetch fetch;
  write_file(fetch.dir() / "server/vocab.txt", read_file(vocab));
  const std::string script = read_file(std::string(CRISP_SOURCE_DIR) + "/weights/fetch");
  const size_t at = script.find("vocab.txt 2");
  REQUIRE(at != std::string::npos);
  write_file(fetch.dir() / "list", script.substr(at, script.find('"', at) - at) + "\n");
  CHECK(fetch.run_into_out() == 0);
  CHECK(fetch.has("vocab.txt"));
}

}  // namespace
}  // namespace crisp
