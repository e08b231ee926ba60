// Where memory runs out or a disk is full, a training and a save fail, and what is good stays good.
#include "tests/train/door/leaks.h"
#include "weights/file_calls.h"

#include <cerrno>
#include <stdexcept>

using namespace crisp;
using namespace crisp::test;

namespace {

// Nothing is flushed, which saves time; the n-th other call that changes files fails, and if so told all after it.
class Disk : public file_calls::Observer {
 public:
  explicit Disk(int64_t n = -1, int error = 0, bool for_good = false) : n_(n), error_(error), for_good_(for_good) {
    file_calls::observe(this);
  }
  ~Disk() override { file_calls::observe(nullptr); }
  int before(const file_calls::Call& call) override {
    if (call.kind == file_calls::Kind::fsync) return EINVAL;  // "nothing to flush"
    const int64_t number = calls_++;
    return n_ >= 0 && (number == n_ || (for_good_ && number > n_)) ? error_ : 0;
  }
  void after(const file_calls::Call&, int64_t) override {}
  bool failed() const { return n_ >= 0 && calls_ > n_; }

 private:
  const int64_t n_;
  const int error_;
  const bool for_good_;
  int64_t calls_ = 0;
};

// A directory with one model, into which another is saved.
class Replacement {
 public:
  Replacement() {
    const Disk fast;
    old_.save(directory_, true);
    old_logits_ = logits_of(old_.classifier(), texts_);
    new_logits_ = logits_of(new_.classifier(), texts_);
    REQUIRE(old_logits_ != new_logits_);
  }
  void put_old() {
    const Disk fast;
    old_.save(directory_, true);
  }
  void put_new() { new_.save(directory_, true); }
  // What loads from the directory is one of the two, whole.
  bool is_whole() {
    const auto now = logits_of(Classifier(directory_, with_precision(Precision::f32)), texts_);
    ++(now == new_logits_ ? new_models : old_models);
    return now == new_logits_ || now == old_logits_;
  }
  int old_models = 0, new_models = 0;

 private:
  static FineTuner tuner(int64_t steps) {
    FineTuner made(ModelSource::memory(small_classifier()), sample_examples(8), short_training());
    while (made.steps_done() < steps) made.step();
    return made;
  }
  const TempDir dir_;
  const std::string directory_ = dir_ / "model";
  const std::vector<std::string> texts_ = sample_texts(2);
  FineTuner old_ = tuner(0), new_ = tuner(4);
  std::vector<std::vector<double>> old_logits_, new_logits_;
};

}  // namespace

TEST_CASE("each allocation of a training with evaluations fails once: it trains on or says why not") {
  const std::vector<FineTuner::Example> examples = sample_examples(8), few = sample_examples(3, "dev");
  FineTuner::Options options = short_training();
  options.threads = 1;
  options.max_steps = 2;
  options.eval_steps = 1;
  struct Count : FineTuner::Observer {
    int steps = 0, evaluations = 0;
    bool on_step(const FineTuner::Step&) override { return ++steps > 0; }
    bool on_evaluation(const FineTuner::Evaluation&) override { return ++evaluations > 0; }
  };
  int refused = 0, done = 0, silent = 0;
  const auto prepare = [&] { return FineTuner(ModelSource::memory(small_classifier()), examples, few, options); };
  const auto run = [](FineTuner& tuner) {
    Count all;
    tuner.run(all);
    if (all.steps != 2 || all.evaluations != 2) throw std::logic_error("the observer was not told of all");
  };
  const Failures failures = fail_each_allocation(prepare, run, [&](FineTuner& tuner) {
    silent += tuner.evaluate(few).total != 3;
    logits_of(tuner.classifier(), {"a film"});  // finite
    const std::string message = message_of<UsageError>([&] {
      while (!tuner.finished()) tuner.step();
    });
    ++(message == "(none)" ? done : refused);
    silent += message != "(none)" && !contains(message, "the training cannot go on: ");
  });
  CHECK(failures.ended > 60);
  CHECK(failures.done_without == 0);
  CHECK(refused > 10);
  CHECK(done > 10);  // an evaluation that failed takes nothing from a training
  CHECK(silent == 0);

  FineTuner tuner = prepare();
  const ModelFiles files = tuner.save_to_memory();
  const Failures others = fail_each_allocation([&] {
    tuner.evaluate(few);
    tuner.classifier();
    tuner.save_to_memory();
  });
  CHECK(others.ended > 500);
  CHECK(others.done_without <= 4);
  CHECK(tuner.save_to_memory() == files);
  tuner.run();
}

TEST_CASE("each allocation of a save fails once: the directory holds the former model or the new one") {
  Replacement model;
  int damaged = 0;
  const Failures failures = fail_each_allocation(
      [&] {
        model.put_old();
        return 0;
      },
      [&](int) {
        const Disk fast;
        model.put_new();
      },
      [&](int) { damaged += !model.is_whole(); });
  CHECK(damaged == 0);
  CHECK(failures.ended > 500);
  CHECK(model.old_models > 500);
  CHECK(model.new_models > 3);
}

TEST_CASE("whichever call of a save fails, as on a full disk, the directory holds the former model or the new one") {
  Replacement model;
  for (const bool for_good : {false, true}) {
    int damaged = 0, refused = 0;
    bool failed = true;
    for (int64_t n = 0; failed; ++n) {
      model.put_old();
      {
        const Disk full(n, ENOSPC, for_good);
        refused += message_of<Error>([&] { model.put_new(); }) != "(none)";
        failed = full.failed();
      }
      damaged += !model.is_whole();
    }
    CHECK(damaged == 0);
    CHECK(refused > 10);
    CHECK(model.old_models > 10);
  }
  const Disk fast;
  model.put_new();  // now there is room
  CHECK(model.is_whole());
}

TEST_CASE("whichever call of a save fails, of the directories that it made those without a model go") {
  const TempDir dir;
  write_file(dir / "notes.txt", "mine");
  FineTuner tuner(ModelSource::memory(small_classifier()), sample_examples(8), short_training());
  int gone = 0, there = 0, refused = 0;
  bool failed = true;
  for (int64_t n = 0; failed; ++n) {
    {
      const Disk full(n, ENOSPC);
      refused += message_of<Error>([&] { tuner.save(dir / "new/model"); }) != "(none)";
      failed = full.failed();
    }
    if (names_in(dir.path()) == std::vector<std::string>{"notes.txt"}) {
      ++gone;
    } else {
      const Classifier loads(dir / "new/model", with_precision(Precision::f32));
      ++there;
    }
    std::filesystem::remove_all(dir / "new");
  }
  CHECK(gone > 10);
  CHECK(there > 3);
  CHECK(refused >= gone);

  std::filesystem::create_directories(dir / "empty");  // it was there before
  const Disk full(0, ENOSPC, true);
  CHECK(message_of<Error>([&] { tuner.save(dir / "empty"); }) != "(none)");
  CHECK(names_in(dir.path()) == std::vector<std::string>{"empty", "notes.txt"});
}

TEST_CASE("a save to a file system that is read-only says so") {
  const TempDir dir;
  FineTuner tuner(ModelSource::memory(small_classifier()), sample_examples(8), short_training());
  const auto refusal = [&](const std::string& directory) {
    const Disk read_only(0, EROFS, true);
    return message_of<Error>([&] { tuner.save(directory, true); });
  };
  CHECK(refusal(dir / "new") == dir / "new: cannot be created: Read-only file system");
  {
    const Disk fast;
    tuner.save(dir / "model");
  }
  CHECK(refusal(dir / "model") ==
        dir / "model: a model cannot be written here: Read-only file system; choose another directory");
}
