#include <fmt/format.h>

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/catch.h"
#include "tests/train/durable/crash_model.h"
#include "tests/train/durable/durable_scenarios.h"
#include "tests/train/support.h"
#include "train/durable/checkpoint_store.h"
#include "train/durable/tensorboard.h"
#include "train/run/run.h"
#include "weights/file_calls.h"

namespace crisp::test {
namespace {

namespace fs = std::filesystem;
using file_calls::Kind;

// The n-th call fails, and if so told all after it.
class Failing : public file_calls::Observer {
 public:
  Failing(int n, int error, bool for_good) : left_(n), error_(error), for_good_(for_good) { file_calls::observe(this); }
  ~Failing() override { file_calls::observe(nullptr); }
  int before(const file_calls::Call& call) override {
    if (left_-- == 0) what_ = fmt::format("{} {} {}", file_calls::name_of(call.kind), call.path, call.to);
    if (left_ == -1 || (left_ < -1 && for_good_)) return error_;
    return call.kind == Kind::fsync ? EINVAL : 0;  // "nothing to flush", which saves time
  }
  void after(const file_calls::Call&, int64_t) override {}
  bool failed() const { return left_ < 0; }
  const std::string& what() const { return what_; }

 private:
  int left_, error_;
  bool for_good_;
  std::string what_;
};

TEST_CASE("whichever call of a save, a publication or a new run fails, a good state is left") {
  for (const Scenario& scenario : durable_scenarios()) {
    for (const int error : {EIO, ENOSPC}) {
      const bool for_good = error == EIO;
      int n = 0, refused = 0;
      for (bool failed = true; failed; ++n) {
        const TempDir dir;
        {
          const NoFlush fast;
          scenario.prepare(dir.path());
        }
        int reached = 0;
        std::string message;
        INFO(scenario.name << ", call " << n << ", " << std::strerror(error));
        {
          const Failing failing(n, error, for_good);
          try {
            scenario.act(dir.path(), [&](int level) { reached = level; });
          } catch (const Error& e) {
            message = e.what();
          }
          failed = failing.failed();
          INFO(failing.what() << ": " << message);
          // What was made before the run noticed is nobody's loss; the reverse, an error without a failure, is a bug.
          CHECK((failed || message.empty()));
        }
        refused += !message.empty();
        INFO(message);
        const NoFlush fast;
        CHECK(scenario.complaint(dir.path(), reached, true) == "");
      }
      std::printf("%s: each of %d calls failed (%s%s): %d times an error, no good state lost\n", scenario.name, n - 1,
                  std::strerror(error), for_good ? " from then on" : "", refused);
    }
  }
}

// --- Whole runs.

// Standard error to nowhere.
class Quiet {
 public:
  Quiet() : before_(::dup(2)) {
    const int null = ::open("/dev/null", O_WRONLY);
    ::dup2(null, 2);
    ::close(null);
  }
  ~Quiet() {
    ::dup2(before_, 2);
    ::close(before_);
  }

 private:
  int before_;
};

std::string read_or_nothing(const std::string& path) { return fs::exists(path) ? read_file(path) : ""; }

// A model and data so small that a run takes milliseconds.
void write_task(const std::string& directory) {
  std::string sentences = "sentence\tlabel\n", words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (int i = 0; i < 8; ++i) {
    words += fmt::format("w{}\n", i);
    sentences += fmt::format("w{} w{}\t{}\n", i, 7 - i, i % 2);
  }
  write_file(directory + "/train.tsv", sentences);
  write_file(directory + "/dev.tsv", sentences);
  write_file(directory + "/vocab.txt", words);
  write_file(directory + "/config.json",
             R"({"model_type": "distilbert", "vocab_size": 1, "max_position_embeddings": 8, "dim": 8,
                 "hidden_dim": 8, "n_layers": 1, "n_heads": 1})");
}

int train_task(const std::string& directory, const std::string& output, int64_t steps, bool resume, bool overwrite,
               bool last = false) {
  TrainOptions options;
  options.init = directory + "/config.json";
  options.vocab = directory + "/vocab.txt";
  options.data = directory;
  options.output = output;
  options.max_length = 8;
  options.batch_size = 4;
  options.max_steps = steps;
  options.eval_steps = 1;
  options.logging_steps = 1;
  options.threads = 1;
  options.resume = resume;
  options.overwrite = overwrite;
  options.select_last = last;
  const Quiet quiet;
  return run_training(options, "");
}

// Event files are named after the time of their start.
std::vector<std::string> names_in_run(const std::string& directory) {
  std::vector<std::string> names = names_in(directory);
  std::erase_if(names, [](const std::string& name) { return is_event_file_name(name); });
  return names;
}

// The steps and losses of metrics.jsonl: what does not depend on the time.
std::vector<std::string> logged_in(const std::string& directory) {
  std::vector<std::string> logged;
  std::istringstream lines(read_or_nothing(directory + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto entry = nlohmann::json::parse(line);
    for (const char* name : {"loss", "eval_loss"})
      if (entry.contains(name))
        logged.push_back(fmt::format("{} {} {}", entry["step"].dump(), name, entry[name].dump()));
  }
  return logged;
}

// A run of two steps whose disk is gone once the first has left a checkpoint.
void cut_off_after_first_step(const std::string& directory, const std::string& output, bool last) {
  for (int n = 0; !fs::exists(output + "/checkpoint-1"); ++n) {
    fs::remove_all(output);
    const Failing failing(n, ENOSPC, true);
    try {
      train_task(directory, output, 2, false, false, last);
    } catch (const Error&) {
      continue;
    }
    FAIL("the run did not notice that its disk was gone");
  }
  REQUIRE_FALSE(fs::exists(output + "/checkpoint-2"));
}

TEST_CASE("whichever call of a whole run fails, the run can be resumed and ends with the same model") {
  enum class Start { alone, in_place_of_another, resumed };
  const TempDir task;
  write_task(task.path());
  for (const Start start : {Start::alone, Start::in_place_of_another, Start::resumed}) {
    const bool overwrite = start == Start::in_place_of_another, resume = start == Start::resumed;
    const bool last = !overwrite;  // else the first checkpoint is the best one, and none is ever removed
    const std::string suffix = std::to_string(static_cast<int>(start));
    const std::string former = task / ("former-" + suffix), whole = task / ("whole-" + suffix);
    if (overwrite) REQUIRE(train_task(task.path(), former, 1, false, false, last) == 0);
    if (resume) cut_off_after_first_step(task.path(), former, last);
    REQUIRE(train_task(task.path(), whole, 2, false, false, last) == 0);
    const std::string former_model = read_or_nothing(former + "/model.safetensors");
    const std::string model = read_file(whole + "/model.safetensors");
    const std::vector<std::string> logged = logged_in(whole);
    REQUIRE(logged.size() == 4);
    int n = 0, errors = 0;
    for (bool failed = true; failed; ++n) {
      const std::string out = task / "out";
      fs::remove_all(out);
      if (start != Start::alone) fs::copy(former, out, fs::copy_options::recursive);
      INFO("start " << suffix << ", call " << n);
      {
        const Failing failing(n, ENOSPC, false);
        try {
          train_task(task.path(), out, 2, resume, overwrite, last);
        } catch (const Error&) {
          ++errors;
        }
        failed = failing.failed();
      }
      // No model without its configuration; the former one where there is no new one.
      const std::string found = read_or_nothing(out + "/model.safetensors");
      if (overwrite && !fs::exists(out + "/.crisp-publication")) CHECK_FALSE(found.empty());
      if (!found.empty() && found != former_model) CHECK(fs::exists(out + "/config.json"));
      if (resume) CHECK((fs::exists(out + "/checkpoint-1") || fs::exists(out + "/checkpoint-2") || !found.empty()));
      // What was begun goes on, and where nothing was begun a new run is.
      const bool begun = !overwrite || fs::exists(out + "/.crisp-new-run/crisp_run.json") || found != former_model;
      const NoFlush fast;
      REQUIRE(train_task(task.path(), out, 2, begun, !begun, last) == 0);
      CHECK((read_file(out + "/model.safetensors") == model));
      CHECK(names_in_run(out) == names_in_run(whole));
      CHECK(logged_in(out) == logged);
    }
    std::printf("%s: %d calls, %d runs ended with an error; all were resumed\n",
                resume      ? "a resumed run"
                : overwrite ? "a run in place of another"
                            : "a run",
                n - 1, errors);
  }
}

// --- File systems that cannot do everything.

TEST_CASE("a run works where there are no locks, links, exchanges, flushes or sizes") {
  const TempDir task;
  write_task(task.path());
  for (const int error : {ENOSYS, EOPNOTSUPP}) {
    INFO(std::strerror(error));
    const std::string out = task / fmt::format("out-{}", error);
    const Without less({Kind::flock, Kind::lock_range, Kind::link, Kind::exchange, Kind::statvfs, Kind::fsync}, error);
    CHECK(train_task(task.path(), out, 1, false, false) == 0);
    CHECK(train_task(task.path(), out, 2, false, true) == 0);
    CHECK(train_task(task.path(), out, 2, true, false) == 0);
    for (const std::string& name : names_in(out)) CHECK_FALSE(name.starts_with('.'));
  }
}

TEST_CASE("a disk that is full in the middle of a run costs neither checkpoint nor model") {
  if (::geteuid() != 0) CRISP_SKIP("only the superuser may mount a small tmpfs");
  const TempDir dir;
  write_task(dir.path());
  fs::create_directory(dir / "small");
  if (::mount("tmpfs", (dir / "small").c_str(), "tmpfs", 0, "size=256k") != 0) CRISP_SKIP("no tmpfs can be mounted");
  struct Unmount {
    std::string path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } const unmount{dir / "small"};
  const std::string out = dir / "small/out";
  struct NoSizes : Without {  // else the run would not even start
    NoSizes() : Without({Kind::statvfs}, ENOSYS) {}
  } const no_sizes;
  REQUIRE(train_task(dir.path(), out, 1, false, false) == 0);
  const std::string model = read_file(out + "/model.safetensors");
  const auto checkpoint = CheckpointStore(out).newest_valid();
  REQUIRE(checkpoint);
  {  // leave less than a checkpoint needs, and more than metrics do
    struct statvfs status {};
    REQUIRE(::statvfs(out.c_str(), &status) == 0);
    write_file(dir / "small/filler", std::string((status.f_bavail - 4) * status.f_frsize, 'x'));
  }
  const std::string message = message_of<Error>([&] { train_task(dir.path(), out, 2, false, true); });
  CHECK(contains(message, "the checkpoint of step 1 could not be saved"));
  CHECK(contains(message, "No space left on device"));
  CHECK(read_file(out + "/model.safetensors") == model);
  CHECK(CheckpointStore(out).newest_valid()->path == checkpoint->path);
  fs::remove(dir / "small/filler");
  CHECK(train_task(dir.path(), out, 2, true, false) == 0);
}

}  // namespace
}  // namespace crisp::test
