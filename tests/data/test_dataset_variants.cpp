// The files that people have, and what becomes of each: read right, or refused with what to do; as training data, and
// where plain text is allowed, too.
#include "data/dataset.h"
#include "engine/error.h"
#include "tests/data/files.h"
#include "tests/data/gzip.h"
#include "tests/support/catch.h"

using namespace crisp;

namespace {

// "text=class text=class" with the classes' names, where they have some; or the complaint.
std::string outcome(const std::string& content, const ReadOptions& options = {}) try {
  const Dataset dataset = parse_dataset(content, "d", options);
  std::string shown;
  for (const Example& e : dataset.examples) {
    const bool named = e.label >= 0 && !dataset.label_names.empty();
    shown += (shown.empty() ? "<" : " <") + e.text +
             ">=" + (named ? dataset.label_names[static_cast<size_t>(e.label)] : std::to_string(e.label));
  }
  return shown;
} catch (const BadInput& error) {
  return error.what();
}

struct Variant {
  const char* what;
  std::string content;
  std::string expected;      // the rows, or the beginning of the complaint
  std::string as_text = {};  // where plain text is allowed; empty: the same
};

std::string utf16(const std::string& ascii) {
  std::string wide = "\xFF\xFE";
  for (const char c : ascii) wide += {c, '\0'};
  return wide;
}

const std::string unknown = "d:1: unknown format; expected a header";
const std::string table = "d:1: looks like a table without the columns that are known";

const std::vector<Variant> variants{
    // --- TSV
    {"GLUE's", "sentence\tlabel\nit 's \"fun\"\t1\nbad\t0\n", "<it 's \"fun\">=1 <bad>=0"},
    {"GLUE's test set", "index\tsentence\n0\ta\n", "<a>=-1"},
    {"a sentence in quotes among others", "sentence\tlabel\n\"fun\"\t1\nbad\t0\n", "<\"fun\">=1 <bad>=0"},
    {"a quote that stays open", "sentence\tlabel\n\"fun\t1\nbad\t0\n", "<\"fun>=1 <bad>=0"},
    {"a quote that another line closes", "sentence\tlabel\n\"fun\t1\nbad\"\t0\n",
     "d:2: is the quote the beginning of a sentence that goes on to line 3, or a part of the text?"},
    {"pandas', quoted where needed", "text\tlabel\n\"say \"\"hi\"\"\"\t1\nbad\t0\n", "<say \"hi\">=1 <bad>=0"},
    {"pandas', a tab in the text", "text\tlabel\n\"a\tb\"\t1\nbad\t0\n", "<a\tb>=1 <bad>=0"},
    {"pandas', a line end in the text", "text\tlabel\n\"a\nb\"\t1\nbad\t0\n", "<a\nb>=1 <bad>=0"},
    {"pandas', all quoted", "\"text\"\t\"label\"\n\"a\"\t\"1\"\n\"b\"\t\"0\"\n", "<a>=1 <b>=0"},
    {"pandas', with its index", "\ttext\tlabel\n0\ta\t1\n1\tb\t0\n", "<a>=1 <b>=0"},
    {"pandas', quoted, no header", "\"a \"\"b\"\"\"\t1\nc\t0\n", "<a \"b\">=1 <c>=0"},
    {"no header, words", "a\tpos\nb\tneg\nc\tpos\n", "<a>=pos <b>=neg <c>=pos"},
    {"an unknown header", "review\tsentiment\na\tpos\nb\tneg\n", "d:1: is this a header? The label \"sentiment\""},
    {"an unknown column", "text\tlabel\tstars\na\t1\t5\n", "d:1: unknown column \"stars\"; known are sentence or text"},
    {"a column twice", "text\tlabel\tlabel\na\t1\t1\n", "d:1: two columns hold the label: \"label\" and \"label\""},
    {"both names of the sentence", "text\tsentence\na\tb\n", "d:1: two columns hold the sentence"},
    {"three columns without names", "1\ta\tb\n0\tc\td\n", unknown, table},
    {"CR alone (old Mac)", "sentence\tlabel\ra\t1\rb\t0\r", "<a>=1 <b>=0"},
    {"CRLF, byte order mark", "\xEF\xBB\xBFsentence\tlabel\r\na\t1\r\n", "<a>=1"},
    {"-1 for none", "sentence\tlabel\na\t-1\nb\t-1\n", "<a>=-1 <b>=-1"},
    {"floats of pandas", "text\tlabel\na\t1.0\nb\t0.0\n", "<a>=1 <b>=0"},
    {"a missing label of pandas", "text\tlabel\na\t1.0\nb\t\n", "d:3: lacks a label, unlike the lines before it"},
    {"booleans of pandas", "text\tlabel\na\tTrue\nb\tFalse\n", "<a>=True <b>=False"},
    {"regression", "text\tlabel\na\t2.5\nb\t3\n", "d:2: the label \"2.5\" is no whole number"},
    {"words and numbers", "text\tlabel\na\t1\nb\tneg\n",
     "d:3: the label is the word \"neg\", but d:2 has the number 1"},
    // --- CSV
    {"CSV", "text,label\ngood,1\nbad,0\n", "<good>=1 <bad>=0"},
    {"CSV, quoted", "text,label\n\"good, \"\"very\"\"\",1\n\"two\nlines\",0\n", "<good, \"very\">=1 <two\nlines>=0"},
    {"CSV, index and other order", ",label,text\r\n0,pos,\"a, b\"\r\n1,neg,c\r\n", "<a, b>=pos <c>=neg"},
    {"CSV, index saved twice", "Unnamed: 0,id,text,label\n0,0,a,1\n", "<a>=1"},
    {"CSV, names in capitals", "Text,Label\na,1\n", "<a>=1"},
    {"CSV, semicolons", "text;label\n\"a; b\";1\n", "<a; b>=1"},
    {"CSV, CR alone", "text,label\r\"a, b\",1\rc,0\r", "<a, b>=1 <c>=0"},
    {"CSV, CR alone, a line feed in the text", "text,label\r\"a\nb\",1\rc,0\r", "<a\nb>=1 <c>=0"},
    {"CSV, no line end at the end", "text,label\na,1", "<a>=1"},
    {"CSV, a bare quote", "text,label\nsay \"hi\",1\n", "<say \"hi\">=1"},
    {"CSV, a comma not quoted", "text,label\na, b,1\n", "d:2: 3 comma-separated columns where 2 are expected"},
    {"CSV, a quote not closed", "text,label\na,1\n\"b,0\nc,1\n", "d:3: the quote that opens field 1 is never closed"},
    {"CSV, text behind a quote", "text,label\n\"a\" b,1\n", "d:2: \" \" follows the closing quote of field 1;"},
    {"CSV, a quote closed late", "text,label\n\"a,1\nb\"c,0\n",
     "d:3: \"c\" follows the closing quote of field 1, which opens on line 2,"},
    {"CSV, unknown columns", "review,sentiment\n\"a, b\",pos\nc,neg\n", unknown, table},
    {"CSV, no header", "\"a, b\",1\n\"c\",0\n", unknown, table},
    {"CSV, no header, all quoted", "\"3\",\"a\",\"b\"\n\"1\",\"c\",\"d\"\n", unknown, table},
    {"CSV, an unknown column", "text,label,user\na,1,b\n", "d:1: unknown column \"user\""},
    {"CSV for Excel", "sep=,\ntext,label\na,1\n", unknown, "d:1: `sep=` is Excel's; remove this line"},
    {"CSV of one column", "text\n\"a, b\"\n", "<a, b>=-1", "d:1: is text a sentence, or the name of a column"},
    // --- JSON
    {"JSON lines", "{\"text\": \"a\", \"label\": 1}\n{\"sentence\": \"b\", \"label\": 0}\n", "<a>=1 <b>=0"},
    {"JSON lines, words", "{\"text\": \"a\", \"label\": \"pos\"}\n{\"text\": \"b\", \"label\": \"neg\"}\n",
     "<a>=pos <b>=neg"},
    {"JSON lines, numbers as strings", "{\"text\": \"a\", \"label\": \"1\"}\n{\"text\": \"b\", \"label\": \"0\"}\n",
     "<a>=1 <b>=0"},
    {"JSON lines, floats, null", "{\"text\": \"a\", \"label\": 1.0}\n", "<a>=1"},
    {"JSON lines, null", "{\"text\": \"a\", \"label\": null}\n", "<a>=-1"},
    {"JSON lines, booleans", "{\"text\": \"a\", \"label\": true}\n{\"text\": \"b\", \"label\": false}\n",
     "<a>=true <b>=false"},
    {"JSON lines, CR alone", "{\"text\": \"a\"}\r{\"text\": \"b\"}\r", "<a>=-1 <b>=-1"},
    {"JSON lines, a bad escape", "{\"text\": \"a\"}\n{\"text\": \"C:\\dir\\x\"}\n",
     "d:2:14: the escape \\d is none of JSON's; write \\\\ for a backslash"},
    {"JSON lines, half a character", "{\"text\": \"\\ud83d!\"}\n",
     "d:1:17: the escape \\ud83d is half of a surrogate pair"},
    {"JSON lines, a short escape", "{\"text\": \"\\u12\"}\n", "d:1:"},
    {"a JSON list", " [{\"text\": \"a\", \"label\": 1},\n {\"text\": \"b\", \"label\": 0}]\n", "<a>=1 <b>=0"},
    {"a JSON list, a mistake", "[{\"text\": \"a\"}, {\"txt\": \"b\"}]",
     "d, example 2: expected a \"text\" or a \"sentence\""},
    {"JSON of pandas' columns", "{\"text\":{\"0\":\"a\"},\"label\":{\"0\":1}}",
     "d:1: the text is a whole column; write an object for each example (pandas: to_json(orient=\"records\""},
    {"JSON over several lines", "{\n  \"text\": \"a\"\n}\n", "d:1:2: the JSON ends before it is complete"},
    // --- Others
    {"gzip", gzipped("sentence\tlabel\na\t1\n"), "<a>=1"},
    {"gzip of CSV", gzipped("text,label\n\"a, b\",1\n"), "<a, b>=1"},
    {"gzip, cut", gzipped("sentence\tlabel\na\t1\n").substr(0, 20), "d: this gzip file ends before it is complete"},
    {"zip", "PK\3\4...", "d: is a zip file"},
    {"parquet", "PAR1\x15\x04", "d: is a parquet file, not text; save it as CSV or JSON lines"},
    {"UTF-16", utf16("sentence\tlabel\na\t1\n"), "d: is UTF-16, not text; save it as UTF-8"},
    {"UTF-16 without its mark", utf16("a\t1\n").substr(2), "d:1: holds a NUL byte; is this a text file, and UTF-8?"},
    {"Latin-1", "sentence\tlabel\na\t1\ncaf\xE9\t1\n", "d:3: byte 4 of the line (0xE9) is not valid UTF-8"},
    {"a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\n", "d: is a Git LFS pointer"},
    {"a web page", "<!doctype html>\n<html>", "d: is a web page (HTML)"},
    // --- Prose
    {"prose", "A good film, really.\nBad; or not?\n", unknown, "<A good film, really.>=-1 <Bad; or not?>=-1"},
    {"prose, a comma in each line", "Yes, sir\nNo, sir\n", unknown, "<Yes, sir>=-1 <No, sir>=-1"},
    {"prose that begins like a header", "Text, please\n", "d:1: unknown column \" please\"", "<Text, please>=-1"},
    {"prose that begins with a quote", "\"Yes\", she said\n", unknown, "<\"Yes\", she said>=-1"},
    {"prose that begins with a bracket", "[COVID] is here\n[1, 2]\n", "d:1:2: unexpected \"COVID\"",
     "<[COVID] is here>=-1 <[1, 2]>=-1"},
    {"prose, CR alone", "one\rtwo\r", unknown, "<one>=-1 <two>=-1"},
    {"the word text", "text\nabc\n", "<abc>=-1", "<text>=-1 <abc>=-1"},
};

}  // namespace

TEST_CASE("dataset: every kind of file is read right or refused") {
  CHECK(variants.size() >= 70);
  for (const Variant& v : variants) {
    CAPTURE(v.what);
    const auto begins = [](const std::string& found, const std::string& expected) {
      return expected.starts_with('<') ? found == expected : found.starts_with(expected);
    };
    const std::string found = outcome(v.content), found_text = outcome(v.content, {.allow_plain_text = true});
    CAPTURE(found, found_text);
    CHECK(begins(found, v.expected));
    CHECK(begins(found_text, v.as_text.empty() ? v.expected : v.as_text));
  }
}

TEST_CASE("dataset: a format that is given decides") {
  const ReadOptions csv{.allow_plain_text = true, .format = TextFormat::csv}, text{.format = TextFormat::text};
  CHECK(outcome("text\n\"a, b\"\nc\n", csv) == "<a, b>=-1 <c>=-1");
  CHECK(outcome("label;text\n1;a\n", csv) == "<a>=1");
  CHECK(outcome("a,1\n", csv) == "d:1: a CSV file needs a header that names its columns, `text,label` for instance");
  CHECK(outcome("text,label\na,1\n", text) == "<text,label>=-1 <a,1>=-1");
  CHECK(outcome("PK\3\4", text).starts_with("d: is a zip file"));
  CHECK(outcome(std::string("a\0b", 3), text).starts_with("d:1: holds a NUL byte"));
}

TEST_CASE("dataset: a guess about quotes says so") {
  const auto notes = [](const std::string& content) { return parse_dataset(content, "d").notes; };
  using Notes = std::vector<std::string>;
  CHECK(notes("sentence\tlabel\n\"a\"\t1\n\"b\"\t0\n") ==
        Notes{"d: every sentence stands in double quotes: they are not taken as part of it"});
  CHECK(notes("sentence\tlabel\n\"say \"\"a\"\"\"\t1\nb \"c\"\t0\n") ==
        Notes{"d: double quotes are taken as a part of the text, though line 2 looks like quoting: line 3 does not"});
  CHECK(notes("sentence\tlabel\n\"say \"\"a\"\"\"\t1\nb\t0\n").empty());
  CHECK(notes("sentence\tlabel\nsay \"a\"\t1\n").empty());
}

TEST_CASE("dataset: examples know their lines, those of several lines the first") {
  const auto places = [](const std::string& content) {
    const Dataset dataset = parse_dataset(content, "d");
    std::string shown;
    for (size_t i = 0; i < dataset.examples.size(); ++i) shown += dataset.place(i) + " ";
    return shown;
  };
  CHECK(places("text,label\n\"a\nb\n\",1\nc,0\n") == "d:2 d:5 ");
  CHECK(places("text,label\r\n\"a\r\nb\",1\r\nc,0\r\n") == "d:2 d:4 ");
  CHECK(places("text\tlabel\ra\t1\rb\t0") == "d:2 d:3 ");
  CHECK(places("[{\"text\": \"a\"},\n{\"text\": \"b\"}]") == "d, example 1 d, example 2 ");
}

TEST_CASE("dataset: a folder may hold CSV, JSON and gzip") {
  const TempFolder folder;
  const auto train = folder.write("train.csv", "text,label\na,1\n");
  const auto dev = folder.write("dev.jsonl.gz", gzipped("{\"text\": \"b\", \"label\": 1}\n"));
  const auto test = folder.write("test.json", "[{\"text\": \"c\"}]");
  const DatasetFiles files = find_dataset(folder.path());
  CHECK(files.train == train);
  CHECK(files.dev == dev);
  CHECK(files.test == test);
  CHECK(read_dataset(files.dev).examples[0].text == "b");
}
