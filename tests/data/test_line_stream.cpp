#include <fmt/format.h>

#include "data/line_stream.h"

#include <fcntl.h>
#include <unistd.h>

#include <thread>

#include "engine/error.h"
#include "tests/data/files.h"
#include "tests/support/catch.h"

namespace crisp {
namespace {

// A pipe, written to by hand.
class Pipe {
 public:
  Pipe() { REQUIRE(::pipe2(ends_, O_CLOEXEC) == 0); }
  ~Pipe() {
    close();
    ::close(ends_[0]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int reader() const { return ends_[0]; }
  void write(const std::string& text) const { REQUIRE(try_write(text)); }
  /// Whether all of it was written. For other threads than the test's, which alone may assert.
  bool try_write(const std::string& text) const {
    return ::write(ends_[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }
  void close() {
    if (ends_[1] >= 0) ::close(ends_[1]);
    ends_[1] = -1;
  }

 private:
  int ends_[2] = {-1, -1};
};

std::vector<std::string> texts(const Dataset& data) {
  std::vector<std::string> result;
  for (const Example& example : data.examples)
    result.push_back(example.label < 0 ? example.text : fmt::format("{}={}", example.text, example.label));
  return result;
}

using Texts = std::vector<std::string>;
const ReadOptions plain{.num_labels = 2, .allow_plain_text = true, .allow_empty = true};

TEST_CASE("lines are handed out as they come, never more than asked for") {
  Pipe pipe;
  LineStream lines(pipe.reader(), "in");
  pipe.write("one\n");
  CHECK(lines.next(10) == "one\n");  // nobody waits for nine more
  pipe.write("two\r\nthree\n\nfi");
  CHECK(lines.next(2) == "two\r\nthree\n");
  CHECK(lines.next(2) == "\n");  // a line without its end has not arrived
  CHECK(lines.lines() == 4);
  pipe.write("ve");
  pipe.close();
  CHECK(lines.next(2) == "five");
  CHECK(lines.lines() == 5);
  CHECK(lines.next(2).empty());
  CHECK(lines.next(2).empty());
}

TEST_CASE("a line that never ends is refused before it fills the memory") {
  Pipe pipe;
  LineStream lines(pipe.reader(), "in", 1 << 20);
  bool written = true;
  std::thread writer([&] {  // a pipe holds less
    const std::string block(1 << 16, 'x');
    for (int i = 0; i < 17; ++i) written = pipe.try_write(block) && written;
  });
  CHECK(message_of<BadInput>([&] { (void)lines.next(1); }) == "in:1: the line is longer than 1 MiB");
  writer.join();
  CHECK(written);
}

TEST_CASE("the first line of a stream tells what the others are") {
  struct Case {
    std::string input;
    Texts texts;
    TextFormat format = TextFormat::automatic;
  };
  const Case cases[] = {
      {"a film\n\nsentence\tlabel\nx\t1\n", {"a film", "", "sentence\tlabel", "x\t1"}},
      {"\xEF\xBB\xBFgood\r\nbad", {"good", "bad"}},
      {"sentence\tlabel\na\t1\nsentence\t0\n\n\n", {"a=1", "sentence=0"}},
      {"index\tsentence\n0\ta\n1\tb\n", {"a", "b"}},
      {"a\t1\nsentence\t0\n", {"a=1", "sentence=0"}},
      {"{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": 0}\n\n", {"a=1", "b=0"}},
      {"sentence\n", {"sentence"}},
      {"sentence\ngood\n", {"good"}, TextFormat::tsv},
      {"one\rtwo\r", {"one", "two"}},
      // Only at the beginning do bytes tell of a byte order mark or another kind of file.
      {"\xEF\xBB\xBFone\n\xEF\xBB\xBFtwo\nPAR1\n<html>\n", {"one", "\xEF\xBB\xBFtwo", "PAR1", "<html>"}},
      {"sentence\tlabel\ra\t1\rb\t0\r", {"a=1", "b=0"}},
      // A writer that quotes a header quotes sentences, too; elsewhere a line is answered before others could tell.
      {"\"text\"\t\"label\"\n\"a \"\"b\"\"\nc\"\t\"1\"\n", {"a \"b\"\nc=1"}},
      {"text\tlabel\n\"a\"\t1\n\"b \"\"c\"\"\"\t0\n", {"\"a\"=1", "\"b \"\"c\"\"\"=0"}},
      {"{curly}\n", {"{curly}"}, TextFormat::text},
      {"", {}},
      {"\n", {""}},
  };
  for (const Case& c : cases) {
    for (const size_t most : {1, 2, 100}) {
      CAPTURE(c.input, most);
      Pipe pipe;
      pipe.write(c.input);
      pipe.close();
      ReadOptions options = plain;
      options.format = c.format;
      ExampleStream stream(pipe.reader(), "in", options);
      Texts found;
      for (;;) {
        const Dataset part = stream.next(most);
        if (part.examples.empty()) break;
        CHECK(part.examples.size() <= most);
        for (const std::string& text : texts(part)) found.push_back(text);
      }
      CHECK(found == c.texts);
    }
  }
}

TEST_CASE("each line is answered before the next one is written") {
  for (const std::string header : {"", "sentence\tlabel\n"}) {
    Pipe pipe;
    pipe.write(header);
    ExampleStream stream(pipe.reader(), "in", plain);
    for (const char* line : {"a\t1", "b\t0", "c\t1"}) {
      pipe.write(std::string(line) + "\n");
      CHECK(texts(stream.next(64)) == Texts{fmt::format("{}={}", line[0], line[2])});
    }
  }
}

TEST_CASE("quotes that a file might show to be quoting are noted once") {
  Pipe pipe;
  pipe.write("text\tlabel\na\t1\n\"b\"\t0\n\"c\"\t1\n");
  pipe.close();
  ExampleStream stream(pipe.reader(), "in", plain);
  CHECK(stream.next(1).notes.empty());
  CHECK(
      stream.next(1).notes ==
      Texts{"in: double quotes are taken as a part of the text; if they are not, give the file itself, whose lines all "
            "together tell"});
  CHECK(stream.next(1).notes.empty());
}

TEST_CASE("what comes before a mistake is handed out, whatever came together") {
  struct Case {
    std::string input;
    Texts before;
    std::string message;
  };
  const Case cases[] = {
      {"sentence\tlabel\na\t1\nb\t0\nc\nd\t1\n", {"a=1", "b=0"}, "in:4: 1 tab-separated column where 2 are expected"},
      {"a\t1\nb\t2\n", {"a=1"}, "in:2: the label 2 is out of range; 2 classes are numbered 0..1"},
      {"a\t1\n\n\nb\t0\n", {"a=1"}, "in:2: 1 tab-separated column where 2 are expected"},
      {"{\"text\": \"a\"}\n{\"text\": \"b\", \"label\": 1}\n", {"a"}, "in:2: has a label, unlike the lines before it"},
      {"text\tlabel\n\"a\nb\"\t1\nc\t0\n", {}, "in:2: 1 tab-separated column where 2 are expected"},
      {"a\nb\n\xFF\n", {"a", "b"}, "in:3: byte 1 of the line (0xFF) is not valid UTF-8; save the file as UTF-8"},
      {"\xFF\n", {}, "in:1: byte 1 of the line (0xFF) is not valid UTF-8; save the file as UTF-8"},
  };
  for (const Case& c : cases) {
    for (const size_t most : {1, 2, 100}) {
      CAPTURE(c.input, most);
      Pipe pipe;
      pipe.write(c.input);
      pipe.close();
      ExampleStream stream(pipe.reader(), "in", plain);
      Texts found;
      std::string message = "(none)";
      try {
        for (;;) {
          const Dataset part = stream.next(most);
          if (part.examples.empty()) break;
          for (const std::string& text : texts(part)) found.push_back(text);
        }
      } catch (const BadInput& error) {
        message = error.what();
      }
      CHECK(found == c.before);
      CHECK(message == c.message);
    }
  }
}

}  // namespace
}  // namespace crisp
