// Loads that fail leave nothing behind: no memory, no descriptor.
#include "engine/cpu/memory/allocator.h"
#include "tests/support/counting_new.h"
#include "tests/train/door/door.h"

#include <cstring>
#include <optional>
#include <span>
#include <stdexcept>

using namespace crisp;
using namespace crisp::test;

namespace {

size_t open_descriptors() { return names_in("/proc/self/fd").size(); }

// What is left of the second and third time that f runs: the first may make what the process keeps.
template <class F>
void check_leaves_nothing(F&& f) {
  f();
  const int64_t blocks = new_counts.live;
  const size_t descriptors = open_descriptors();
  const int64_t tensors = allocator_stats().bytes_in_use;
  for (int i = 0; i < 2; ++i) {
    f();
    CHECK(new_counts.live == blocks);
    CHECK(allocator_stats().bytes_in_use == tensors);
  }
  CHECK(open_descriptors() == descriptors);
}

// f with its first allocation failing, then its second alone, and so on, to the first time that none is left to fail.
// How many of them ended it, and how many it could do without.
struct Failures {
  int ended = 0, done_without = 0;
};
template <class F>
Failures fail_each_allocation(F&& f) {
  f();
  f();
  const int64_t blocks = new_counts.live, tensors = allocator_stats().bytes_in_use;
  Failures failures;
  int leaks = 0;
  for (bool reached = true; reached;) {
    bool thrown = false;
    new_counts.allowed = failures.ended + failures.done_without;
    try {
      f();
    } catch (const std::exception&) {
      thrown = true;
    }
    reached = new_counts.allowed < 0;
    new_counts.allowed = -1;
    if (reached) ++(thrown ? failures.ended : failures.done_without);
    leaks += new_counts.live != blocks || allocator_stats().bytes_in_use != tensors;
  }
  CHECK(leaks == 0);
  return failures;
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
