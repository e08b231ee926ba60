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
// Returns how many of them ended it; one that did not is an error.
template <class F>
int fail_each_allocation(F&& f) {
  f();
  f();
  const int64_t blocks = new_counts.live, tensors = allocator_stats().bytes_in_use;
  int failed = 0, unnoticed = 0, leaks = 0;
  for (bool reached = true; reached;) {
    bool thrown = false;
    new_counts.allowed = failed + unnoticed;
    try {
      f();
    } catch (const std::exception&) {
      thrown = true;
    }
    reached = new_counts.allowed < 0;
    new_counts.allowed = -1;
    if (reached) ++(thrown ? failed : unnoticed);
    leaks += new_counts.live != blocks || allocator_stats().bytes_in_use != tensors;
  }
  CHECK(unnoticed == 0);
  CHECK(leaks == 0);
  return failed;
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
  CHECK(fail_each_allocation([&] {
          model.predict(texts);
          model.gradients("a film", Classifier::Objective::loss(1), {"classifier.weight"});
        }) > 80);
  CHECK(logits_of(model, texts) == expected);
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
  message();
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
