// The gate for files that strangers wrote: data/input.
#include <fmt/format.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmath>
#include <limits>
#include <optional>

#include "data/input/file.h"
#include "data/input/json.h"
#include "data/input/json_writer.h"
#include "data/input/parse_text.h"
#include "data/input/text.h"
#include "engine/error.h"
#include "tests/data/files.h"
#include "tests/support/catch.h"

namespace {

using crisp::BadInput;
using nlohmann::json;

std::string refusal(const std::string& path, uint64_t limit = 1000) {
  return message_of<BadInput>([&] { crisp::read_input(path, limit); });
}
std::string json_refusal(const std::string& text) {
  return message_of<BadInput>([&] { crisp::parse_json(text, "f"); });
}

}  // namespace

TEST_CASE("input: a regular file is read whole, up to its limit") {
  const TempFolder temp;
  CHECK(crisp::read_input(temp.write("empty", ""), 0) == "");
  const std::string path = temp.write("file", std::string(1000, 'x'));
  CHECK(crisp::read_input(path, 1000) == std::string(1000, 'x'));
  CHECK(refusal(path, 999) == path + ": is larger than the 0 MiB that such a file may have");
  // Regular files of /proc say that they have no bytes.
  CHECK(crisp::read_input("/proc/self/status", 1 << 20).find("Name:") == 0);
  CHECK(crisp::read_input_or_empty(path, 999) == "");
}

TEST_CASE("input: what is no regular file is refused at once, by its kind") {
  const TempFolder temp;
  const std::string fifo = temp.path("config.json");
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(refusal(fifo) == fifo + ": is a pipe, not a regular file; save what it brings as a file");
  CHECK(refusal(temp.path()) == temp.path() + ": is a directory, not a regular file");
  const std::string zero = temp.path("vocab.txt");
  std::filesystem::create_symlink("/dev/zero", zero);
  CHECK(refusal(zero) == zero + ": is a device, not a regular file");
  const std::string socket_path = temp.path("socket");
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(socket_path.size() < sizeof address.sun_path);
  socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  CHECK(refusal(socket_path) == socket_path + ": is a socket, not a regular file");
  close(fd);
}

TEST_CASE("input: a link that leads nowhere is there, and is refused when it is read") {
  const TempFolder temp;
  const std::string link = temp.path("config.json");
  std::filesystem::create_symlink("../blobs/0123", link);
  CHECK(crisp::input_exists(link));
  CHECK(refusal(link) == link + ": is a symbolic link to ../blobs/0123, which is not there");
  const std::string odd = link + "-odd";
  std::filesystem::create_symlink("x\n\x1b[31m", odd);
  CHECK(refusal(odd) == odd + ": is a symbolic link to \"x\\n\\u001b[31m\", which is not there");
  const std::string loop = temp.path("loop");
  std::filesystem::create_symlink(loop, loop);
  CHECK(crisp::input_exists(loop));
  CHECK(refusal(loop) == loop + ": cannot be opened: Too many levels of symbolic links");
  CHECK_FALSE(crisp::input_exists(temp.path("none")));
  CHECK_FALSE(crisp::input_exists(temp.write("file", "") + "/below"));
  CHECK(refusal(temp.path("none")) == temp.path("none") + ": cannot be opened: No such file or directory");
}

TEST_CASE("input: find_invalid_utf8 accepts well-formed text only") {
  const auto bad = [](std::string_view text) { return crisp::find_invalid_utf8(text); };
  CHECK(bad("") == std::string_view::npos);
  CHECK(bad("a\u00e9\u6f22\U0001f600\U0010ffff\uffff") == std::string_view::npos);
  CHECK(bad("ab\xff") == 2);
  CHECK(bad("a\x80") == 1);  // a continuation byte alone
  CHECK(bad("\xc3") == 0);   // cut short
  CHECK(bad("\xc3(") == 0);
  CHECK(bad("\xc0\xaf") == 0);  // overlong
  CHECK(bad("\xe0\x80\xaf") == 0);
  CHECK(bad("\xed\xa0\x80") == 0);      // surrogate
  CHECK(bad("\xf4\x90\x80\x80") == 0);  // beyond U+10FFFF
  CHECK(bad("\xf0\x9f\x98") == 0);
}

TEST_CASE("input: strangers' text is shown without being obeyed") {
  CHECK(crisp::quote("plain") == "\"plain\"");
  CHECK(crisp::quote("caf\u00e9 \u4f60") == "\"caf\u00e9 \u4f60\"");
  CHECK(crisp::quote("a\"b\\c") == R"("a\"b\\c")");
  CHECK(crisp::quote("\x1b[31mred\n\t\x7f") == R"("\u001b[31mred\n\t\u007f")");
  CHECK(crisp::quote("\u0085\u202e\u200b\u2028\U000e0041") == R"("\u0085\u202e\u200b\u2028\udb40\udc41")");
  CHECK(crisp::quote("\xff\xc3") == R"("\xff\xc3")");
  CHECK(crisp::quote("0123456789", 4) == "\"0123...\"");
  CHECK(crisp::quote("\u00e9\u00e9\u00e9", 3) == "\"\u00e9\u00e9...\"");  // no character is cut
  CHECK(crisp::printable("good film") == "good film");
  CHECK(crisp::printable("say \"hi\"") == "say \"hi\"");
  CHECK(crisp::printable("a\tb") == R"("a\tb")");
  CHECK(crisp::printable(std::string(500, 'x')) == std::string(500, 'x'));
  CHECK(crisp::printable_lines("a: \"b\\c\"\ncaf\u00e9\n") == "a: \"b\\c\"\ncaf\u00e9\n");
  CHECK(crisp::printable_lines("\x1b[31m\r\t\u202e\xff\n") == "\\u001b[31m\\r\\t\\u202e\\xff\n");
}

TEST_CASE("input: names that stay in their directory") {
  CHECK(crisp::is_bare_file_name("events.out"));
  for (const std::string name : {"", ".", "..", "a/b", "/a", "../a"}) CHECK_FALSE(crisp::is_bare_file_name(name));
  CHECK_FALSE(crisp::is_bare_file_name(std::string("a\0b", 3)));
}

TEST_CASE("json: an escape that is none is shown") {
  CHECK(json_refusal(R"({"a": "C:\dir"})") == "f:1:11: the escape \\d is none of JSON's; write \\\\ for a backslash");
  CHECK(json_refusal("[\"a\\\\\\q\"]") == "f:1:7: the escape \\q is none of JSON's; write \\\\ for a backslash");
  CHECK(json_refusal("[\"\\\x1b\"]") == "f:1:4: the control character \"\\u001b\" is not allowed in JSON");
  CHECK(json_refusal("[\"\\u12x4\"]") == "f:1:7: the escape \\u12x needs four hexadecimal digits");
  CHECK(json_refusal("[\"\\ud83dx\"]") == "f:1:9: the escape \\ud83d is half of a surrogate pair");
  CHECK(json_refusal("[\"\\ud83d\\u0041\"]") == "f:1:14: the escape \\ud83d is half of a surrogate pair");
  CHECK(json_refusal("[\"\\ude00\"]") == "f:1:8: the escape \\ude00 is half of a surrogate pair");
  CHECK(json_refusal("[\"\\ud83d\\ude00\"}") == "f:1:16: unexpected \"}\", this is not valid JSON");
  CHECK(json_refusal("[\"\\u00e9\"x]").find("escape") == std::string::npos);
}

TEST_CASE("json: what is well-formed is read, a byte order mark before it skipped") {
  CHECK(crisp::parse_json("\xEF\xBB\xBF {\"a\": [1, 2.5, null, \"\\u00e9\"]}\n", "f") ==
        json{{"a", {1, 2.5, nullptr, "\u00e9"}}});
  CHECK(crisp::parse_ordered_json("{\"b\": 1, // why\n \"a\": 2}", "f", crisp::JsonComments::allowed).dump() ==
        "{\"b\":1,\"a\":2}");
  CHECK(crisp::try_json_object("{\"a\": 1}").value()["a"] == 1);
  CHECK_FALSE(crisp::try_json_object("{\"a\": 1"));
  CHECK_FALSE(crisp::try_json_object("[1]"));
  CHECK_FALSE(crisp::try_json_object(""));
}

TEST_CASE("json: errors in our words, with line and column") {
  CHECK(json_refusal("") == "f:1:1: the JSON ends before it is complete");
  CHECK(json_refusal("{\n  \"a\": 1") == "f:2:9: the JSON ends before it is complete");
  CHECK(json_refusal("{\n  \"a\": NaN}") == "f:2:8: NaN is not a number in JSON; write a finite number, or null");
  CHECK(json_refusal("{\"a\": -Infinity}") ==
        "f:1:8: -Infinity is not a number in JSON; write a finite number, or null");
  CHECK(json_refusal("{\"a\": True}") == "f:1:7: True is Python, not JSON; write true");
  CHECK(json_refusal("{'a': 1}") == "f:1:2: strings stand in double quotes in JSON");
  CHECK(json_refusal("{\"a\": 1,\n}") == "f:2:1: a comma before } is not allowed in JSON");
  CHECK(json_refusal("{\"a\": 1} x") == "f:1:10: unexpected \"x\", this is not valid JSON");
  CHECK(json_refusal("// why\n1") == "f:1:1: comments are not allowed in JSON");
  CHECK(json_refusal("{\"\u00e9\u00e9\": ?}") == "f:1:8: unexpected \"?\", this is not valid JSON");
  CHECK(json_refusal("{\"a\": \"x\ny\"}") ==
        "f:1:9: a string is not closed on its line, or holds a line break or tab that is not written \\n or \\t");
  CHECK(json_refusal("{\"a\": \"\x1b\"}") == "f:1:8: the control character \"\\u001b\" is not allowed in JSON");
  CHECK(json_refusal("{\"a\": \"\xff\"}") == "f:1:8: the byte 0xFF is not valid UTF-8; save the file as UTF-8");
  CHECK(json_refusal(std::string("{}\0", 3)) == "f:1:3: a NUL byte is not allowed in JSON");
  CHECK(json_refusal("{\"a\": 1e999}") == "f:1:7: the number \"1e999\" is too large");
  CHECK(json_refusal("{\"a\": 1, \"a\": 2}") == "f:1:10: \"a\" is there twice in one object");
  CHECK(json_refusal("{\"a\": [\"a\", {\"a\": \"\\\"a\"}],\n \"a\" : 2}") ==
        "f:2:2: \"a\" is there twice in one object");
}

TEST_CASE("json: an object in the file's order has a bounded number of keys") {
  std::string keys;
  for (int i = 0; i < 10'001; ++i) keys += fmt::format("{}\"{}\": 0", i == 0 ? "" : ", ", i);
  CHECK(message_of<BadInput>([&] { crisp::parse_ordered_json("{" + keys + "}", "f"); }) ==
        "f:1:108892: more than 10000 keys in one object are refused here");
  CHECK(crisp::parse_json("{" + keys + "}", "f").size() == 10'001);
}

TEST_CASE("json: a key that is shown is quoted") {
  const json object = json::parse(R"({"a\u001b": 1})");
  const std::string where = "f";
  const crisp::JsonFields fields(object, where);
  CHECK(message_of<BadInput>([&] { (void)fields.text("a\x1b"); }) == R"(f: "a\u001b" is 1; it must be a string)");
  CHECK(message_of<BadInput>([&] { fields.refuse_missing("b\n"); }) == R"(f: "b\n" is missing)");
}

TEST_CASE("json: depth is bounded, however deep the text") {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  const auto limit = static_cast<size_t>(crisp::json_depth_limit);
  CHECK(crisp::show_json(crisp::parse_json(nested(limit), "f")) == "[a list]");
  const std::string expected = "JSON nested deeper than 64 levels is refused";
  CHECK(json_refusal(nested(limit + 1)) == "f:1:65: " + expected);
  CHECK(json_refusal(nested(200'000)) == "f:1:65: " + expected);
  std::string objects;
  for (int i = 0; i < 200'000; ++i) objects += "{\"crisp\":";
  CHECK(json_refusal(objects) == "f:1:577: " + expected);
}

TEST_CASE("json: values in messages are short and on one line") {
  CHECK(crisp::show_json(json::parse(R"({"a": 1})")) == "an object");
  CHECK(crisp::show_json(json::parse(R"([1, [2], {"a": 1}, "x\u001b", null])")) ==
        R"([1, a list, an object, "x\u001b", null])");
  CHECK(crisp::show_json(json(std::vector<int>(1000, 7))).size() < 100);
  CHECK(crisp::show_json(json(std::string(1000, 'x'))).size() < 100);
}

TEST_CASE("json: fields with their types and ranges") {
  const json object = crisp::parse_json(
      R"({"n": 3, "big": 18446744073709551615, "x": 0.5, "s": "t", "b": true, "l": [1], "o": {}, "z": null})", "f");
  const std::string where = "f";
  const crisp::JsonFields fields(object, where);
  const auto message = [](auto read) { return message_of<BadInput>(read); };
  CHECK(fields.whole("n", 0, 3) == 3);
  CHECK(fields.real("n", {.low = 0, .high = 3}) == 3.0);
  CHECK(fields.real("x", {.low = 0, .high = 1}) == 0.5);
  CHECK(fields.text("s") == "t");
  CHECK(fields.flag("b") == true);
  CHECK(fields.list("l")->size() == 1);
  CHECK(fields.object("o")->empty());
  for (const char* absent : {"z", "none"}) {
    CHECK_FALSE(fields.has(absent));
    CHECK_FALSE(fields.whole(absent, 0, 9));
    CHECK_FALSE(fields.text(absent));
    CHECK(fields.list(absent) == nullptr);
  }
  CHECK(message([&] { fields.whole("n", 4, 9); }) == "f: \"n\" is 3; it must be a whole number from 4 to 9");
  CHECK(message([&] { fields.whole("x", 0, 9); }) == "f: \"x\" is 0.5; it must be a whole number from 0 to 9");
  CHECK(message([&] { fields.whole("big", 0, INT64_MAX); }) ==
        "f: \"big\" is 18446744073709551615; it must be a whole number from 0 to 9223372036854775807");
  CHECK(message([&] { fields.real("x", {.low = 1, .high = 2}); }) ==
        "f: \"x\" is 0.5; it must be a number from 1 to 2");
  CHECK(message([&] { fields.real("s", {.low = 1, .high = 2}); }) ==
        "f: \"s\" is \"t\"; it must be a number from 1 to 2");
  CHECK(fields.real("x", {.low = 0.5, .high = 0.5}) == 0.5);
  CHECK(message([&] { fields.real("x", {.low = 0, .high = 0.5, .open_high = true}); }) ==
        "f: \"x\" is 0.5; it must be a number from 0 to 0.5 (exclusive)");
  CHECK(message([&] { fields.real("x", {.low = 0.5, .high = 1, .open_low = true}); }) ==
        "f: \"x\" is 0.5; it must be a number from 0.5 (exclusive) to 1");
  CHECK(message([&] { fields.real("x", {.low = 1}); }) == "f: \"x\" is 0.5; it must be a number at least 1");
  CHECK(message([&] { fields.real("x", {.low = 1, .open_low = true}); }) ==
        "f: \"x\" is 0.5; it must be a number above 1");
  CHECK(message([&] { fields.real("l", fields.list("l")->at(0), {.low = 2}); }) ==
        "f: \"l\" is 1; it must be a number at least 2");
  CHECK(message([&] { fields.text("n"); }) == "f: \"n\" is 3; it must be a string");
  CHECK(message([&] { fields.flag("n"); }) == "f: \"n\" is 3; it must be true or false");
  CHECK(message([&] { fields.list("o"); }) == "f: \"o\" is {}; it must be a list");
  CHECK(message([&] { fields.object("l"); }) == "f: \"l\" is [1]; it must be an object");
  CHECK(message([&] { fields.need("none", fields.text("none")); }) == "f: \"none\" is missing");
  CHECK(message([&] { fields.refuse_unknown({"n", "x"}); }) == "f: there is no key \"b\"; known are n, x");
  CHECK(message([&] { crisp::JsonFields(json(3), where); }) == "f: expected a JSON object, not 3");
}

TEST_CASE("numbers: the C library's way reads what from_chars reads") {
  // Where from_chars takes no real numbers both are the same function, and the expected values alone tell.
  struct Case {
    std::string text;
    std::optional<double> value;
  };
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<Case> cases = {
      {"0", 0.0},
      {"-0.0", -0.0},
      {"1", 1.0},
      {"-2.5", -2.5},
      {".5", 0.5},
      {"5.", 5.0},
      {"1e3", 1000.0},
      {"1E-3", 0.001},
      {"1e+3", 1000.0},
      {"0.1", 0.1},
      {"123456789012345678901234567890123456789012345678901234567890", 1.2345678901234567890e59},
      {"0.333333333333333333333333333333333333333333333333333333333333", 1.0 / 3},
      {"1.7976931348623157e308", std::numeric_limits<double>::max()},
      {"2.2250738585072014e-308", std::numeric_limits<double>::min()},
      {"5e-324", std::numeric_limits<double>::denorm_min()},
      {"0e-999", 0.0},
      {"1e400", {}},
      {"-1e400", {}},
      {"1e-400", {}},
      {"inf", infinity},
      {"-INF", -infinity},
      {"Infinity", infinity},
      {"infinite", {}},
      {"", {}},
      {"-", {}},
      {".", {}},
      {"e5", {}},
      {"1e", {}},
      {"--1", {}},
      {"-+1", {}},
      {"+1", {}},
      {" 1", {}},
      {"1 ", {}},
      {"1,5", {}},
      {"1.5.2", {}},
      {"0x10", {}},
      {"1_000", {}},
      {"one", {}},
      {std::string("1\0", 2), {}},
  };
  const auto same = [](std::optional<double> a, std::optional<double> b) {
    return a.has_value() == b.has_value() && (!a || (*a == *b && std::signbit(*a) == std::signbit(*b)));
  };
  for (const Case& c : cases) {
    INFO(c.text);
    CHECK(same(crisp::parse_number<double>(c.text), c.value));
    CHECK(same(crisp::parse_real(c.text), c.value));
  }
  CHECK(std::isnan(crisp::parse_real("nan").value()));
  CHECK(std::isnan(crisp::parse_real("-NaN").value()));
}

TEST_CASE("what is written as JSON is what nlohmann's value would dump") {
  using nlohmann::ordered_json;
  const std::string text = "a \"quoted\" line\n\t\\ ünd \x01";
  const std::vector<std::vector<double>> lists{{1, 0.1}, {}, {-0.0, 1e300}};
  const ordered_json value{{"null", nullptr},
                           {"yes", true},
                           {"small", int32_t{-3}},
                           {"large", UINT64_MAX},
                           {"real", 2e-05},
                           {"whole real", 1.0},
                           {text, text},
                           {"words", {"a", "b"}},
                           {"none", ordered_json::array()},
                           {"lists", lists},
                           {"empty", ordered_json::object()},
                           {"outer", {{"a", 1}, {"inner", {{"b", std::nan("")}}}, {"c", 2}}},
                           {"last", "x"}};
  for (const auto& [layout, indent] : {std::pair{crisp::JsonLayout::indented, 2}, {crisp::JsonLayout::compact, -1}}) {
    crisp::JsonWriter to(layout);
    to.field("null", nullptr);
    to.field("yes", true);
    to.field("small", int32_t{-3});
    to.field("large", UINT64_MAX);
    to.field("real", 2e-05);
    to.field("whole real", 1.0);
    to.field(text, text);
    to.field("words", std::vector<std::string>{"a", "b"});
    to.field("none", std::vector<int64_t>{});
    to.field("lists", lists);
    to.begin("empty");
    to.end();
    to.begin("outer");
    to.field("a", 1);
    to.begin("inner");
    to.field("b", std::nan(""));
    to.end();
    to.field("c", 2);
    to.end();
    to.field("last", "x");
    CHECK(to.finish() == value.dump(indent));
  }
  CHECK(crisp::JsonWriter().finish() == "{}");
}
