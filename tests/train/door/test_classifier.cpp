// crisp::Classifier beside the path of crisp-predict, and in a host: many models, many threads, no output.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <fstream>
#include <thread>

#include "engine/backend.h"
#include "tests/support/mappings.h"
#include "tests/train/door/door.h"
#include "train/inference/evaluate.h"
#include "train/inference/model_files.h"
#include "train/inference/precision.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// What crisp-predict computes, from the same parts below it.
std::vector<Prediction> predicted(const std::string& directory, const std::vector<std::string>& texts,
                                  Precision precision) {
  const Context context({.threads = 1, .products = products_for(precision, Device::cpu)});
  const LoadedModel loaded = load_model(directory, {.dtype = dtype_for(precision), .head_required = true});
  Dataset data;
  for (const std::string& text : texts) data.examples.push_back({text, -1});
  const TokenizedDataset tokens(data, load_tokenizer(loaded, 0), saved_max_length(loaded));
  return evaluate(loaded.model, tokens, 64, Statistics::none, {}, context).predictions;
}

std::optional<uint64_t> read_part(const ModelFiles& files, const std::string& name, uint64_t offset,
                                  std::span<std::byte> out) {
  const auto found = files.find(name);
  if (found == files.end()) return std::nullopt;
  if (!out.empty()) std::memcpy(out.data(), found->second.data() + offset, out.size());
  return found->second.size();
}

// What is written to both standard streams while f runs.
template <class F>
std::string output_of(F&& f) {
  const TempDir dir;
  std::fflush(stdout);
  const int out = ::dup(1), err = ::dup(2);
  const int file = ::open((dir / "output").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  ::dup2(file, 1);
  ::dup2(file, 2);
  f();
  std::fflush(stdout);
  ::dup2(out, 1);
  ::dup2(err, 2);
  for (const int fd : {out, err, file}) ::close(fd);
  return read_file(dir / "output");
}

// The precisions that this machine computes with.
std::vector<Precision> precisions_here() {
  std::vector<Precision> all{Precision::f32, Precision::strict_f32, Precision::f64};
  for (const auto& [precision, products] :
       {std::pair(Precision::bf16, MatmulPrecision::bf16), std::pair(Precision::bf16x3, MatmulPrecision::bf16x3)})
    if (backend(Device::cpu).supports(products)) all.push_back(precision);
  return all;
}

}  // namespace

TEST_CASE("a classifier answers as crisp-predict's path does, from a directory, memory and a reader, bit for bit") {
  const TempDir dir;
  write_files(dir / "model", small_classifier());
  const std::vector<std::string> texts = sample_texts(100);
  const Precision precision = GENERATE(Precision::f32, Precision::f64);
  const std::vector<Prediction> expected = predicted(dir / "model", texts, precision);
  const ModelFiles& files = small_classifier();
  const ModelSource reader =
      ModelSource::reader([&files](const std::string& name, uint64_t offset, std::span<std::byte> out) {
        return read_part(files, name, offset, out);
      });
  for (const ModelSource& source : {ModelSource(dir / "model"), ModelSource::memory(files), reader}) {
    const Classifier model(source, with_precision(precision));
    const std::vector<Classifier::Prediction> answers = model.predict(texts);
    REQUIRE(answers.size() == texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      CHECK(answers[i].label == expected[i].label);
      CHECK(answers[i].label_name == "LABEL_" + std::to_string(expected[i].label));
      CHECK(answers[i].logits == expected[i].logits);
      CHECK(answers[i].scores == expected[i].scores);
    }
    CHECK(model.predict_one(texts[3]).label == expected[3].label);
    CHECK(model.num_labels() == 2);
    CHECK(model.max_length() == 128);
    CHECK(model.threads() == 1);
    CHECK(model.predict({}).empty());
  }
}

TEST_CASE("scores are what the head's function makes of the logits") {
  ModelFiles files = small_classifier();
  const std::string text = sample_texts(1)[0];
  const Classifier softmax(ModelSource::memory(files));
  const Classifier::Prediction p = softmax.predict_one(text);
  CHECK(softmax.head() == Classifier::Head::softmax);
  const double e = std::exp(p.logits[1] - p.logits[0]);
  CHECK(p.scores[1] == Approx(e / (1 + e)).epsilon(1e-12));
  CHECK(p.score() == p.scores[static_cast<size_t>(p.label)]);

  std::string& config = files.at("config.json");
  const auto with_type = [&config](const char* type) {
    const std::string key = "\"problem_type\": \"";
    const size_t at = config.find(key) + key.size();
    config.replace(at, config.find('"', at) - at, type);
  };
  REQUIRE(contains(config, "\"problem_type\": \""));
  with_type("multi_label_classification");
  const Classifier sigmoid(ModelSource::memory(files));
  CHECK(sigmoid.head() == Classifier::Head::sigmoid);
  CHECK(sigmoid.predict_one(text).logits == p.logits);
  CHECK(sigmoid.predict_one(text).scores[1] == Approx(1 / (1 + std::exp(-p.logits[1]))).epsilon(1e-12));
  CHECK(
      contains(message_of<UsageError>([&] { sigmoid.gradients(text, Classifier::Objective::loss(0)); }), "no softmax"));

  with_type("regression");
  const Classifier regression(ModelSource::memory(files));
  CHECK(regression.head() == Classifier::Head::regression);
  CHECK(regression.predict_one(text).scores == p.logits);
}

TEST_CASE("tokens are those of the text, with their bytes") {
  Classifier::Options options;
  options.max_length = 5;
  const Classifier model(ModelSource::memory(small_classifier())),
      shorter(ModelSource::memory(small_classifier()), options);
  const std::string text = "The ending is  BEAUTIFUL.";
  const std::vector<Classifier::Token> tokens = model.tokenize(text);
  REQUIRE(tokens.size() == 7);
  CHECK(tokens.front().piece == "[CLS]");
  CHECK(tokens.back().piece == "[SEP]");
  CHECK(tokens[4].piece == "beautiful");
  CHECK(text.substr(tokens[4].begin, tokens[4].end - tokens[4].begin) == "BEAUTIFUL");
  const std::vector<Classifier::Token> cut = shorter.tokenize(text);
  REQUIRE(cut.size() == 5);
  CHECK(cut[3].id == tokens[3].id);
  CHECK(cut[4].id == tokens[6].id);
}

TEST_CASE("models with other precisions and threads, in turn and at the same time, have each its solo bits") {
  const std::vector<std::string> texts = sample_texts(24);
  const std::vector<Precision> precisions = precisions_here();
  std::vector<std::vector<std::vector<double>>> expected;
  for (const Precision p : precisions)
    expected.push_back(logits_of(Classifier(ModelSource::memory(small_classifier()), with_precision(p, 1)), texts));
  CHECK(expected[0] != expected[2]);  // f32 and f64

  std::vector<Classifier> models;
  for (size_t i = 0; i < precisions.size(); ++i)
    models.emplace_back(ModelSource::memory(small_classifier()),
                        with_precision(precisions[i], 1 + static_cast<int>(i)));
  for (int round = 0; round < 2; ++round)
    for (size_t i = 0; i < models.size(); ++i) CHECK(logits_of(models[i], texts) == expected[i]);

  // Two threads for each model; Catch's checks are for one thread.
  std::atomic<int> wrong = 0, done = 0;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 2 * models.size(); ++t)
    threads.emplace_back([&, t] {
      const size_t i = t % models.size();
      for (int round = 0; round < 3; ++round, ++done) {
        wrong += logits_of(models[i], texts) != expected[i];
        wrong += models[i].gradients(texts[0], Classifier::Objective::logit(0)).tokens.values.empty();
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(wrong == 0);
  CHECK(done == static_cast<int>(6 * models.size()));
}

TEST_CASE("nothing is printed, and the log has the notes") {
  const TempDir dir;
  ModelFiles files = small_classifier();
  files.erase("tokenizer_config.json");
  std::vector<std::string> lines;
  Classifier::Options options;
  options.log = [&lines](const std::string& line) { lines.push_back(line); };
  const std::string output = output_of([&] {
    const Classifier model(ModelSource::memory(files), options);
    model.predict(sample_texts(3));
    model.gradients("a film", Classifier::Objective::loss(0));
    model.attention("a film");
    const Classifier silent(ModelSource::memory(files));
    FineTuner tuner(sample_weights(), sample_examples(16), sample_examples(4, "dev"), short_training());
    tuner.run();
    tuner.save(dir / "saved");
    message_of<Error>([&] { const Classifier none(dir / "nothing"); });
  });
  CHECK(output == "");
  REQUIRE(lines.size() == 1);
  CHECK(contains(lines[0], "vocab.txt has no tokenizer_config.json beside it"));
}

TEST_CASE("what cannot be loaded is refused with its class and a message") {
  const auto refused = [](const ModelFiles& files) {
    return message_of<BadInput>([&] { const Classifier model(ModelSource::memory(files)); });
  };
  const auto without = [](const char* name) {
    ModelFiles files = small_classifier();
    files.erase(name);
    return files;
  };
  CHECK(refused(without("model.safetensors")) == "model.safetensors: is not among the files of the model");
  ModelFiles cut = small_classifier();
  cut.at("model.safetensors").resize(1000);
  CHECK(contains(refused(cut), "model.safetensors: not a valid safetensors file"));
  ModelFiles broken = small_classifier();
  broken.at("config.json") = "{";
  CHECK(contains(refused(broken), "config.json"));
  broken.at("config.json") = std::string((size_t{16} << 20) + 1, ' ');
  CHECK(refused(broken) == "config.json: is larger than the 16 MiB that such a file may have");
  ModelFiles other = small_classifier();
  other.at("vocab.txt") += "one\ntwo\n";
  CHECK(contains(refused(other), "this is not its vocabulary"));
  const std::string without_vocabulary =
      message_of<UsageError>([&] { const Classifier c(ModelSource::memory(without("vocab.txt"))); });
  CHECK(contains(without_vocabulary, "no vocab.txt"));
  CHECK_FALSE(contains(without_vocabulary, "--"));

  CHECK(contains(message_of<BadInput>([] { const Classifier model(sample_weights()); }), "no classification head"));
  CHECK(contains(message_of<BadInput>([] { const Classifier model("no/such/model"); }), "no/such/model"));
  CHECK(contains(message_of<UsageError>([] { ModelSource::reader({}); }), "empty function"));
  // A reader's own error is its caller's.
  struct Mine {};
  CHECK_THROWS_AS(
      Classifier(ModelSource::reader(
          [](const std::string&, uint64_t, std::span<std::byte>) -> std::optional<uint64_t> { throw Mine(); })),
      Mine);
  // One that says more than there is.
  const ModelFiles& files = small_classifier();
  const ModelSource liar = ModelSource::reader(
      [&files](const std::string& name, uint64_t offset, std::span<std::byte> out) -> std::optional<uint64_t> {
        const auto found = files.find(name);
        if (found == files.end()) return std::nullopt;
        if (offset + out.size() > found->second.size()) return found->second.size();
        std::memcpy(out.data(), found->second.data() + offset, out.size());
        return out.empty() ? found->second.size() + 1 : found->second.size();
      });
  CHECK(message_of<BadInput>([&] { const Classifier model(liar); }) != "(none)");
}

TEST_CASE("options that make no sense are refused") {
  const auto refused = [](auto change) {
    Classifier::Options options;
    change(options);
    return message_of<UsageError>([&] { const Classifier model(ModelSource::memory(small_classifier()), options); });
  };
  using O = Classifier::Options;
  CHECK(contains(refused([](O& o) { o.threads = -1; }), "threads must be a whole number from 0 to 1024, not '-1'"));
  CHECK(contains(refused([](O& o) { o.threads = 100000; }), "threads must be"));
  CHECK(contains(refused([](O& o) { o.eval_batch_size = 0; }), "eval_batch_size must be a whole number from 1 to"));
  CHECK(contains(refused([](O& o) { o.max_length = 1; }), "maximum length of 1"));
  CHECK(contains(refused([](O& o) { o.max_length = 129; }), "128 positions"));
  CHECK(contains(refused([](O& o) { o.precision = Precision::tf32; }), "tf32"));
  CHECK(contains(refused([](O& o) { o.precision = static_cast<Precision>(99); }), "precision must be one of f32|"));

  const Classifier model(ModelSource::memory(small_classifier()));
  CHECK(contains(message_of<UsageError>([&] { model.label_name(2); }), "label 2: the model has 2"));
  CHECK(contains(message_of<UsageError>([&] { model.parameter("bias"); }), "no parameter of the name 'bias'"));
  CHECK(contains(message_of<UsageError>([&] { model.gradients("a", Classifier::Objective::loss(2)); }), "label 2"));
  CHECK(contains(message_of<UsageError>([&] { model.gradients("a", Classifier::Objective::logit(-1)); }), "objective"));
  CHECK(contains(message_of<UsageError>([&] { model.gradients("a", Classifier::Objective::logit(0), {"x"}); }), "'x'"));
}

TEST_CASE("a weight that is no number is named") {
  Classifier model(ModelSource::memory(small_classifier()));
  const std::vector<double> before = model.predict_one("a film").logits;
  const NumberArray bias = model.parameter("pre_classifier.bias");
  std::vector<double> values = bias.values;
  values[5] = NAN;
  model.set_parameter("pre_classifier.bias", values);
  for (const auto& action : std::vector<std::function<void()>>{
           [&] { model.predict_one("a film"); }, [&] { model.gradients("a film", Classifier::Objective::loss(0)); }})
    CHECK(contains(message_of<Diverged>(action), "the weights' pre_classifier.bias holds nan"));
  model.set_parameter("pre_classifier.bias", bias.values);
  CHECK(model.predict_one("a film").logits == before);
  CHECK(contains(message_of<UsageError>([&] { model.set_parameter("pre_classifier.bias", {}); }), "128 elements"));
}

namespace {

Classifier::Options mapping(bool on, Precision precision = Precision::f32) {
  Classifier::Options options = with_precision(precision);
  options.map_weights = on;
  return options;
}

}  // namespace

TEST_CASE("a classifier whose directory is saved over goes on answering as before, mapped or copied") {
  const TempDir dir;
  write_files(dir / "model", small_classifier());
  const std::vector<std::string> texts = sample_texts(20);
  const Classifier mapped(dir / "model", mapping(true)), copied(dir / "model", mapping(false));
  const auto expected = logits_of(Classifier(ModelSource::memory(small_classifier()), mapping(true)), texts);
  CHECK(logits_of(mapped, texts) == expected);
  FineTuner tuner(dir / "model", sample_examples(16), short_training());
  tuner.run();
  tuner.save(dir / "model", /*replace=*/true);
  CHECK(logits_of(mapped, texts) == expected);
  CHECK(logits_of(copied, texts) == expected);
  CHECK(logits_of(Classifier(dir / "model", mapping(true)), texts) != expected);
  std::filesystem::remove_all(dir / "model");
  CHECK(logits_of(mapped, texts) == expected);
}

TEST_CASE("mapped weights: gradients of the same bits, and what one object changes is its own") {
  const TempDir dir;
  write_files(dir / "model", small_classifier());
  const std::string before = read_file(dir / "model/model.safetensors"), text = sample_texts(1)[0];
  Classifier mapped(dir / "model", mapping(true));
  const Classifier copied(dir / "model", mapping(false)), other(dir / "model", mapping(true));
  CHECK(mappings_of(dir / "model") == 2);
  const std::vector<std::string> names = mapped.parameter_names();
  const auto objective = Classifier::Objective::loss(1);
  const Classifier::Gradients a = mapped.gradients(text, objective, names),
                              b = copied.gradients(text, objective, names);
  CHECK(a.tokens.values == b.tokens.values);
  for (const std::string& name : names) {
    INFO(name);
    CHECK(a.parameters.at(name).values == b.parameters.at(name).values);
    CHECK(mapped.parameter(name).values == copied.parameter(name).values);
  }
  const auto expected = copied.predict_one(text).logits;
  CHECK(mapped.predict_one(text).logits == expected);
  for (const std::string& name : names) {
    std::vector<double> values = mapped.parameter(name).values;
    for (double& x : values) x *= 1.5;
    mapped.set_parameter(name, values);
  }
  CHECK(mapped.predict_one(text).logits != expected);
  CHECK(other.predict_one(text).logits == expected);
  CHECK(read_file(dir / "model/model.safetensors") == before);
}

TEST_CASE("copied weights do not notice what becomes of their file") {
  const TempDir dir;
  write_files(dir / "model", small_classifier());
  const std::vector<std::string> texts = sample_texts(5);
  const Classifier model(dir / "model", mapping(false));
  FineTuner tuner(dir / "model", sample_examples(16), short_training());  // maps nothing, whatever it is told
  CHECK(mappings_of(dir / "model") == 0);
  const auto expected = logits_of(model, texts);
  std::filesystem::resize_file(dir / "model/model.safetensors", 100);
  CHECK(logits_of(model, texts) == expected);
  tuner.run();
  CHECK(logits_of(tuner.classifier(), texts) != expected);
}
