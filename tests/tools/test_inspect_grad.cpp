// What crisp-inspect grad is made of: names, numbers, files.
#include <cmath>
#include <cstring>

#include "tests/support/catch.h"
#include "tests/support/small_model.h"
#include "tests/train/support.h"
#include "tools/inspect/activations.h"
#include "tools/inspect/values_file.h"
#include "weights/safetensors.h"

namespace crisp::test {
namespace {

using namespace inspect;

struct Pass {
  explicit Pass(const DistilBert& model) {
    const Batch batch = pack({{1, 5, 9, 5, 2}});
    tape.keep_values();
    const Tensor logits = model.forward(tape, batch, {});
    f = sum(tape, slice(tape, logits, 1, 1, 1));
    activations = activations_of(tape);
    tape.backward(f);
  }
  const Tensor& named(const std::string& name) const {
    for (const NamedResult& a : activations)
      if (a.name == name) return a.value;
    fail("no {}", name);
  }
  Tape tape;
  Tensor f;
  std::vector<NamedResult> activations;
};

TEST_CASE("activations: results of operations by name, with values and gradients") {
  const DistilBert model = random_model(small_config(), DType::f64);
  const Pass pass(model);
  CHECK(pass.activations.front().name == "embeddings.embeddings_layer_norm");
  CHECK(pass.activations.back().name == "sum");
  CHECK(pass.activations.back().value.grad().item() == 1);
  CHECK(pass.named("layer.1.ffn.feed_forward").shape() == Shape{5, 12});
  // logits = hidden weight' + bias, of which f is the second: its gradients are known.
  const Tensor& logits = pass.named("head.classifier.linear");
  CHECK(logits.grad().to_vector() == std::vector<double>{0, 1, 0});
  CHECK(logits.detach().to_vector()[1] == pass.f.item());
  const std::vector<double> weight = model.parameters()[model.parameters().size() - 2].tensor.to_vector();
  const std::vector<double> relu_gradient = pass.named("head.relu").grad().to_vector();
  REQUIRE(relu_gradient.size() == 12);
  for (size_t i = 0; i < 12; ++i) CHECK(relu_gradient[i] == Approx(weight[12 + i]).epsilon(1e-14));

  std::vector<std::string> names;
  for (const NamedResult& a : pass.activations) {
    CHECK(std::find(names.begin(), names.end(), a.name) == names.end());
    names.push_back(a.name);
  }
}

TEST_CASE("activations: a second one of the same name has a number") {
  Tape tape;
  tape.keep_values();
  const Tensor x = Tensor::full({3}, DType::f64, 2);
  x.set_requires_grad();
  const Tensor y = mul(tape, x, x);
  const Tensor z = sum(tape, mul(tape, y, y));
  const std::vector<NamedResult> all = activations_of(tape);
  tape.backward(z);
  REQUIRE(all.size() == 3);
  CHECK(all[0].name == "mul");
  CHECK(all[1].name == "mul#2");
  CHECK(all[0].value.grad().to_vector() == std::vector<double>{8, 8, 8});
}

TEST_CASE("names: whole, or an end that no other has, or the nearest") {
  const std::vector<std::string> names{"layer.0.ffn.lin1.weight", "layer.1.ffn.lin1.weight", "head.relu", "embedding"};
  CHECK(find_name("layer.1.ffn.lin1.weight", names, "tensor") == 1);
  CHECK(find_name("0.ffn.lin1.weight", names, "tensor") == 0);
  CHECK(find_name("relu", names, "tensor") == 2);
  CHECK(find_name("embedding", names, "tensor") == 3);
  CHECK_THROWS_WITH(find_name("elu", names, "tensor"), Catch::Contains("no tensor elu"));  // no part from a dot on
  CHECK_THROWS_WITH(find_name("lin1.weight", names, "tensor"), Catch::Contains("the end of 2 names"));
  CHECK_THROWS_WITH(find_name("layer.1.ffn.lin2.weight", names, "tensor"),
                    Catch::Contains("did you mean layer.1.ffn.lin1.weight?"));
}

TEST_CASE("gradients in numbers: those of all elements, of a table that takes them by rows, too") {
  const DistilBert model = random_model(small_config(), DType::f64);
  const Pass pass(model);
  for (const Parameter& p : model.parameters()) {
    CAPTURE(p.name);
    const std::optional<TensorNumbers> n = gradient_numbers(p.tensor);
    REQUIRE(n);
    const std::vector<double> all = p.tensor.grad().to_vector();
    double squares = 0, sum = 0;
    for (const double g : all) squares += g * g, sum += g;
    CHECK(n->norm == Approx(std::sqrt(squares)).epsilon(1e-13));
    CHECK(n->mean == Approx(sum / static_cast<double>(all.size())).epsilon(1e-9).margin(1e-18));
    CHECK(n->zeros == std::count(all.begin(), all.end(), 0.0));
    CHECK(n->min == *std::min_element(all.begin(), all.end()));
    CHECK(n->max == *std::max_element(all.begin(), all.end()));
    CHECK(std::abs(n->largest) == std::max(-n->min, n->max));
    CHECK(all[static_cast<size_t>(n->largest_at)] == n->largest);
  }
  // Three words of thirty have a gradient.
  const TensorNumbers words = *gradient_numbers(model.word_embeddings());
  CHECK(words.zeros >= 26 * 12);
  CHECK(!gradient_numbers(Tensor::full({2}, DType::f64, 1)));
  CHECK(place_text(29, {3, 2, 5}) == "2,1,4");
  CHECK(place_text(0, {}) == "");
}

// Header and data of a .npy, as its specification has them.
struct Npy {
  explicit Npy(const std::string& bytes) {
    REQUIRE(bytes.starts_with(std::string("\x93NUMPY\x01\x00", 8)));
    const auto length = static_cast<size_t>(static_cast<uint8_t>(bytes.at(8)) | static_cast<uint8_t>(bytes.at(9)) << 8);
    REQUIRE((10 + length) % 64 == 0);
    header = bytes.substr(10, length);
    REQUIRE(header.back() == '\n');
    data = bytes.substr(10 + length);
  }
  template <class T>
  T at(size_t i) const {
    T value;
    std::memcpy(&value, data.data() + i * sizeof value, sizeof value);
    return value;
  }
  std::string header, data;
};

TEST_CASE("a .npy is as NumPy writes it") {
  const std::vector<double> values{1.5, -2, 1.0 / 3, 4, 5, 6};
  const Npy matrix(npy_bytes(values, {2, 3}, DType::f64));
  CHECK(matrix.header.starts_with("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }"));
  REQUIRE(matrix.data.size() == 48);
  for (size_t i = 0; i < 6; ++i) CHECK(matrix.at<double>(i) == values[i]);
  const Npy row(npy_bytes(values, {6}, DType::f32));
  CHECK(row.header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }"));
  REQUIRE(row.data.size() == 24);
  for (size_t i = 0; i < 6; ++i) CHECK(row.at<float>(i) == static_cast<float>(values[i]));
  const Npy scalar(npy_bytes(std::vector<double>{7}, {}, DType::f64));
  CHECK(scalar.header.starts_with("{'descr': '<f8', 'fortran_order': False, 'shape': (), }"));
  CHECK(scalar.at<double>(0) == 7);
  CHECK_THROWS_WITH(npy_bytes(values, {7}, DType::f64), Catch::Contains("6 values for shape [7]"));
  CHECK_THROWS_WITH(npy_bytes(values, {6}, DType::bf16), Catch::Contains("neither f64 nor f32"));
}

TEST_CASE("tensors go to a .npy alone, to a .safetensors with others") {
  const TempDir dir;
  const std::vector<NamedValues> two{{"a", {2}, {1, 1.0 / 3}}, {"b.c", {1, 3}, {3, 4, 5}}};
  write_values(dir / "two.safetensors", two, DType::f64);
  const SafetensorsFile file = SafetensorsFile::open(dir / "two.safetensors");
  REQUIRE(file.find("b.c"));
  CHECK(file.find("b.c")->shape == std::vector<uint64_t>{1, 3});
  CHECK(file.find("a")->dtype == SafeDType::F64);
  std::vector<double> a(2);
  file.read(*file.find("a"), a);
  CHECK(a == two[0].values);
  CHECK_THROWS_WITH(write_values(dir / "two.npy", two, DType::f64), Catch::Contains("a .npy holds one tensor"));
  CHECK_THROWS_WITH(write_values(dir / "two.txt", two, DType::f64), Catch::Contains("must end with .npy"));
  write_values(dir / "one.npy", std::span(two).first(1), DType::f64);
  CHECK(Npy(read_file(dir / "one.npy")).at<double>(1) == 1.0 / 3);
}

}  // namespace
}  // namespace crisp::test
