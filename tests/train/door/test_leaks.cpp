// Loads that fail leave nothing behind: no memory, no descriptor.
#include "engine/cpu/memory/allocator.h"
#include "tests/support/counting_new.h"
#include "tests/train/door/door.h"

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
  const auto call = [&] {
    model.predict(texts);
    model.gradients("a film", Classifier::Objective::loss(1), {"classifier.weight"});
  };
  call();
  call();
  const int64_t blocks = new_counts.live, tensors = allocator_stats().bytes_in_use;
  // Each allocation of the calls fails once.
  int failed = 0, unnoticed = 0;
  for (bool reached = true; reached;) {
    bool thrown = false;
    new_counts.allowed = failed + unnoticed;
    try {
      call();
    } catch (const std::exception&) {
      thrown = true;
    }
    reached = new_counts.allowed < 0;
    new_counts.allowed = -1;
    if (reached) ++(thrown ? failed : unnoticed);
  }
  call();
  const int64_t blocks_now = new_counts.live, tensors_now = allocator_stats().bytes_in_use;  // before Catch takes more
  CHECK(failed > 80);
  CHECK(unnoticed == 0);
  CHECK(blocks_now == blocks);
  CHECK(tensors_now == tensors);
  CHECK(logits_of(model, texts) == expected);
}
