// What crisp-inspect weights says of tensors: statistics, differences, what they become, and how it is laid out.
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "tools/inspect/row_pairs.h"
#include "tools/inspect/subject.h"
#include "tools/inspect/tensor_numbers.h"
#include "tools/inspect/weights.h"

namespace crisp::inspect {
namespace {

using test::contains;
using test::message_of;
using test::TempDir;

constexpr double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();

// One tensor "x" of any dtype, written by hand.
template <class T>
SafetensorsFile raw(const std::string& path, const std::string& dtype, const std::vector<T>& values) {
  const size_t bytes = values.size() * sizeof(T);
  const std::string header =
      fmt::format(R"({{"x":{{"dtype":"{}","shape":[{}],"data_offsets":[0,{}]}}}})", dtype, values.size(), bytes);
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  file += header + std::string(reinterpret_cast<const char*>(values.data()), bytes);
  test::write_file(path, file);
  return SafetensorsFile::open(path);
}

SafetensorsFile doubles(const std::string& path, const std::vector<double>& values, SafeDType dtype = SafeDType::F64) {
  write_safetensors(path, std::vector<TensorToWrite>{{"x", dtype, {values.size()}, std::span(values)}});
  return SafetensorsFile::open(path);
}

TensorDifference difference(const SafetensorsFile& a, const SafetensorsFile& b) {
  return difference_of(a, a.tensors()[0], b, b.tensors()[0]);
}

TEST_CASE("weights: statistics are those of the finite values, across the pieces in which they are read") {
  const TempDir dir;
  std::vector<double> x(200'000);
  double sum = 0, squares = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = 1000 + std::sin(static_cast<double>(i));  // a mean that swallows digits of squares
    sum += x[i];
  }
  for (const double value : x) squares += (value - sum / 2e5) * (value - sum / 2e5);
  x.push_back(nan), x.push_back(inf), x.push_back(-inf), x.push_back(-3), x.push_back(5000);
  sum += 4997;
  const double mean = sum / 200'002;
  squares = 0;
  for (const double value : x)
    if (std::isfinite(value)) squares += (value - mean) * (value - mean);
  const SafetensorsFile file = doubles(dir / "x", x);
  const TensorStatistics s = statistics_of(file, file.tensors()[0]);
  CHECK(s.finite == 200'002);
  CHECK(s.nan == 1);
  CHECK(s.infinite == 2);
  CHECK(s.at_not_finite == 200'000);
  CHECK(s.min == -3);
  CHECK(s.at_min == 200'003);
  CHECK(s.max == 5000);
  CHECK(s.at_max == 200'004);
  CHECK(s.mean == Approx(mean).epsilon(1e-13));
  CHECK(s.deviation == Approx(std::sqrt(squares / 200'002)).epsilon(1e-11));

  const SafetensorsFile none = doubles(dir / "none", {nan, nan});
  const TensorStatistics of_none = statistics_of(none, none.tensors()[0]);
  CHECK(of_none.finite == 0);
  CHECK(std::isnan(of_none.mean));
  CHECK(std::isnan(of_none.min));
}

TEST_CASE("weights: whole numbers and truth values have statistics, 8-bit floats have none") {
  const TempDir dir;
  const auto check = [&]<class T>(const std::string& dtype, const std::vector<T>& values, double min, double max) {
    CAPTURE(dtype);
    const SafetensorsFile file = raw(dir / dtype, dtype, values);
    const TensorStatistics s = statistics_of(file, file.tensors()[0]);
    CHECK(s.min == min);
    CHECK(s.max == max);
    CHECK(s.mean == (min + max) / 2);
  };
  check("I8", std::vector<int8_t>{-5, 3}, -5, 3);
  check("U8", std::vector<uint8_t>{250, 0}, 0, 250);
  check("I16", std::vector<int16_t>{-300, 300}, -300, 300);
  check("U16", std::vector<uint16_t>{0, 65535}, 0, 65535);
  check("I32", std::vector<int32_t>{-70000, 2}, -70000, 2);
  check("U32", std::vector<uint32_t>{0, 4'000'000'000}, 0, 4e9);
  check("I64", std::vector<int64_t>{-1, 511}, -1, 511);
  check("U64", std::vector<uint64_t>{0, 2}, 0, 2);
  check("BOOL", std::vector<uint8_t>{1, 0}, 0, 1);
  CHECK_FALSE(has_numbers(SafeDType::F8_E4M3));
  CHECK_FALSE(has_numbers(SafeDType::F4));
  CHECK_FALSE(has_numbers(SafeDType::C64));
}

TEST_CASE("weights: one changed element is found, with its place and both values") {
  const TempDir dir;
  std::vector<double> x(150'000, 0.5);
  const SafetensorsFile a = doubles(dir / "a", x, SafeDType::F32);
  x[131'077] = std::nextafter(0.5F, 1.0F);
  const SafetensorsFile b = doubles(dir / "b", x, SafeDType::F32);
  const TensorDifference d = difference(a, b);
  CHECK(d.differing == 1);
  CHECK(d.at == 131'077);
  CHECK(d.a == 0.5);
  CHECK(d.b == x[131'077]);
  CHECK(d.largest == x[131'077] - 0.5);
  CHECK(d.relative_l2 == Approx((x[131'077] - 0.5) / (0.5 * std::sqrt(150'000))).epsilon(1e-6));
  CHECK(number_text(d.a, SafeDType::F32) != number_text(d.b, SafeDType::F32));
  CHECK(difference(a, a).differing == 0);
  CHECK(difference(a, a).relative_l2 == 0);
}

TEST_CASE("weights: what is equal as a number, and what is infinitely far") {
  const TempDir dir;
  const SafetensorsFile a = doubles(dir / "a", {0.0, nan, inf, -inf, 1});
  CHECK(difference(a, doubles(dir / "b", {-0.0, -nan, inf, -inf, 1})).differing == 0);
  const TensorDifference d = difference(a, doubles(dir / "c", {0.25, nan, -inf, 2, nan}));
  CHECK(d.differing == 4);
  CHECK(d.largest == inf);
  CHECK(d.at == 2);
  CHECK(d.relative_l2 == 1);  // over the first alone: 0.25 beside 0.25
}

TEST_CASE("weights: the relative difference leaves out what is not finite") {
  const TempDir dir;
  const TensorDifference d = difference(doubles(dir / "a", {3, inf, 1}), doubles(dir / "b", {4, 7, 1}));
  CHECK(d.relative_l2 == Approx(1 / std::sqrt(17)));
  CHECK(difference(doubles(dir / "c", {1}), doubles(dir / "d", {0})).relative_l2 == inf);
}

TEST_CASE("weights: other dtypes are compared as numbers, and large whole numbers exactly") {
  const TempDir dir;
  const SafetensorsFile f32 = doubles(dir / "f32", {0.5, 1, 0.1}, SafeDType::F32);
  const TensorDifference d = difference(f32, doubles(dir / "bf16", {0.5, 1, 0.1}, SafeDType::BF16));
  CHECK(d.differing == 1);
  CHECK(d.at == 2);
  CHECK(d.largest == Approx(9.77e-5).epsilon(0.01));
  const int64_t large = int64_t{1} << 60;
  const TensorDifference one = difference(raw(dir / "i", "I64", std::vector<int64_t>{large, -large}),
                                          raw(dir / "j", "I64", std::vector<int64_t>{large + 1, -large}));
  CHECK(one.differing == 1);
  CHECK(one.largest == 1);
  const SafetensorsFile x = raw(dir / "x", "F8_E4M3", std::vector<uint8_t>{1, 2}),
                        y = raw(dir / "y", "F8_E4M3", std::vector<uint8_t>{1, 3});
  CHECK(same_bytes(x, x.tensors()[0], x, x.tensors()[0]));
  CHECK_FALSE(same_bytes(x, x.tensors()[0], y, y.tensors()[0]));
}

TEST_CASE("weights: places and names") {
  CHECK(indices_of(17, std::vector<uint64_t>{2, 3, 4}) == std::vector<uint64_t>{1, 1, 1});
  CHECK(indices_of(0, {}).empty());
  CHECK(short_name("distilbert.transformer.layer.2.ffn.lin1.weight") == "layer.2.ffn.lin1.weight");
  CHECK(short_name("classifier.bias") == "classifier.bias");
  CHECK(natural_less("layer.2.x", "layer.10.a"));
  CHECK_FALSE(natural_less("layer.10.a", "layer.2.x"));
  CHECK(natural_less("layer.1", "layer.1.a"));
  CHECK(natural_less("a", "b"));
  CHECK(natural_less("a01", "a1"));  // some order, and only one
  CHECK_FALSE(natural_less("a1", "a01"));
  CHECK_FALSE(natural_less("a1", "a1"));
  CHECK(number_text(0.1F, SafeDType::F32) == "0.1");
  CHECK(number_text(0.1, SafeDType::F64) == "0.1");
  CHECK(number_text(-nan, SafeDType::F32) == "nan");
  CHECK(json_number(inf) == "inf");
}

// A BERT of one layer of 4, and what the tests add.
SafetensorsFile bert(const std::string& path, const std::vector<std::pair<std::string, std::vector<uint64_t>>>& more) {
  std::vector<std::pair<std::string, std::vector<uint64_t>>> shapes{
      {"bert.embeddings.word_embeddings.weight", {5, 4}},
      {"bert.embeddings.position_embeddings.weight", {3, 4}},
      {"bert.embeddings.token_type_embeddings.weight", {2, 4}},
      {"bert.embeddings.LayerNorm.weight", {4}},
      {"bert.embeddings.LayerNorm.bias", {4}}};
  const std::string layer = "bert.encoder.layer.0.";
  for (const char* part : {"attention.self.query", "attention.self.key", "attention.self.value",
                           "attention.output.dense", "intermediate.dense", "output.dense"}) {
    shapes.push_back({layer + part + ".weight", {4, 4}});
    shapes.push_back({layer + part + ".bias", {4}});
  }
  for (const char* part : {"attention.output.LayerNorm", "output.LayerNorm"}) {
    shapes.push_back({layer + part + ".weight", {4}});
    shapes.push_back({layer + part + ".bias", {4}});
  }
  shapes.insert(shapes.end(), more.begin(), more.end());
  const std::vector<float> numbers(20, 0.25F);
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, shape] : shapes) {
    size_t n = 1;
    for (const uint64_t d : shape) n *= d;
    tensors.push_back({name, SafeDType::F32, shape, std::span(numbers).first(n)});
  }
  write_safetensors(path, tensors);
  test::write_file(test::contains(path, "/") ? path.substr(0, path.rfind('/')) + "/config.json" : "config.json",
                   R"({"model_type": "bert", "vocab_size": 5, "max_position_embeddings": 3, "hidden_size": 4,
                       "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2})");
  return SafetensorsFile::open(path);
}

std::string becomes(const SafetensorsFile& file, const FileUse& use, const std::string& name) {
  const TensorEntry* t = file.find(name);
  REQUIRE(t);
  return use.tensors[static_cast<size_t>(t - file.tensors().data())].becomes;
}

TEST_CASE("weights: what the name map makes of each tensor") {
  const TempDir dir;
  const SafetensorsFile file =
      bert(dir / "model.safetensors",
           {{"bert.pooler.dense.bias", {4}}, {"bert.embeddings.novelty", {2}}, {"something", {1}}});
  const FileUse use = use_of_file(file);
  CHECK(use.architecture == "BERT");
  CHECK(becomes(file, use, "bert.encoder.layer.0.intermediate.dense.weight") == "-> layer.0.ffn.lin1.weight");
  CHECK(becomes(file, use, "bert.embeddings.word_embeddings.weight") == "-> embeddings.word_embeddings.weight");
  CHECK(becomes(file, use, "bert.embeddings.token_type_embeddings.weight") == "-> row 0 is added to all positions");
  CHECK(becomes(file, use, "bert.pooler.dense.bias") == "left out: the pooler: DistilBERT has none");
  CHECK(becomes(file, use, "bert.embeddings.novelty") == "unused");
  CHECK(becomes(file, use, "something") == "unused");
  REQUIRE(use.notes.size() == 3);
  CHECK(use.notes[0] == "left out, 1 tensor: the pooler: DistilBERT has none");
  CHECK(use.notes[1] == "unused, 2 tensors: unknown to this model");
  CHECK(contains(use.notes[2], "no classification head"));

  CHECK(find_tensor(file, use, "something").name == "something");
  for (const char* name : {"layer.0.ffn.lin1.weight", "distilbert.transformer.layer.0.ffn.lin1.weight"})
    CHECK(find_tensor(file, use, name).name == "bert.encoder.layer.0.intermediate.dense.weight");
  CHECK(contains(message_of<UsageError>([&] { find_tensor(file, use, "layer.0.ffn.line1.weight"); }),
                 "has no tensor \"layer.0.ffn.line1.weight\"; did you mean layer.0.ffn.lin1.weight?"));
}

TEST_CASE("weights: a file that does not fit is shown, with what is wrong") {
  const TempDir dir;
  const SafetensorsFile half = bert(dir / "model.safetensors", {{"classifier.weight", {2, 4}}});
  std::string config = test::read_file(dir / "config.json");
  config.replace(config.find("\"vocab_size\": 5"), 15, "\"vocab_size\": 6");
  test::write_file(dir / "config.json", config);
  const FileUse use = use_of_file(half);
  CHECK(becomes(half, use, "bert.encoder.layer.0.output.dense.bias") == "-> layer.0.ffn.lin2.bias");
  REQUIRE(use.notes.size() == 2);
  CHECK(contains(use.notes[1], "it cannot be loaded: "));
  CHECK(contains(use.notes[1], "expected [6, 4], found [5, 4]"));

  const SafetensorsFile other = doubles(dir / "other", {1});
  const FileUse none = use_of_file(other);
  CHECK(none.tensors.at(0).becomes == "-");
  REQUIRE(none.notes.size() == 1);
  CHECK(contains(none.notes[0], "holds no DistilBERT or BERT encoder"));
}

TEST_CASE("weights: rows are one line where they fit and two where they do not") {
  RowPairs rows({{"tensor", TextTable::Kind::ending}, {"bytes"}}, {{"becomes", TextTable::Kind::flexible}, {"min"}});
  rows.row({"distilbert.layer.2.weight", "12"}, {"-> layer.2.weight", "-0.5"});
  const std::string one =
      "tensor                     bytes  becomes             min\n"
      "distilbert.layer.2.weight     12  -> layer.2.weight  -0.5\n";
  CHECK(rows.text(0) == one);
  CHECK(rows.text(57) == one);
  CHECK(rows.text(56) ==
        "tensor                     bytes\n"
        "  becomes             min\n"
        "distilbert.layer.2.weight     12\n"
        "  -> layer.2.weight  -0.5\n");
  CHECK(rows.text(22) ==
        "tensor           bytes\n"
        "  becomes          min\n"
        "...yer.2.weight     12\n"
        "  -> la...weight  -0.5\n");
}

}  // namespace
}  // namespace crisp::inspect
