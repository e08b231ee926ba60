#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "train/durable/checkpoint_manifest.h"
#include "train/durable/checkpoint_store.h"
#include "train/durable/lock_holders.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;
using test::contains;
using test::message_of;
using Names = std::vector<std::string>;

// Writes a checkpoint's files: two, one of them in a folder.
auto files_of(const std::string& content) {
  return [content](const std::string& dir) {
    test::write_file(dir + "/model.safetensors", content);
    fs::create_directory(dir + "/state");
    test::write_file(dir + "/state/adam", content + content);
  };
}

std::string model_of(const Checkpoint& checkpoint) { return test::read_file(checkpoint.path + "/model.safetensors"); }

TEST_CASE("a checkpoint is saved whole and found again") {
  const test::TempDir dir;
  CheckpointStore store(dir.path());
  CHECK_FALSE(store.newest_valid().has_value());
  CHECK(store.save(9, files_of("nine")) == dir / "checkpoint-9");
  store.save(10, files_of("ten"));
  CHECK(test::names_in(dir.path()) == Names{"checkpoint-10", "checkpoint-9"});
  CHECK(test::names_in(dir / "checkpoint-10") == Names{"manifest.json", "model.safetensors", "state"});

  const std::optional<Checkpoint> newest = store.newest_valid();
  REQUIRE(newest);
  CHECK(newest->step == 10);
  CHECK(model_of(*newest) == "ten");
  CHECK(contains(test::read_file(newest->path + "/manifest.json"), "\"size\": 6"));
}

TEST_CASE("a damaged checkpoint is passed over with the reason, whatever the damage") {
  struct Damage {
    std::function<void(const std::string& checkpoint)> inflict;
    std::string reason;
  };
  const Damage damages[] = {
      {[](const std::string& c) { fs::resize_file(c + "/model.safetensors", 2); },
       "model.safetensors has 2 bytes instead of 3"},
      {[](const std::string& c) { test::write_file(c + "/model.safetensors", "tuo"); },
       "model.safetensors has been altered"},
      {[](const std::string& c) { fs::remove(c + "/state/adam"); }, "state/adam is missing"},
      {[](const std::string& c) { fs::remove(c + "/manifest.json"); }, "has no manifest.json"},
      {[](const std::string& c) { test::write_file(c + "/manifest.json", "{\"format\": "); },
       "manifest.json is damaged or not one of ours"},
      {[](const std::string& c) { test::write_file(c + "/manifest.json", ""); },
       "manifest.json is damaged or not one of ours"},
      {[](const std::string& c) {
         fs::remove(c + "/state/adam");
         fs::create_symlink("../model.safetensors", c + "/state/adam");
       },
       "state/adam is not a regular file"},
      {[](const std::string& c) {
         std::string text = test::read_file(c + "/manifest.json");
         text.replace(text.find("state/adam"), 10, "../../etc");
         test::write_file(c + "/manifest.json", text);
       },
       "manifest.json is damaged or not one of ours"},
      {[](const std::string& c) {
         std::string text = test::read_file(c + "/manifest.json");
         text.replace(text.find("\"step\": 2"), 9, "\"step\": 3");
         test::write_file(c + "/manifest.json", text);
       },
       "manifest.json is that of step 3"},
  };
  for (const Damage& damage : damages) {
    INFO(damage.reason);
    const test::TempDir dir;
    CheckpointStore store(dir.path());
    store.save(1, files_of("one"));
    store.save(2, files_of("two"));
    damage.inflict(dir / "checkpoint-2");
    Names reasons;
    const std::optional<Checkpoint> newest = store.newest_valid(&reasons);
    REQUIRE(newest);
    CHECK(newest->step == 1);
    CHECK(reasons == Names{(dir / "checkpoint-2: ") + damage.reason});

    // When all are damaged, to start afresh silently would throw work away.
    fs::remove(dir / "checkpoint-1/manifest.json");
    const std::string message = message_of<BadInput>([&] { store.newest_valid(); });
    CHECK(contains(message, "no checkpoint is usable; --overwrite starts afresh"));
    CHECK(contains(message, damage.reason));
  }
}

TEST_CASE("what a manifest or a lock names cannot steer a terminal") {
  const test::TempDir dir;
  const Manifest manifest = parse_manifest(R"({"format": "crisp-checkpoint", "version": 1, "step": 1,
                         "files": {"a\u001b[2J": {"size": 1, "sha256": ""}}})",
                                           "m");
  CHECK(manifest_damage(dir.path(), manifest) == R"("a\u001b[2J" is missing)");
  test::write_file(dir / "lock", "h\x1b[2J 1 5\n");
  CHECK(living_lock_holder(dir / "lock").starts_with(R"(process 1 on host "h\u001b[2J")"));
}

TEST_CASE("a file added to a checkpoint by someone else does no harm") {
  const test::TempDir dir;
  CheckpointStore store(dir.path());
  store.save(1, files_of("one"));
  test::write_file(dir / "checkpoint-1/notes.txt", "mine");
  CHECK(store.newest_valid()->step == 1);
  remove_checkpoint(dir / "checkpoint-1");
  CHECK(test::read_file(dir / "checkpoint-1/notes.txt") == "mine");
  CHECK_FALSE(fs::exists(dir / "checkpoint-1/model.safetensors"));
  CHECK_FALSE(is_our_checkpoint(dir / "checkpoint-1"));
}

TEST_CASE("other names are no checkpoints") {
  const test::TempDir dir;
  for (const char* name : {"checkpoint-", "checkpoint-best", "checkpoint-01", "checkpoint--1", "checkpoint-1x",
                           "checkpoint-99999999999999999999", "Checkpoint-1"}) {
    fs::create_directory(dir / name);
  }
  test::write_file(dir / "checkpoint-5", "a file");
  CHECK(CheckpointStore(dir.path()).list().empty());
}

TEST_CASE("a failure while saving leaves the earlier checkpoints and no debris") {
  const test::TempDir dir;
  CheckpointStore store(dir.path());
  store.save(1, files_of("one"));
  const std::string message = message_of<Error>([&] {
    store.save(2, [](const std::string& tmp) {
      test::write_file(tmp + "/model.safetensors", "half of");
      fail("{}/adam: cannot be written: No space left on device", tmp);
    });
  });
  CHECK(contains(message, "the checkpoint of step 2 could not be saved"));
  CHECK(contains(message, "No space left on device"));
  CHECK(contains(message, "are intact"));
  CHECK_THROWS_AS(store.save(3, [](const std::string&) {}), Error);  // no file at all
  CHECK_THROWS_AS(store.save(3, [](const std::string&) { throw std::bad_alloc(); }), std::bad_alloc);
  CHECK(test::names_in(dir.path()) == Names{"checkpoint-1"});
  CHECK(model_of(*store.newest_valid()) == "one");
}

TEST_CASE("a process that dies while it saves leaves the earlier checkpoint, and its debris is cleaned up") {
  const test::TempDir dir;
  CheckpointStore(dir.path()).save(1, files_of("one"));
  for (const bool replacing : {false, true}) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      CheckpointStore(dir.path()).save(replacing ? 1 : 2, [](const std::string& tmp) {
        test::write_file(tmp + "/model.safetensors", "half");
        ::_exit(9);
      });
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WEXITSTATUS(status) == 9);
    CHECK(test::names_in(dir.path()).size() == 2);  // the temporary folder

    const CheckpointStore store(dir.path());
    CHECK(test::names_in(dir.path()) == Names{"checkpoint-1"});
    CHECK(model_of(*store.newest_valid()) == "one");
  }
}

TEST_CASE("an interrupted removal is finished by the next run") {
  const test::TempDir dir;
  CheckpointStore(dir.path()).save(1, files_of("one"));
  fs::rename(dir / "checkpoint-1", dir / ".removing-checkpoint-1");
  const CheckpointStore store(dir.path());
  CHECK(test::names_in(dir.path()).empty());
}

TEST_CASE("a checkpoint of the same step is replaced") {
  const test::TempDir dir;
  CheckpointStore store(dir.path());
  store.save(1, files_of("old"));
  store.save(1, files_of("new"));
  CHECK(test::names_in(dir.path()) == Names{"checkpoint-1"});
  CHECK(model_of(*store.newest_valid()) == "new");
}

TEST_CASE("a directory that is not ours is set aside, not deleted") {
  const test::TempDir dir;
  CheckpointStore store(dir.path());
  fs::create_directory(dir / "checkpoint-1");
  test::write_file(dir / "checkpoint-1/pytorch_model.bin", "precious");
  store.prune(0);
  CHECK(fs::exists(dir / "checkpoint-1/pytorch_model.bin"));
  CHECK_THROWS_AS(remove_checkpoint(dir / "checkpoint-1"), Error);
  store.save(1, files_of("one"));
  CHECK(test::names_in(dir.path()) == Names{"checkpoint-1", "checkpoint-1.set-aside-1"});
  CHECK(test::read_file(dir / "checkpoint-1.set-aside-1/pytorch_model.bin") == "precious");
}

TEST_CASE("pruning keeps the newest and the best") {
  const test::TempDir dir;
  CheckpointStore store(dir.path());
  for (const int64_t step : {2, 10, 30, 40}) store.save(step, files_of("x"));
  store.prune(2, {2});
  CHECK(test::names_in(dir.path()) == Names{"checkpoint-2", "checkpoint-30", "checkpoint-40"});
  store.prune(1, {40});
  CHECK(test::names_in(dir.path()) == Names{"checkpoint-40"});
  store.prune(1, {});
  CHECK(test::names_in(dir.path()) == Names{"checkpoint-40"});
}

TEST_CASE("a damaged newer checkpoint does not push the good one out") {
  const test::TempDir dir;
  CheckpointStore(dir.path()).save(30, files_of("x"));
  fs::resize_file(dir / "checkpoint-30/model.safetensors", 0);
  CheckpointStore store(dir.path());
  store.save(20, files_of("y"));
  store.prune(1);
  CHECK(store.newest_valid()->step == 20);
  store.save(30, files_of("z"));
  store.prune(1);
  CHECK(test::names_in(dir.path()) == Names{"checkpoint-30"});
  CHECK(model_of(*store.newest_valid()) == "z");
}

}  // namespace
}  // namespace crisp
