// Weights that are used where they lie in their file.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>

#include "engine/cpu/memory/allocator.h"
#include "tests/support/catch.h"
#include "tests/support/mappings.h"
#include "tests/train/small_run.h"
#include "tests/train/support.h"
#include "train/inference/evaluate.h"
#include "train/inference/model_files.h"
#include "weights/safetensors.h"

namespace crisp::test {
namespace {

LoadedModel load(const std::string& directory, bool map, std::optional<DType> dtype = {}) {
  return load_model(directory, {.dtype = dtype, .map_weights = map});
}

std::vector<std::vector<double>> logits_of(const LoadedModel& loaded) {
  std::vector<std::vector<double>> all;
  for (const Prediction& p : evaluate(loaded.model, small_data(9, 1, 20), 4, Statistics::none).predictions)
    all.push_back(p.logits);
  return all;
}

// Whether queries, keys and values, which are to lie together, are of this parameter's layer.
bool is_projection(const std::string& name) {
  return contains(name, "q_lin") || contains(name, "k_lin") || contains(name, "v_lin");
}

// How many parameters lie in the directory's file.
int mapped_parameters(const LoadedModel& loaded, const std::string& directory) {
  int count = 0;
  for (const Parameter& p : loaded.model.parameters())
    count += lies_in_file(p.tensor.raw(), directory + "/model.safetensors");
  return count;
}

void check_same(const LoadedModel& a, const LoadedModel& b) {
  REQUIRE(a.model.parameters().size() == b.model.parameters().size());
  for (size_t i = 0; i < a.model.parameters().size(); ++i) {
    INFO(a.model.parameters()[i].name);
    CHECK(same_bits(a.model.parameters()[i].tensor, b.model.parameters()[i].tensor));
  }
  CHECK(logits_of(a) == logits_of(b));
  CHECK(a.notes == b.notes);
}

// The file again with other types, names, or bytes before the data.
template <class F>
void rewrite(const std::string& path, F&& change, size_t spaces = 0) {
  std::vector<std::vector<double>> values;
  std::vector<TensorToWrite> tensors;
  {
    const SafetensorsFile file = SafetensorsFile::open(path);
    values.reserve(file.tensors().size() + 1);
    for (const TensorEntry& entry : file.tensors()) {
      values.emplace_back(entry.numel());
      file.read(entry, std::span<double>(values.back()));
      tensors.push_back({entry.name, entry.dtype, entry.shape, std::span<const double>(values.back())});
    }
    change(tensors, values);
  }
  write_safetensors(path, tensors);
  if (spaces == 0) return;
  std::string bytes = read_file(path);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  bytes.insert(8 + length, spaces, ' ');
  length += spaces;
  std::memcpy(bytes.data(), &length, 8);
  write_file(path, bytes);
}
const auto nothing = [](std::vector<TensorToWrite>&, std::vector<std::vector<double>>&) {};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  if (const size_t at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

class Saved {
 public:
  explicit Saved(DType dtype = DType::f32, const DistilBertConfig& config = small_run_config()) {
    save_model(dir_.path(), random_model(config, dtype), small_tokenizer(), 16);
  }
  const std::string& path() const { return dir_.path(); }
  std::string weights() const { return dir_ / "model.safetensors"; }

 private:
  TempDir dir_;
};

TEST_CASE("mapped weights: all but the projections lie in the file, with the bits of copied ones") {
  const DType dtype = GENERATE(DType::f32, DType::f64);
  const Saved saved(dtype);
  const std::string before = read_file(saved.weights());
  {
    const LoadedModel mapped = load(saved.path(), true), copied = load(saved.path(), false);
    CHECK(mappings_of(saved.path()) == 1);
    CHECK(mapped.model.dtype() == dtype);
    for (const Parameter& p : mapped.model.parameters()) {
      INFO(p.name);
      CHECK(lies_in_file(p.tensor.raw(), saved.weights()) == !is_projection(p.name));
    }
    CHECK(mapped_parameters(copied, saved.path()) == 0);
    check_same(mapped, copied);
    check_same(mapped, load(saved.path(), true));
    CHECK(describe_broken_weights(mapped).empty());

    // An update in place is the model's alone.
    for (const Parameter& p : mapped.model.parameters())
      p.tensor.copy_from(Tensor::full(p.tensor.shape(), dtype, 0.25));
    check_same(load(saved.path(), true), copied);
    CHECK(logits_of(mapped) != logits_of(copied));
    const DistilBert clone = mapped.model.clone();
    for (const Parameter& p : clone.parameters()) CHECK_FALSE(lies_in_file(p.tensor.raw(), saved.weights()));
  }
  CHECK(mappings_of(saved.path()) == 0);
  CHECK(read_file(saved.weights()) == before);
}

TEST_CASE("mapped weights: another type than the model's, or a place that is not aligned for it, is copied") {
  const Saved saved;
  const int all = static_cast<int>(load(saved.path(), false).model.parameters().size());
  const int at_best = mapped_parameters(load(saved.path(), true), saved.path());
  CHECK(at_best > all / 2);
  check_same(load(saved.path(), true, DType::f64), load(saved.path(), false, DType::f64));
  CHECK(mapped_parameters(load(saved.path(), true, DType::f64), saved.path()) == 0);
  for (const size_t spaces : {1, 2, 4}) {
    CAPTURE(spaces);
    rewrite(saved.weights(), nothing, spaces);
    const LoadedModel mapped = load(saved.path(), true);
    CHECK(mapped_parameters(mapped, saved.path()) == (spaces == 4 ? at_best : 0));
    check_same(mapped, load(saved.path(), false));
  }
  rewrite(saved.weights(), [](std::vector<TensorToWrite>& tensors, std::vector<std::vector<double>>&) {
    for (TensorToWrite& t : tensors)
      if (contains(t.name, "lin1")) t.dtype = SafeDType::BF16;
  });
  const LoadedModel mapped = load(saved.path(), true);
  for (const Parameter& p : mapped.model.parameters()) {
    INFO(p.name);
    CHECK(lies_in_file(p.tensor.raw(), saved.weights()) == !(is_projection(p.name) || contains(p.name, "lin1")));
  }
  check_same(mapped, load(saved.path(), false));
}

TEST_CASE("mapped weights: BERT's positions have its first token type added, and the file stays as it is") {
  const Saved saved;
  const int64_t dim = small_run_config().dim;
  rewrite(saved.weights(), [&](std::vector<TensorToWrite>& tensors, std::vector<std::vector<double>>& values) {
    for (TensorToWrite& t : tensors) {
      for (const auto& [ours, theirs] : {std::pair{"distilbert.", "bert."},
                                         {"transformer.layer", "encoder.layer"},
                                         {"attention.q_lin", "attention.self.query"},
                                         {"attention.k_lin", "attention.self.key"},
                                         {"attention.v_lin", "attention.self.value"},
                                         {"attention.out_lin", "attention.output.dense"},
                                         {"sa_layer_norm", "attention.output.LayerNorm"},
                                         {"ffn.lin1", "intermediate.dense"},
                                         {"ffn.lin2", "output.dense"},
                                         {"output_layer_norm", "output.LayerNorm"}})
        t.name = replaced(t.name, ours, theirs);
    }
    values.emplace_back(static_cast<size_t>(2 * dim), 0.125);
    tensors.push_back({"bert.embeddings.token_type_embeddings.weight",
                       SafeDType::F32,
                       {2, static_cast<uint64_t>(dim)},
                       std::span<const double>(values.back())});
  });
  const std::string before = read_file(saved.weights());
  const LoadedModel mapped = load(saved.path(), true), copied = load(saved.path(), false);
  CHECK(mapped.new_head);  // BERT's classifier reads the pooler
  CHECK(mapped_parameters(mapped, saved.path()) > 20);
  check_same(mapped, copied);
  check_same(load(saved.path(), true), copied);
  CHECK(read_file(saved.weights()) == before);
}

TEST_CASE("mapped weights: a model with a new head, and one that another is saved over") {
  const Saved saved;
  const LoadModelOptions options{.num_labels = 2, .seed = 5, .new_head = true};
  LoadModelOptions mapping = options;
  mapping.map_weights = true;
  const std::string before = read_file(saved.weights());
  check_same(load_model(saved.path(), mapping), load_model(saved.path(), options));
  CHECK(read_file(saved.weights()) == before);

  const LoadedModel mapped = load(saved.path(), true);
  const auto expected = logits_of(mapped);
  save_model_as_one(saved.path(), random_model(small_run_config(), DType::f32, 9), small_tokenizer(), 16, true);
  CHECK(logits_of(mapped) == expected);
  CHECK(logits_of(load(saved.path(), true)) != expected);
  std::filesystem::remove_all(saved.path());
  CHECK(logits_of(mapped) == expected);
}

TEST_CASE("mapped weights: what is not finite is found") {
  const Saved saved;
  rewrite(saved.weights(), [](std::vector<TensorToWrite>& tensors, std::vector<std::vector<double>>& values) {
    for (size_t i = 0; i < tensors.size(); ++i)
      if (tensors[i].name == "classifier.bias") values[i][1] = std::nan("");
  });
  const LoadedModel mapped = load(saved.path(), true);
  CHECK(describe_broken_weights(mapped) == "the weights' classifier.bias holds nan");
  CHECK_THROWS_AS(logits_of(mapped), NotFinite);
}

TEST_CASE("mapped weights take no memory of the process's own") {
  DistilBertConfig config = small_run_config();
  config.vocab_size = 1'000'000;  // with a table of 48 MB
  const Saved saved(DType::f32, config);
  const auto growth = [&](bool map) {
    release_cached_memory();
    const int64_t anonymous = anonymous_bytes(), tensors = allocator_stats().bytes_in_use;
    REQUIRE(anonymous > 0);
    const LoadedModel loaded = load(saved.path(), map);
    logits_of(loaded);
    return std::pair(anonymous_bytes() - anonymous, allocator_stats().bytes_in_use - tensors);
  };
  const auto [mapped, mapped_tensors] = growth(true);
  const auto [copied, copied_tensors] = growth(false);
  CHECK(mapped < 8'000'000);
  CHECK(mapped_tensors < 1'000'000);
  CHECK(copied > 40'000'000);
  CHECK(copied_tensors > 48'000'000);
}

}  // namespace
}  // namespace crisp::test
