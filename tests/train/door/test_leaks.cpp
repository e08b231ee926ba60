// Loads that fail leave nothing behind: no memory, no descriptor.
#include "tests/train/door/leaks.h"
#include "train/door/crisp/crisp.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <optional>
#include <span>
#include <stdexcept>

using namespace crisp;
using namespace crisp::test;

namespace {

// The C interface's codes as exceptions.
struct Code : std::exception {
  explicit Code(int c) : code(c) {}
  int code;
};
void must(int code) {
  if (code != CRISP_OK) throw Code(code);
}

}  // namespace

TEST_CASE("a load that fails leaks nothing, whichever file is at fault") {
  const TempDir dir;
  for (const auto& [name, content] : small_classifier())
    for (const std::string what : {"gone", "cut", "garbage"}) {
      ModelFiles files = small_classifier();
      if (what == "gone") files.erase(name);
      if (what == "cut") files.at(name).resize(content.size() / 2);
      if (what == "garbage") files.at(name) = "\xff\x01{[";
      const std::string directory = dir / (name + "-" + what);
      write_files(directory, files);
      INFO(name << " " << what);
      check_leaves_nothing([&] {
        message_of<Error>([&] { const Classifier model(ModelSource::memory(files)); });
        message_of<Error>([&] { const Classifier model(directory); });
      });
    }
}

TEST_CASE("calls that fail leak nothing, and the model answers as before") {
  const Classifier model(ModelSource::memory(small_classifier()), with_precision(Precision::f32));
  const std::vector<std::string> texts = sample_texts(5);
  const auto expected = logits_of(model, texts);
  check_leaves_nothing([&] {
    message_of<Error>([&] { model.gradients("a", Classifier::Objective::loss(9)); });
    message_of<Error>([&] { model.parameter("none"); });
  });
  const Failures failures = fail_each_allocation([&] {
    model.predict(texts);
    model.gradients("a film", Classifier::Objective::loss(1), {"classifier.weight"});
  });
  CHECK(failures.ended > 80);
  CHECK(failures.done_without == 0);
  CHECK(logits_of(model, texts) == expected);
}

TEST_CASE("each allocation of a load and of a step fails once, and leaves nothing") {
  const ModelFiles& files = small_classifier();
  const Failures load = fail_each_allocation([&] { const Classifier model(ModelSource::memory(files)); });
  CHECK(load.ended > 1000);
  CHECK(load.done_without <= 4);  // std::stable_sort's, of the header's tensors
  const std::vector<FineTuner::Example> examples = sample_examples(8);
  FineTuner::Options options = short_training();
  options.threads = 1;
  const Failures step = fail_each_allocation([&] {
    FineTuner tuner(ModelSource::memory(files), examples, options);
    tuner.step();
  });
  CHECK(step.ended > load.ended + 100);
  CHECK(step.done_without <= 4);
}

TEST_CASE("each read of a load fails once, and leaves nothing") {
  const ModelFiles& files = small_classifier();
  int64_t fails_at = 0, reads = 0;
  const ModelSource source = ModelSource::reader(
      [&](const std::string& name, uint64_t offset, std::span<std::byte> out) -> std::optional<uint64_t> {
        const auto found = files.find(name);
        if (found == files.end()) return std::nullopt;
        const uint64_t size = found->second.size();
        if (!out.empty() && reads++ == fails_at) throw std::runtime_error("a disk that is gone");
        if (offset <= size && out.size() <= size - offset)
          std::memcpy(out.data(), found->second.data() + offset, out.size());
        return size;
      });
  const auto message = [&] {
    reads = 0;
    return message_of<std::exception>([&] { const Classifier model(source); });
  };
  fails_at = -1;
  REQUIRE(message() == "(none)");  // what is made once for all models is there
  const int64_t blocks = new_counts.live, tensors = allocator_stats().bytes_in_use;
  int64_t failed = 0, leaks = 0;
  for (fails_at = 0;; ++fails_at) {
    if (message() != "a disk that is gone") break;
    ++failed;
    leaks += new_counts.live != blocks || allocator_stats().bytes_in_use != tensors;
  }
  CHECK(failed > 50);  // each parameter is read
  CHECK(failed == reads);
  CHECK(leaks == 0);
}

TEST_CASE("each allocation of a load from a directory and through a function fails once, and leaves nothing") {
  const TempDir dir;
  write_files(dir / "model", small_classifier());
  for (const bool map : {true, false}) {
    Classifier::Options options;
    options.map_weights = map;
    const Failures directory = fail_each_allocation([&] { const Classifier model(dir / "model", options); });
    CHECK(directory.ended > 1000);
    CHECK(directory.done_without <= 4);
  }
  const ModelSource source = ModelSource::reader(
      [&](const std::string& name, uint64_t offset, std::span<std::byte> out) -> std::optional<uint64_t> {
        const auto found = small_classifier().find(name);
        if (found == small_classifier().end()) return std::nullopt;
        if (!out.empty()) std::memcpy(out.data(), found->second.data() + offset, out.size());
        return found->second.size();
      });
  const Failures reader = fail_each_allocation([&] { const Classifier model(source); });
  CHECK(reader.ended > 1000);
  CHECK(reader.done_without <= 4);
}

TEST_CASE("each allocation of looking inside fails once, and the model answers as before") {
  const Classifier model(ModelSource::memory(small_classifier()), with_precision(Precision::f32));
  const std::vector<std::string> texts = sample_texts(2);
  const auto expected = logits_of(model, texts);
  const Failures failures = fail_each_allocation([&] {
    model.tokenize(texts[0]);
    model.attention(texts[0]);
    model.hidden_states(texts[0]);
    model.parameter(model.parameter_names().back());
    model.parameter_shape("classifier.weight");
    model.label_name(1);
  });
  CHECK(failures.ended > 50);
  CHECK(failures.done_without == 0);
  CHECK(logits_of(model, texts) == expected);
}

TEST_CASE("each allocation behind the C interface fails once: a code, nothing left, and handles that are usable") {
  std::vector<crisp_file> files;
  for (const auto& [name, content] : small_classifier())
    files.push_back({name.c_str(), content.data(), content.size()});
  const crisp_example examples[] = {{"a gem", 1}, {"a mess", 0}, {"so tender", 1}};
  const char* const texts[] = {"a moving film", "the plot is dull"};
  int other_codes = 0;
  const auto call = [&](auto&& calls) {
    return [&other_codes, calls](auto& object) {
      try {
        calls(object);
      } catch (const Code& error) {
        other_codes += error.code != CRISP_OUT_OF_MEMORY;
        throw;
      }
    };
  };
  const auto nothing = [](auto&) {};

  const auto contexts = call([](int&) {
    crisp_context* context = nullptr;
    must(crisp_context_new(&context));
    int code = crisp_context_set(context, "label_names", "a rather long name of a label,another one of them");
    if (!code) code = crisp_context_set(context, "sparse_layers", "0,1,2,3,0,1,2,3,0,1,2,3");
    if (!code) code = crisp_context_set(context, "learning_rate", "0.000050000000000000001");
    crisp_context_free(context);
    must(code);
  });
  const Failures of_contexts = fail_each_allocation([] { return 0; }, contexts, nothing);
  CHECK(of_contexts.ended > 5);

  crisp_context* context = nullptr;
  REQUIRE(crisp_context_new(&context) == CRISP_OK);
  for (const auto& [name, value] : {std::pair{"threads", "1"}, {"max_steps", "2"}, {"eval_steps", "1"}})
    REQUIRE(crisp_context_set(context, name, value) == CRISP_OK);
  const auto loads = call([&](int&) {
    crisp_model* model = nullptr;
    must(crisp_model_load_memory(context, files.data(), files.size(), &model));
    crisp_model_free(model);
  });
  CHECK(fail_each_allocation([] { return 0; }, loads, nothing).ended > 1000);

  crisp_model* model = nullptr;
  REQUIRE(crisp_model_load_memory(context, files.data(), files.size(), &model) == CRISP_OK);
  double expected[4], logits[4];
  REQUIRE(crisp_model_predict(model, texts, 2, nullptr, expected, nullptr) == CRISP_OK);
  const auto asks = call([&](int&) {
    crisp_tokens* tokens = nullptr;
    crisp_array *layer = nullptr, *gradient = nullptr;
    int code = crisp_model_tokenize(model, texts[0], &tokens);
    if (!code) code = crisp_model_hidden(model, texts[0], 1, &layer);
    if (!code) code = crisp_model_gradient(model, texts[0], CRISP_LOSS, 1, nullptr, nullptr, &gradient);
    if (!code) code = crisp_model_predict(model, texts, 2, nullptr, logits, nullptr);
    crisp_free(tokens), crisp_free(layer), crisp_free(gradient);
    must(code);
  });
  int different = 0;
  const Failures of_asking =
      fail_each_allocation([] { return 0; }, asks,
                           [&](int) {
                             different += crisp_model_predict(model, texts, 2, nullptr, logits, nullptr) != CRISP_OK;
                             different += !std::equal(logits, logits + 4, expected);
                           });
  CHECK(of_asking.ended > 100);
  CHECK(of_asking.done_without == 0);
  CHECK(different == 0);
  crisp_model_free(model);

  const auto tunes = call([&](crisp_tuner*& tuner) {
    must(crisp_tuner_new_memory(context, files.data(), files.size(), examples, 3, examples, 3, &tuner));
    int event = CRISP_EVENT_STEP;
    while (event != CRISP_EVENT_END) must(crisp_tuner_next(tuner, &event, nullptr, nullptr));
    crisp_files* saved = nullptr;
    must(crisp_tuner_save_memory(tuner, &saved));
    crisp_free(saved);
  });
  const Failures of_tuning = fail_each_allocation([] { return static_cast<crisp_tuner*>(nullptr); }, tunes,
                                                  [](crisp_tuner* tuner) { crisp_tuner_free(tuner); });
  CHECK(of_tuning.ended > 1500);
  CHECK(other_codes == 0);
  crisp_context_free(context);
}
