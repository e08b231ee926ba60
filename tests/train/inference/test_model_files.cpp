// Directories of models as strangers write them: what is loaded, and what is refused with its reason.
#include <fmt/format.h>

#include "train/inference/model_files.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/train/small_run.h"
#include "tests/train/support.h"
#include "train/inference/evaluate.h"
#include "weights/safetensors.h"

namespace crisp::test {
namespace {

using nlohmann::json;

// A saved small model whose files a test changes.
class Directory {
 public:
  Directory() { save_model(dir_.path(), random_model(small_run_config(), DType::f32), small_tokenizer(), 16); }

  const std::string& path() const { return dir_.path(); }
  std::string operator/(const std::string& name) const { return dir_ / name; }
  void write(const std::string& name, const std::string& text) const { write_file(dir_ / name, text); }
  void set(const char* key, const json& value) const {
    json config = json::parse(read_file(dir_ / "config.json"));
    config[key] = value;
    write("config.json", config.dump());
  }
  // The weights with one tensor changed by `change`, and with one more of f64 at the front.
  template <class F>
  void rewrite(const std::string& name, F&& change, bool with_stray = false, DType dtype = DType::f32) const {
    const std::string weights = dir_ / "model.safetensors";
    std::vector<std::pair<TensorEntry, std::vector<double>>> tensors;
    {
      const SafetensorsFile file = SafetensorsFile::open(weights);
      for (const TensorEntry& entry : file.tensors()) {
        std::vector<double> values(entry.numel());
        file.read(entry, std::span<double>(values));
        if (entry.name == name) change(values);
        tensors.emplace_back(entry, std::move(values));
      }
    }
    const std::vector<double> stray{1};
    std::vector<TensorToWrite> out;
    if (with_stray) out.push_back({"a_stray_scalar", SafeDType::F64, {}, std::span<const double>(stray)});
    for (const auto& [entry, values] : tensors)
      out.push_back({entry.name, entry.name == name ? safe_dtype(dtype) : entry.dtype, entry.shape,
                     std::span<const double>(values)});
    write_safetensors(weights, out);
  }
  std::string refusal(const LoadModelOptions& options = {}) const {
    std::string message = message_of<BadInput>([&] {
      const LoadedModel loaded = load_model(path(), options);
      load_tokenizer(loaded, 0);
    });
    for (size_t at = message.find(path()); at != std::string::npos; at = message.find(path(), at))
      message.replace(at, path().size() + 1, "");
    return message;
  }

 private:
  TempDir dir_;
};

const auto keep = [](std::vector<double>&) {};

TEST_CASE("model files: the dtype is that of the model's own tensors") {
  const Directory directory;
  directory.rewrite("", keep, true);
  CHECK(load_model(directory.path(), {}).model.dtype() == DType::f32);
  directory.rewrite("classifier.weight", keep, false, DType::f64);
  CHECK(load_model(directory.path(), {}).model.dtype() == DType::f64);
}

TEST_CASE("model files: a metadata of null is none") {
  const Directory directory;
  std::string bytes = read_file(directory / "model.safetensors");
  const std::string metadata = R"({"format":"pt"})";
  const size_t at = bytes.find(metadata);
  REQUIRE(at != std::string::npos);
  std::string null = "null";
  null.resize(metadata.size(), ' ');
  bytes.replace(at, metadata.size(), null);
  directory.write("model.safetensors", bytes);
  CHECK(SafetensorsFile::open(directory / "model.safetensors").metadata().empty());
  CHECK(load_model(directory.path(), {}).notes.empty());
}

TEST_CASE("model files: a tensor that is not finite is named") {
  const Directory directory;
  CHECK(describe_broken_weights(load_model(directory.path(), {})).empty());
  directory.rewrite("classifier.bias", [](auto& values) { values[1] = std::nan(""); });
  CHECK(describe_broken_weights(load_model(directory.path(), {})) == "the weights' classifier.bias holds nan");
  const std::string first = "distilbert.embeddings.LayerNorm.weight";
  directory.rewrite(first, [](auto& values) { values[0] = -std::numeric_limits<double>::infinity(); });
  const LoadedModel loaded = load_model(directory.path(), {});
  CHECK(describe_broken_weights(loaded) == "the weights' " + first + " holds -inf");
  CHECK_THROWS_AS(evaluate(loaded.model, small_data(3, 2, 5), 2, Statistics::none), NotFinite);
  directory.rewrite(
      first, [](auto& values) { values[0] = 1e300; }, false, DType::f64);
  CHECK(describe_broken_weights(load_model(directory.path(), {.dtype = DType::f32})) ==
        "the weights' " + first + " holds 1e+300, too large for f32");
}

TEST_CASE("model files: the tokenizer must fit the embeddings") {
  const Directory directory;
  const std::string vocabulary = read_file(directory / "vocab.txt");
  directory.write("vocab.txt", vocabulary + "\n\n");  // blank lines have ids that no text has
  CHECK(directory.refusal() == "(none)");
  directory.write("vocab.txt", vocabulary + "more\n");
  CHECK(directory.refusal() ==
        "vocab.txt has 51 tokens, but the model has embeddings for 50: this is not its vocabulary");
  directory.write("vocab.txt", vocabulary);
  directory.write("added_tokens.json", R"({"covid": 50})");
  CHECK(directory.refusal() ==
        "vocab.txt: the added token \"covid\" has the id 50, but the model has embeddings for 50");
}

TEST_CASE("model files: labels that contradict the head are refused") {
  const Directory directory;
  directory.set("id2label", {{"0", 1}, {"1", 2.5}});
  const DistilBertConfig config = load_model(directory.path(), {}).model.config();
  CHECK(config.label_name(0) == "1");
  CHECK(config.label_name(1) == "2.5");
  directory.set("id2label", {{"0", "a"}, {"1", "b"}, {"2", "c"}});
  CHECK(directory.refusal() ==
        "config.json names 3 labels, but the classification head of model.safetensors has 2: they do not belong "
        "together");
  CHECK(directory.refusal({.num_labels = 2, .new_head = true}) == "(none)");
}

TEST_CASE("model files: the problem type decides the scores, survives saving, and training refuses what it cannot") {
  const TokenizedDataset data = small_data(3, 2, 5);
  for (const auto& [name, function] : {std::pair{"regression", HeadFunction::none},
                                       {"multi_label_classification", HeadFunction::sigmoid},
                                       {"single_label_classification", HeadFunction::softmax}}) {
    CAPTURE(name);
    const Directory directory;
    directory.set("problem_type", name);
    const LoadedModel loaded = load_model(directory.path(), {});
    CHECK(loaded.model.config().head_function() == function);
    const Evaluation result = evaluate(loaded.model, data, 2, Statistics::none);
    CHECK(std::isnan(result.loss) == (function != HeadFunction::softmax));
    const Prediction& p = result.predictions[0];
    const double a = p.logits[0], b = p.logits[1];
    const double expected = function == HeadFunction::none      ? a
                            : function == HeadFunction::sigmoid ? 1 / (1 + std::exp(-a))
                                                                : 1 / (1 + std::exp(b - a));
    CHECK(p.scores[0] == Approx(expected).epsilon(1e-12));

    const TempDir saved;
    save_model(saved.path(), loaded.model, loaded.tokenizer, 16);
    CHECK(json::parse(read_file(saved / "config.json")).at("problem_type") == name);

    const std::string refusal = directory.refusal({.num_labels = 2, .to_train = true});
    if (function == HeadFunction::softmax)
      CHECK(refusal == "(none)");
    else
      CHECK(refusal == fmt::format("config.json: its problem_type is {}, which cannot be trained here yet, only "
                                   "single_label_classification; --new-head makes a new classification head",
                                   name));
    CHECK(directory.refusal({.num_labels = 2, .new_head = true, .to_train = true}) == "(none)");
  }
  const Directory directory;
  directory.set("problem_type", "ranking");
  CHECK(contains(directory.refusal(), "\"problem_type\" is \"ranking\"; it must be single_label_classification"));
}

}  // namespace
}  // namespace crisp::test
