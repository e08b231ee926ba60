// From labels to classes: data/labels.
#include "data/labels.h"

#include "data/dataset.h"
#include "engine/error.h"
#include "tests/data/files.h"
#include "tests/support/catch.h"

using namespace crisp;

namespace {

using Names = std::vector<std::string>;

// A file with these labels, one an example.
std::string file(const Names& labels) {
  std::string content = "sentence\tlabel\n";
  for (const std::string& label : labels) content += "a\t" + label + "\n";
  return content;
}
std::vector<int32_t> classes(const Names& labels, const ReadOptions& options = {}) {
  std::vector<int32_t> result;
  for (const Example& e : parse_dataset(file(labels), "d", options).examples) result.push_back(e.label);
  return result;
}
std::string error(const Names& labels, const ReadOptions& options = {}) {
  return message_of<BadInput>([&] { classes(labels, options); });
}
std::string mistake(const Names& labels, bool given = false) {
  const Dataset dataset = parse_dataset(file(labels), "d");
  return message_of<BadInput>([&] { check_training_labels(dataset, given); });
}
using Classes = std::vector<int32_t>;

}  // namespace

TEST_CASE("labels: whole numbers, as pandas writes them, too") {
  CHECK(classes({"0", "1", "2"}) == Classes{0, 1, 2});
  CHECK(classes({"1.0", "0.0", " 1", "+1", "1e0"}) == Classes{1, 0, 1, 1, 1});
  CHECK(parse_dataset(file({"1.0", "0"}), "d").num_labels == 2);
  CHECK(parse_dataset(file({"1", "0"}), "d").label_names.empty());
  CHECK(classes({"-1", "-1"}) == Classes{-1, -1});
  CHECK(classes({"-1.0", ""}) == Classes{-1, -1});
  CHECK_FALSE(parse_dataset(file({"-1"}), "d", {.num_labels = 2}).labelled());
  CHECK(error({"0.5", "1"}).find("d:2: the label \"0.5\" is no whole number") == 0);
  CHECK(error({"1", "99999999999999999999"}) ==
        "d:3: the label 99999999999999999999 is out of range; labels are 0..9999, without gaps");
  CHECK(error({"1", "1000000"}) == "d:3: the label 1000000 is out of range; labels are 0..9999, without gaps");
}

TEST_CASE("labels: words are classes in the order of their bytes, or as they are named") {
  const Dataset words = parse_dataset(file({"pos", "neg", " pos "}), "d");
  CHECK(words.label_names == Names{"neg", "pos"});
  CHECK(words.num_labels == 2);
  CHECK(classes({"pos", "neg", " pos "}) == Classes{1, 0, 1});
  CHECK(classes({"b", "B", "\u00e9", "True"}) == Classes{2, 0, 3, 1});
  const ReadOptions named{.label_names = {"pos", "neutral", "neg"}, .label_names_from = "--label-names"};
  CHECK(classes({"pos", "neg"}, named) == Classes{0, 2});
  CHECK(parse_dataset(file({"pos"}), "d", named).num_labels == 3);
  CHECK(error({"pos", "good"}, named) ==
        "d:3: the label \"good\" is none of the classes of --label-names: \"pos\", \"neutral\", \"neg\"");
  CHECK(classes({"2", "0"}, named) == Classes{2, 0});  // numbers are the names' places
  CHECK(error({"pos", ""}).find("d:3: lacks a label, unlike") == 0);
  CHECK(error({"a", "b", "c"}, {.num_labels = 2}) == "d: has 3 different labels; 2 is the most (--num-labels)");
  CHECK(error({"x"}, {.label_names = {"x", "x"}, .label_names_from = "the model"}) ==
        "d: its labels are words, but the model names two classes alike: \"x\", \"x\"");
}

TEST_CASE("labels: numbers can be names") {
  const ReadOptions stars{.label_names = {"1", "2", "3"}, .label_names_from = "--label-names"};
  CHECK(classes({"1", "3", "2.0"}, stars) == Classes{0, 2, 1});
  CHECK(error({"1", "0"}, stars) ==
        "d:3: the label \"0\" is none of the classes of --label-names: \"1\", \"2\", \"3\"");
  CHECK(classes({"-1", "1"}, {.label_names = {"-1", "1"}}) == Classes{0, 1});
  CHECK(classes({"0.5", "1.5"}, {.label_names = {"0.5", "1.5"}}) == Classes{0, 1});
}

TEST_CASE("labels: names that need not hold give way where none of them occurs") {
  const ReadOptions optional{
      .label_names = {"LABEL_0", "LABEL_1"}, .label_names_from = "m", .label_names_are_optional = true};
  CHECK(parse_dataset(file({"pos", "neg"}), "d", optional).label_names == Names{"neg", "pos"});
  CHECK(classes({"LABEL_1", "LABEL_0"}, optional) == Classes{1, 0});
  CHECK(error({"LABEL_1", "pos"}, optional).find("d:3: the label \"pos\" is none of the classes of m") == 0);
}

TEST_CASE("labels: a header that is not known is no example") {
  const auto without_header = [](const std::string& content) {
    return message_of<BadInput>([&] { parse_dataset(content, "d"); });
  };
  CHECK(without_header("review\tsentiment\ngood\tpos\nbad\tneg\n") ==
        "d:1: is this a header? The label \"sentiment\" comes on no other line; name the columns sentence and label");
  CHECK(without_header("review\tsentiment\ngood\t1\n").find("d:2: the label is the number 1, but d:1 has the word") ==
        0);
  CHECK(without_header("good\tpos\nbad\tneg\nfine\tpos\n") == "(nothing thrown)");
}

TEST_CASE("labels: control characters of a file are shown and not obeyed") {
  CHECK(error({"a\x1b[31m", "1"}) ==
        "d:3: the label is the number 1, but d:2 has the word \"a\\u001b[31m\"; labels are all numbers or all words");
}

TEST_CASE("labels: a list of names") {
  Names names;
  CHECK(parse_label_names("neg, pos ,1", names).empty());
  CHECK(names == Names{"neg", "pos", "1"});
  CHECK(parse_label_names("a,,b", names) == "must be names between commas, none of them empty, not \"a,,b\"");
  CHECK(parse_label_names("a,b, a", names) == "has \"a\" twice");
}

TEST_CASE("labels: numbers from 1, and holes, are no training set") {
  CHECK(mistake({"0", "1", "3"}) == "(nothing thrown)");  // one hole: noted
  CHECK(mistake({"1", "2", "3"}) ==
        "d: the labels are 1, 2, 3, never 0, but classes are numbered from 0. Subtract 1, or take them as names with "
        "--label-names 1,2,3; if class 0 only lacks examples, say --num-labels 4");
  CHECK(
      mistake({"0", "9999", "1"}) ==
      "d:3: the label 9999 makes 10000 classes, of which 9997 have no example: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 9987 "
      "more. Number them without gaps, or take them as names with --label-names 0,1,9999; if it is right, say "
      "--num-labels 10000");
  CHECK(mistake({"0", "4", "4"}).find("d:3: the label 4 makes 5 classes, of which 3 have no example: 1, 2, 3. ") == 0);
  CHECK(mistake({"1", "2", "3"}, true) == "(nothing thrown)");
  CHECK(mistake({"0", "9999"}, true) == "(nothing thrown)");
  Names texts;
  for (int i = 0; i < 150; ++i) texts.push_back("word" + std::to_string(i));
  CHECK(mistake(texts).find("d: 150 different labels on 150 examples; is it a column of something else?") == 0);
  const Names once = texts;
  for (int i = 0; i < 2; ++i) texts.insert(texts.end(), once.begin(), once.end());
  CHECK(mistake(texts) == "(nothing thrown)");
}

TEST_CASE("labels: classes without an example are noted") {
  const Dataset numbers = parse_dataset(file({"0", "3", "3"}), "d", {.num_labels = 5});
  CHECK(note_empty_classes(numbers, 5, "so what") == "d has no example of classes 1, 2, 4: so what");
  CHECK(note_empty_classes(parse_dataset(file({"0", "1"}), "d"), 2, "").empty());
  const Dataset words = parse_dataset(file({"a"}), "d", {.label_names = {"a", "b"}});
  CHECK(note_empty_classes(words, 2, "so what") == "d has no example of class \"b\": so what");
}
