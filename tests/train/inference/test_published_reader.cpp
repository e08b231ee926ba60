// A model's directory is read while another process publishes in it.
#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "tests/support/catch.h"
#include "tests/train/durable/crash_model.h"
#include "tests/train/small_run.h"
#include "tests/train/support.h"
#include "train/durable/output_directory.h"
#include "train/inference/model_files.h"
#include "weights/file_changes.h"
#include "weights/publication.h"
#include "weights/published.h"

namespace crisp::test {
namespace {

constexpr int versions = 2;

// Two models of the same sizes, also in bytes, that differ in weights, configuration and vocabulary.
class Models {
 public:
  Models() {
    for (int version = 0; version < versions; ++version) {
      std::vector<std::string> words = small_vocabulary();
      words.back() = fmt::format("version{}", version);
      DistilBertConfig config = small_config();
      config.vocab_size = static_cast<int64_t>(words.size());
      config.label_names = {fmt::format("version {}", version), "b", "c"};
      const DistilBert model = random_model(config, DType::f32, static_cast<uint64_t>(version));
      first_weights_.push_back(model.parameters()[0].tensor.data<float>()[0]);
      make_directory(path(version));
      save_model(path(version), model, {.path = "vocab.txt", .vocabulary = {words, words.size()}}, small_max_length,
                 Flush::by_caller);
    }
  }

  std::string path(int version) const { return dir_ / fmt::format("version-{}", version); }
  void copy_to(const std::string& directory, int version) const {
    for (const std::string& name : names_in(path(version)))
      std::filesystem::copy_file(path(version) + "/" + name, directory + "/" + name);
  }

  /// The version that all of it is of; "mixed", or what loading said instead.
  std::string read(const std::string& directory) const {
    try {
      const LoadedModel loaded = load_model(directory, {.head_required = true});
      for (int version = 0; version < versions; ++version)
        if (loaded.model.parameters()[0].tensor.data<float>()[0] == first_weights_[static_cast<size_t>(version)] &&
            loaded.model.config().label_names.at(0) == fmt::format("version {}", version) &&
            loaded.tokenizer.vocabulary.tokens.back() == fmt::format("version{}", version))
          return std::to_string(version);
      return "mixed";
    } catch (const std::exception& error) {
      return error.what();
    }
  }

 private:
  TempDir dir_;
  std::vector<float> first_weights_;
};

OutputDirectory output_at(const std::string& path) { return {path, model_file_names(), false, false}; }

void publish(OutputDirectory& output, const Models& models, int version) {
  output.publish([&](const std::string& directory) { models.copy_to(directory, version); });
}

TEST_CASE("each read during 200 publications finds one version whole") {
  const Models models;
  const TempDir dir;
  const NoFlush fast;
  OutputDirectory output = output_at(dir / "out");
  publish(output, models, 0);
  constexpr int publications = 200;
  std::atomic<int> reads = 0, published = 0;
  std::string failure;
  // At most two publications ahead of the reads, so that each read meets some and none is put off for ever.
  std::thread writer([&] {
    try {
      for (int i = 1; i <= publications; ++i) {
        while (i > reads + 2) std::this_thread::yield();
        publish(output, models, i % versions);
        published = i;
      }
    } catch (const std::exception& error) {
      failure = error.what();
      published = publications;
    }
  });
  std::map<std::string, int> seen;
  while (published < publications) {
    ++seen[models.read(dir / "out")];
    ++reads;
  }
  writer.join();
  CHECK(failure == "");
  std::printf("%d reads during %d publications\n", reads.load(), publications);
  for (const auto& [what, count] : seen) {
    INFO(what << ": " << count << " times");
    CHECK((what == "0" || what == "1"));
  }
}

// Before each call that the other process makes there is a read.
class ReadBeforeEachCall : public file_calls::Observer {
 public:
  ReadBeforeEachCall(const Models& models, std::string directory) : models_(models), directory_(std::move(directory)) {
    file_calls::observe(this);
  }
  ~ReadBeforeEachCall() override { file_calls::observe(nullptr); }
  int before(const file_calls::Call& call) override {
    const std::string found = models_.read(directory_);
    if (seen_.empty() || seen_.back() != found) seen_.push_back(found);
    return call.kind == file_calls::Kind::fsync ? EINVAL : 0;
  }
  void after(const file_calls::Call&, int64_t) override {}
  /// In the order of time.
  const std::vector<std::string>& seen() const { return seen_; }

 private:
  const Models& models_;
  std::string directory_;
  std::vector<std::string> seen_;
};

TEST_CASE("between any two calls of a publication a reader finds the old version or the new one") {
  const Models models;
  const TempDir dir;
  OutputDirectory output = output_at(dir / "out");
  publish(output, models, 0);
  for (const std::string given : {"out", "out/model.safetensors"}) {
    const ReadBeforeEachCall reader(models, dir / given);
    publish(output, models, 1);
    publish(output, models, 0);
    CHECK(reader.seen() == std::vector<std::string>{"0", "1", "0"});
  }
  // The test would see a publication that is none.
  const ReadBeforeEachCall reader(models, dir / "out");
  for (const std::string& name : names_in(models.path(1)))
    write_file_atomically(dir / "out/" + name, read_file(models.path(1) + "/" + name));
  CHECK(std::count(reader.seen().begin(), reader.seen().end(), "mixed") > 0);
}

TEST_CASE("a read that a publication overtakes, with any of its steps, begins again") {
  const Models models;
  const auto step = [&](const std::string& out, int which) {
    if (which == 0) {
      announce_publication(out, out + "/staging", [&](const std::string& staging) { models.copy_to(staging, 1); });
    } else if (which == 1) {
      place_publication(out, model_file_names());
    } else {
      forget_publication(out);
    }
  };
  const NoFlush fast;
  // Of the steps, `before` happen before the read, and those from there to `during` after its first file.
  for (int before = 0; before < 3; ++before) {
    for (int during = before + 1; during <= 3; ++during) {
      CAPTURE(before, during);
      const TempDir dir;
      models.copy_to(dir.path(), 0);
      for (int i = 0; i < before; ++i) step(dir.path(), i);
      int reads = 0;
      const std::string found = read_published(dir.path(), [&] {
        const std::string vocabulary = read_file(published_directory(dir.path()) + "/vocab.txt");
        for (int i = before; i < during && reads == 0; ++i) step(dir.path(), i);
        ++reads;
        const std::string config = read_file(published_directory(dir.path()) + "/config.json");
        for (int version = 0; version < versions; ++version)
          if (contains(vocabulary, fmt::format("version{}", version)) &&
              contains(config, fmt::format("version {}", version)))
            return std::to_string(version);
        return std::string("mixed");
      });
      CHECK(found == "1");
      CHECK(reads == (before == 1 && during == 2 ? 1 : 2));  // .crisp-publication stays where it is
    }
  }
}

TEST_CASE("a directory that changes during every read is given up with a word") {
  const TempDir dir;
  int n = 0;
  const std::string message = message_of<Error>([&] {
    read_published(dir.path(), [&] {
      write_file(dir / "config.json", std::string(static_cast<size_t>(++n), 'x'));
      return 0;
    });
  });
  CHECK(message == dir.path() + ": changes all the time; try again later");
}

}  // namespace
}  // namespace crisp::test
