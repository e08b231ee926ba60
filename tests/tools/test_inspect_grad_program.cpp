// crisp-inspect grad: gradients by parameters and activations, and what each token contributes.
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/tools/programs.h"
#include "tests/train/markup.h"
#include "weights/safetensors.h"

namespace crisp::test {
namespace {

const std::string sample = CRISP_SOURCE_DIR "/weights/sample";
constexpr const char* text = "a moving film, and a very funny one";

Outcome grad(const Words& more, const std::string& of = text, const Words& environment = {}) {
  return run(Words{CRISP_INSPECT, "grad", of, "--weights", sample, "--threads", "1"} + more,
             {.environment = environment});
}
json grad_json(const Words& more, const std::string& of = text) {
  const Outcome outcome = grad(more + Words{"--json"}, of);
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  return json::parse(outcome.out);
}

void check_width(const std::string& out) {
  for (const std::string& line : lines_of(out)) {
    CAPTURE(line);
    CHECK((line.size() <= 80 || contains(line, "written to")));
  }
}

std::vector<double> read_tensor(const SafetensorsFile& file, const std::string& name) {
  const TensorEntry* entry = file.find(name);
  REQUIRE(entry);
  std::vector<double> values(entry->numel());
  file.read(*entry, values);
  return values;
}

double norm_of(const std::vector<double>& values) {
  double squares = 0;
  for (const double v : values) squares += v * v;
  return std::sqrt(squares);
}

TEST_CASE("inspect grad: every parameter's gradient in numbers, and as a file") {
  const TempDir dir;
  const Outcome table = grad({});
  CAPTURE(table.out, table.err);
  CHECK(table.exit_code == 0);
  check_width(table.out);
  CHECK(contains(table.out, "f = cross-entropy of label "));
  CHECK(contains(table.out, "\nlayer.3 "));
  CHECK(contains(table.out, "\n attention.q_lin.weight "));
  CHECK(contains(table.out, "\n position_embeddings.weight  128x128 "));

  const json found = grad_json({"--output", dir / "all.safetensors"});
  const SafetensorsFile file = SafetensorsFile::open(dir / "all.safetensors");
  CHECK(file.tensors().size() == found["parameters"].size());
  double squares = 0, of_layer = 0;
  for (const json& p : found["parameters"]) {
    const std::string name = p["name"];
    CAPTURE(name);
    const std::vector<double> values = read_tensor(file, name);
    const json& g = p["gradient"];
    CHECK(g["norm"].get<double>() == Approx(norm_of(values)).epsilon(1e-12));
    const int64_t last = p["shape"].back();
    const std::vector<int64_t> at = g["largest_at"];
    const int64_t flat = at.size() == 1 ? at[0] : at[0] * last + at[1];
    CHECK(values[static_cast<size_t>(flat)] == g["largest"].get<double>());
    squares += std::pow(g["norm"].get<double>(), 2);
    if (contains(name, "layer.1.")) of_layer += std::pow(g["norm"].get<double>(), 2);
  }
  CHECK(found["norm"].get<double>() == Approx(std::sqrt(squares)).epsilon(1e-12));
  CHECK(found["groups"]["layer.1"].get<double>() == Approx(std::sqrt(of_layer)).epsilon(1e-12));
  // The sum of softmax - 1 at the label: 0, and of two classes their norm says the loss.
  const std::vector<double> bias = read_tensor(file, "classifier.bias");
  CHECK(bias[0] + bias[1] == Approx(0).margin(1e-14));
  CHECK(found["value"].get<double>() == Approx(-std::log(1 - std::abs(bias[0]))).epsilon(1e-12));
}

TEST_CASE("inspect grad: one parameter, one activation, found by the ends of their names") {
  const TempDir dir;
  const json p = grad_json({"--of", "layer.2.ffn.lin1.bias", "--output", dir / "p.npy", "--elements", "3"});
  CHECK(p["kind"] == "parameter");
  CHECK(p["name"] == "distilbert.transformer.layer.2.ffn.lin1.bias");
  REQUIRE(p["largest"].size() == 3);
  CHECK(p["largest"][0]["gradient"] == p["gradient"]["largest"]);
  CHECK(p["largest"][0]["at"] == p["gradient"]["largest_at"]);
  CHECK(p["first"][2]["at"] == json{2});
  const std::string npy = read_file(dir / "p.npy");
  CHECK(contains(npy, "'descr': '<f8', 'fortran_order': False, 'shape': (512,), }"));
  CHECK(npy.size() == 128 + 512 * 8);

  const json a = grad_json({"--of", "layer.2.ffn.feed_forward", "--output", dir / "a.safetensors"});
  CHECK(a["kind"] == "activation");
  CHECK(a["shape"] == json{11, 128});
  const SafetensorsFile file = SafetensorsFile::open(dir / "a.safetensors");
  CHECK(norm_of(read_tensor(file, "layer.2.ffn.feed_forward")) ==
        Approx(a["gradient"]["norm"].get<double>()).epsilon(1e-12));
  CHECK(norm_of(read_tensor(file, "value.layer.2.ffn.feed_forward")) ==
        Approx(a["value"]["norm"].get<double>()).epsilon(1e-12));
  // What is added to it has the same gradient, summed over tokens.
  const std::vector<double> gradient = read_tensor(file, "layer.2.ffn.feed_forward");
  const json bias = grad_json({"--of", "layer.2.ffn.lin2.bias", "--elements", "128"});
  for (const json& element : bias["first"]) {
    double sum = 0;
    for (size_t t = 0; t < 11; ++t) sum += gradient[t * 128 + element["at"][0].get<size_t>()];
    CHECK(element["gradient"].get<double>() == Approx(sum).epsilon(1e-10));
  }

  const Outcome one = grad({"--of", "embeddings_layer_norm"});
  check_width(one.out);
  CHECK(contains(one.out, "embeddings.embeddings_layer_norm: a result, [11, 128]"));
  CHECK(contains(one.out, "largest gradients"));
  const Outcome all = grad({"--activations"});
  check_width(all.out);
  CHECK(contains(all.out, "\n ffn.feed_forward "));
  CHECK(all.out.find("\nlayer.3") > all.out.find("\nembedding "));  // in the order of execution
  CHECK(grad_json({"--activations"})["activations"][0]["name"] == "embeddings.embeddings_layer_norm");
}

TEST_CASE("inspect grad: what each token contributes") {
  const TempDir dir;
  const json found = grad_json({"--of", "tokens", "--output", dir / "t.safetensors"}, "an unwatchable film");
  CHECK(contains(found["objective"].get<std::string>(), ", the predicted one"));
  CHECK(found["reached"] == true);
  CHECK(found["completeness_error"].get<double>() <= 0.01);
  double sum = 0;
  std::vector<double> by_piece;
  std::string pieces;
  for (const json& token : found["tokens"]) {
    sum += token["integrated_gradients"].get<double>();
    by_piece.push_back(token["integrated_gradients"]);
    pieces += token["piece"].get<std::string>() + " ";
  }
  CHECK(sum == Approx(found["sum"].get<double>()).epsilon(1e-12));
  CHECK(std::abs(sum - found["difference"].get<double>()) <= 0.01 * std::abs(found["difference"].get<double>()));
  CHECK(pieces.starts_with("[CLS] an "));
  CHECK(found["baseline"][0] == "[CLS]");
  CHECK(found["baseline"][1] == "[PAD]");
  CHECK(found["baseline"].back() == "[SEP]");
  REQUIRE(found["words"].size() == 1);  // in pieces
  const json& word = found["words"][0];
  CHECK(word["word"] == "unwatchable");
  double of_word = 0;
  for (size_t i = 0; i < word["count"].get<size_t>(); ++i) of_word += by_piece[word["first"].get<size_t>() + i];
  CHECK(of_word == Approx(word["integrated_gradients"].get<double>()).epsilon(1e-12));
  const SafetensorsFile file = SafetensorsFile::open(dir / "t.safetensors");
  const std::vector<double> embeddings = read_tensor(file, "embeddings"), gradient = read_tensor(file, "gradient"),
                            product = read_tensor(file, "gradient_x_input");
  for (size_t e = 0; e < product.size(); ++e) CHECK(product[e] == embeddings[e] * gradient[e]);

  // From the answer to another question, and from another baseline, they are others.
  CHECK(grad_json({"--of", "tokens", "--steps", "4", "--baseline", "zero"})["baseline"][1] == "0");
  CHECK(grad_json({"--of", "tokens", "--steps", "4", "--baseline", "mask"})["baseline"][1] == "[MASK]");
  const json fixed = grad_json({"--of", "tokens", "--steps", "4", "--label", "1"});
  CHECK(contains(fixed["objective"].get<std::string>(), "cross-entropy of label 1"));
  CHECK(fixed["steps"] == 4);
  CHECK(fixed["trials"].size() == 1);
  // Nothing is between the text and its baseline.
  CHECK(grad_json({"--of", "tokens"}, "")["reached"] == true);
}

TEST_CASE("inspect grad: tokens in a terminal, coloured where that is wanted") {
  const Words few{"--of", "tokens", "--steps", "8"};
  const Outcome plain = grad(few);
  CAPTURE(plain.out, plain.err);
  CHECK(plain.exit_code == 0);
  check_width(plain.out);
  CHECK(contains(plain.out, "baseline: [CLS] [PAD] x 9 [SEP]"));
  CHECK(contains(plain.out, "with 8 points"));
  CHECK(contains(plain.out, "    3  film "));
  CHECK(contains(plain.out, "|+"));
  CHECK(!contains(plain.out, "\x1b"));
  const Outcome coloured = grad(few + Words{"--colour", "always"}, text, {"NO_COLOR=1"});
  CHECK(contains(coloured.out, "m\x1b[38;5;16mfilm\x1b[0m"));
  // A text cannot steer the terminal.
  const Outcome hostile = grad(few + Words{"--color", "always"}, "a \x1b[31mfilm\x07");
  CHECK(!contains(hostile.out, "\x1b[31m"));
  CHECK(!contains(hostile.out, "\x07"));

  const Outcome sparse = grad({"--of", "tokens", "--sparsity", "0.8"}, "a funny film");
  CHECK(sparse.exit_code == 0);
  check_width(sparse.out);
  CHECK(contains(sparse.out, "with 1024 points"));
  CHECK(contains(sparse.out, "1 % not reached"));
  CHECK(contains(sparse.out, "f jumps"));
  const json points = grad_json({"--of", "tokens", "--sparsity", "0.8", "--steps", "3"});
  CHECK(points["reached"] == false);
}

TEST_CASE("inspect grad: the page of an attribution is one file, well-formed, with the text escaped") {
  const TempDir dir;
  const Outcome outcome = grad({"--of", "tokens", "--steps", "8", "--html", dir / "page.html"},
                               "a <b>very</b> \"unbelievable\" film & more");
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(contains(outcome.err, "written: "));
  const std::string page = read_file(dir / "page.html");
  CHECK(fault(page) == "");
  for (const char* part : {"http:", "https:", "src=", "@import", "url("}) CHECK(!contains(page, part));
  CHECK(!contains(page, "<b>"));
  for (const char* part : {"&lt;", "&quot;", "Integrated gradients", "class=\"token up\"", "class=\"token down\"",
                           "title=\"film: integrated gradients", "[CLS] [PAD] x ", "with 8\u00A0points"}) {
    CAPTURE(part);
    CHECK(contains(page, part));
  }
}

TEST_CASE("inspect grad: what does not go together or cannot be found") {
  const TempDir dir;
  const auto refused = [](const Words& more, const char* because) {
    const Outcome outcome = grad(more);
    CAPTURE(more, outcome.err);
    CHECK(outcome.exit_code == 2);
    CHECK(contains(outcome.err, because));
    CHECK(outcome.out.empty());
  };
  refused({"--steps", "4"}, "--steps belongs to --of tokens");
  refused({"--of", "classifier.bias", "--html", dir / "x.html"}, "--html belongs to --of tokens");
  refused({"--of", "tokens", "--activations"}, "either --activations or --of");
  refused({"--of", "layer.1.ffn.lin3.weight"}, "did you mean layer.1.ffn.lin1.weight?");
  refused({"--of", "layer.1.ffn.feedforward"}, "did you mean layer.1.ffn.feed_forward?");
  refused({"--of", "feed_forward"}, "give more of the name");
  refused({"--output", dir / "x.txt"}, "must end with .npy or .safetensors");
  refused({"--output", dir / "x.npy"}, "a .npy holds one tensor");
  refused({"--of", "tokens", "--logit", "5"}, "--logit 5");
  CHECK(names_in(dir.path()).empty());
}

// A copy of the sample's model with a number changed.
void copy_with(const TempDir& to, const std::string& tensor, float value) {
  for (const std::string& name : names_in(sample)) write_file(to / name, read_file(sample + "/" + name));
  const std::string path = to / "model.safetensors";
  std::string bytes = read_file(path);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  const json header = json::parse(bytes.substr(8, length));
  for (const auto& [name, entry] : header.items())
    if (name.ends_with(tensor))
      std::memcpy(bytes.data() + 8 + length + entry["data_offsets"][0].get<size_t>(), &value, sizeof value);
  write_file(path, bytes);
}

TEST_CASE("inspect grad: what is not finite is shown where it begins, with exit code 4") {
  const TempDir dir;
  copy_with(dir, "layer.1.ffn.lin1.bias", std::numeric_limits<float>::quiet_NaN());
  const auto of_broken = [&](const Words& more) {
    return run(Words{CRISP_INSPECT, "grad", text, "--weights", dir.path(), "--threads", "1"} + more);
  };
  const Outcome outcome = of_broken({"--activations", "--json"});
  CAPTURE(outcome.out, outcome.err);
  CHECK(outcome.exit_code == 4);
  CHECK(contains(outcome.err, "f is nan; "));
  CHECK(contains(outcome.err, "layer.1.ffn.lin1.bias"));
  std::string first_broken;
  const json found = json::parse(outcome.out);
  for (const json& a : found["activations"])
    if (first_broken.empty() && a["value"]["norm"].is_null()) first_broken = a["name"];
  CHECK(first_broken == "layer.1.ffn.feed_forward");
  CHECK(contains(of_broken({}).out, "nan"));
  const Outcome tokens = of_broken({"--of", "tokens"});
  CHECK(tokens.exit_code == 4);
  CHECK(contains(tokens.err, "layer.1.ffn.lin1.bias"));
}

TEST_CASE("inspect grad: the kernels of an emulated GPU give the same attribution") {
  const Words few{"--of", "tokens", "--steps", "2", "--json"};
  const Words start{"grad", "a film", "--weights", sample, "--threads", "1"};
  const json cpu = json::parse(run(Words{CRISP_INSPECT} + start + few).out);
  const Outcome outcome = run(Words{CRISP_INSPECT_EMULATED} + start + few + Words{"--device", "cuda"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const json gpu = json::parse(outcome.out);
  for (size_t i = 0; i < cpu["tokens"].size(); ++i)
    for (const char* kind : {"gradient_x_input", "integrated_gradients"})
      CHECK(gpu["tokens"][i][kind].get<double>() == Approx(cpu["tokens"][i][kind].get<double>()).epsilon(1e-9));
}

}  // namespace
}  // namespace crisp::test
