#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <limits>

#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "train/durable/checkpoint_store.h"
#include "train/durable/output_directory.h"
#include "train/durable/tensorboard.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;
using test::contains;
using test::message_of;
using Names = std::vector<std::string>;

const Names run_files = {"metrics.jsonl", "model.safetensors", "config.json"};

// What a run does in its directory.
void run_in(const std::string& path) {
  const OutputDirectory output(path, run_files, false, false);
  test::write_file(output.file("metrics.jsonl"), "{}\n");
  test::write_file(output.file("model.safetensors"), "weights");
  const TensorBoardWriter events(path);
  CheckpointStore(path).save(5, [](const std::string& tmp) { test::write_file(tmp + "/model.safetensors", "w"); });
}

TEST_CASE("a directory is made with its parents, locked while in use, and marked") {
  const test::TempDir dir;
  {
    const OutputDirectory output(dir / "a/b/", run_files, false, false);
    CHECK(output.path() == dir / "a/b");
    CHECK_FALSE(output.holds_run());
    CHECK(test::names_in(dir / "a/b") == Names{".crisp.lock", "crisp_run.json"});
    const std::string message = message_of<UsageError>([&] { OutputDirectory(dir / "a/b", run_files, true, false); });
    CHECK(contains(message, "another run is writing here"));
  }
  CHECK(test::names_in(dir / "a/b") == Names{"crisp_run.json"});
}

TEST_CASE("a run that is refused before it has written anything leaves nothing, and a former run as it is") {
  const test::TempDir dir;
  const auto no_room = [](const OutputDirectory&) { throw Error("no room"); };
  const auto refusal = [&](const std::string& path, bool overwrite) {
    return message_of<Error>([&] { OutputDirectory(path, run_files, false, overwrite, {}, no_room); });
  };
  CHECK(refusal(dir / "a/b", false) == "no room");
  CHECK(test::names_in(dir.path()).empty());
  fs::create_directory(dir / "mine");
  CHECK(refusal(dir / "mine", false) == "no room");
  CHECK(test::names_in(dir / "mine").empty());
  run_in(dir / "out");
  const Names before = test::names_in(dir / "out");
  CHECK(refusal(dir / "out", true) == "no room");
  CHECK(test::names_in(dir / "out") == before);

  // What it is asked with.
  std::string place;
  const OutputDirectory output(dir / "out", run_files, false, true, {},
                               [&](const OutputDirectory& chosen) { place = chosen.path(); });
  CHECK(place == output.path());
  CHECK(place == dir / "out/.crisp-new-run");
  CHECK(output.bytes_to_go() == 0);
}

TEST_CASE("a run that --overwrite began is given up only when the next one may start, and its room counts as free") {
  const test::TempDir dir;
  run_in(dir / "out");
  {
    const OutputDirectory begun(dir / "out", run_files, false, true);
    test::write_file(begun.file("metrics.jsonl"), std::string(100'000, ' '));
    CheckpointStore(begun.path()).save(7, [](const std::string& tmp) {
      test::write_file(tmp + "/model.safetensors", std::string(50'000, 'w'));
    });
  }
  const std::string begun = dir / "out/.crisp-new-run";
  const Names before = test::names_in(begun);
  uint64_t to_go = 0;
  const auto ask = [&](bool room) {
    return [&to_go, room](const OutputDirectory& chosen) {
      to_go = chosen.bytes_to_go();
      if (!room) throw Error("no room");
    };
  };
  const auto start = [&](bool room) { OutputDirectory(dir / "out", run_files, false, true, {}, ask(room)); };
  CHECK(message_of<Error>([&] { start(false); }) == "no room");
  CHECK(to_go >= 150'000);
  CHECK(to_go < 250'000);
  CHECK(test::names_in(begun) == before);
  CHECK_FALSE(list_checkpoints(begun).empty());
  // A run that goes on with it gives nothing up.
  OutputDirectory(dir / "out", run_files, true, false, {}, ask(true));
  CHECK(to_go == 0);
  CHECK(test::names_in(begun) == before);
  start(true);
  CHECK(to_go >= 150'000);
  CHECK_FALSE(fs::exists(begun));
  CHECK(fs::exists(dir / "out/checkpoint-5"));
}

TEST_CASE("the lock of a process that was killed does not linger") {
  const test::TempDir dir;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const LockFile lock = lock_directory(dir.path());
    ::_exit(9);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(fs::exists(dir / ".crisp.lock"));
  CHECK_NOTHROW(lock_directory(dir.path()));
}

TEST_CASE("a directory that holds a run is refused, with both ways out") {
  const test::TempDir dir;
  run_in(dir.path());
  const Names before = test::names_in(dir.path());
  const std::string message = message_of<UsageError>([&] { OutputDirectory(dir.path(), run_files, false, false); });
  CHECK(contains(message, "holds a run"));
  CHECK(contains(message, "--resume"));
  CHECK(contains(message, "--overwrite"));
  CHECK(test::names_in(dir.path()) == before);
  CHECK_THROWS_AS(OutputDirectory(dir.path(), run_files, true, true), UsageError);
}

TEST_CASE("a run that ended before it wrote anything does not stand in the way") {
  const test::TempDir dir;
  { const OutputDirectory first(dir.path(), run_files, false, false); }
  CHECK_NOTHROW(OutputDirectory(dir.path(), run_files, false, false));
  CHECK_FALSE(OutputDirectory(dir.path(), run_files, true, false).holds_run());
}

// What a run does at its first evaluation.
void publish(OutputDirectory& output, const std::string& weights) {
  output.publish([&](const std::string& directory) {
    test::write_file(directory + "/model.safetensors", weights);
    test::write_file(directory + "/config.json", "of " + weights);
  });
}

TEST_CASE("the option --overwrite deletes what the run wrote and nothing else, when there is a new model") {
  const test::TempDir dir;
  run_in(dir.path());
  test::write_file(dir / "notes.txt", "mine");
  test::write_file(dir / "events.out.tfevents.1.host", "another program's");
  test::write_file(dir / ".model.safetensors.tmp-123-0", "left by a crash");
  {
    OutputDirectory output(dir.path(), run_files, false, true);
    CHECK_FALSE(output.holds_run());
    CHECK(output.replaces_run());
    CHECK(output.path() == dir / ".crisp-new-run");
    test::write_file(output.file("metrics.jsonl"), "new\n");
    CheckpointStore(output.path()).save(3, [](const std::string& tmp) { test::write_file(tmp + "/model", "w"); });
    CHECK(test::read_file(dir / "model.safetensors") == "weights");
    CHECK(test::read_file(dir / "metrics.jsonl") == "{}\n");
    CHECK(CheckpointStore(dir.path()).newest_valid()->step == 5);

    publish(output, "new weights");
    CHECK(output.path() == dir.path());
    CHECK_FALSE(output.replaces_run());
    publish(output, "newer weights");
  }
  CHECK(test::names_in(dir.path()) == Names{"checkpoint-3", "config.json", "crisp_run.json",
                                            "events.out.tfevents.1.host", "metrics.jsonl", "model.safetensors",
                                            "notes.txt"});
  CHECK(test::read_file(dir / "model.safetensors") == "newer weights");
  CHECK(test::read_file(dir / "config.json") == "of newer weights");
  CHECK(test::read_file(dir / "metrics.jsonl") == "new\n");
  CHECK(OutputDirectory(dir.path(), run_files, true, false).holds_run());
}

TEST_CASE("a new run without a model is found again by --resume, and goes with --overwrite") {
  const test::TempDir dir;
  run_in(dir.path());
  const Names former = test::names_in(dir.path());
  { const OutputDirectory output(dir.path(), run_files, false, true); }
  CHECK(test::names_in(dir.path()) == former);  // nothing had been written: as if it had never been
  {
    const OutputDirectory output(dir.path(), run_files, false, true);
    test::write_file(output.file("metrics.jsonl"), "new\n");
  }
  CHECK(contains(message_of<UsageError>([&] { OutputDirectory(dir.path(), run_files, false, false); }),
                 "holds a run that --overwrite began and that has no model yet; --resume continues it"));
  {
    const OutputDirectory output(dir.path(), run_files, true, false);
    CHECK(output.holds_run());
    CHECK(output.replaces_run());
    CHECK_FALSE(output.has_model());
    CHECK(test::read_file(output.file("metrics.jsonl")) == "new\n");
  }
  { const OutputDirectory output(dir.path(), run_files, false, true); }
  CHECK(test::names_in(dir.path()) == former);
  CHECK(CheckpointStore(dir.path()).newest_valid()->step == 5);
}

TEST_CASE("a checkpoint that no run of ours wrote stops --overwrite before anything is touched") {
  const test::TempDir dir;
  run_in(dir.path());
  fs::create_directory(dir / "checkpoint-7");
  const Names before = test::names_in(dir.path());
  CHECK(contains(message_of<UsageError>([&] { OutputDirectory(dir.path(), run_files, false, true); }), "checkpoint-7"));
  CHECK(test::names_in(dir.path()) == before);
}

TEST_CASE("the option --overwrite follows no link out of the directory") {
  const test::TempDir dir;
  run_in(dir / "out");
  test::write_file(dir / "precious", "x");
  fs::remove(dir / "out/model.safetensors");
  fs::create_symlink("../precious", dir / "out/model.safetensors");
  OutputDirectory output(dir / "out", run_files, false, true);
  publish(output, "new");
  CHECK_FALSE(fs::is_symlink(dir / "out/model.safetensors"));
  CHECK(test::read_file(dir / "out/model.safetensors") == "new");
  CHECK(test::read_file(dir / "precious") == "x");
}

TEST_CASE("the option --resume finds the run, or starts one where there is none") {
  const test::TempDir dir;
  CHECK_FALSE(OutputDirectory(dir / "new", run_files, true, false).holds_run());
  run_in(dir / "old");
  OutputDirectory output(dir / "old", run_files, true, false);
  CHECK(output.holds_run());
  CHECK(test::read_file(dir / "old/model.safetensors") == "weights");
  output.clear();
  CHECK(test::names_in(dir / "old") == Names{".crisp.lock", "crisp_run.json"});
}

TEST_CASE("files that no run of ours wrote are never in danger") {
  for (const bool resume : {false, true}) {
    for (const bool overwrite : {false, true}) {
      if (resume && overwrite) continue;
      const test::TempDir dir;
      test::write_file(dir / "model.safetensors", "precious");
      fs::create_directory(dir / "checkpoint-500");  // transformers uses this name, too
      const std::string message =
          message_of<UsageError>([&] { OutputDirectory(dir.path(), run_files, resume, overwrite); });
      CHECK(contains(message, "model.safetensors, checkpoint-500"));
      CHECK(contains(message, "choose another --output"));
      CHECK(test::names_in(dir.path()) == Names{"checkpoint-500", "model.safetensors"});
    }
  }
}

TEST_CASE("what the run reads is not deleted by it, by whatever name") {
  const test::TempDir dir;
  run_in(dir / "out");
  test::write_file(dir / "out/notes.txt", "no file of a run");
  test::write_file(dir / "elsewhere", "x");
  fs::create_symlink("out/model.safetensors", dir / "link");
  fs::create_symlink("../elsewhere", dir / "out/config.json");  // a link that would be deleted
  fs::create_directory_symlink("out", dir / "alias");
  const Names before = test::names_in(dir / "out");
  const auto message = [&](const std::string& input) {
    return message_of<UsageError>([&] { OutputDirectory(dir / "out", run_files, false, true, {input}); });
  };
  for (const char* input : {"out/model.safetensors", "out/../out/./model.safetensors", "link", "alias/metrics.jsonl",
                            "out/config.json", "out/checkpoint-5/model.safetensors"}) {
    INFO(input);
    CHECK(contains(message(dir / input), std::string(input) + ": this run reads it"));
    CHECK(test::names_in(dir / "out") == before);
  }
  const Names harmless{dir / "out/notes.txt", dir / "elsewhere", dir / "none"};
  CHECK_FALSE(OutputDirectory(dir / "out", run_files, false, true, harmless).has_model());
  CHECK(test::read_file(dir / "out/notes.txt") == "no file of a run");
}

TEST_CASE("records without a model are called by their name") {
  const test::TempDir dir;
  { test::write_file(OutputDirectory(dir.path(), run_files, false, false).file("metrics.jsonl"), "{}\n"); }
  const std::string message = message_of<UsageError>([&] { OutputDirectory(dir.path(), run_files, false, false); });
  CHECK(contains(message, "left neither a model nor a checkpoint; --overwrite deletes them"));
  CHECK_FALSE(OutputDirectory(dir.path(), run_files, true, false).has_model());
}

TEST_CASE("a damaged marker deletes nothing, and cannot name files elsewhere") {
  const test::TempDir dir;
  for (const std::string text :
       {"", "[]", "{\"format\":\"crisp-run\",\"files\":[\"../precious\"]}",
        "{\"format\":\"crisp-run\",\"files\":[\"..\"]}", "{\"format\":\"other\",\"files\":[]}"}) {
    test::write_file(dir / "crisp_run.json", text);
    CHECK(contains(message_of<BadInput>([&] { OutputDirectory(dir.path(), run_files, false, true); }), "damaged"));
  }
}

TEST_CASE("an output that cannot be a directory is refused") {
  const test::TempDir dir;
  test::write_file(dir / "file", "x");
  CHECK(contains(message_of<UsageError>([&] { OutputDirectory(dir / "file", run_files, false, false); }),
                 "is not a directory"));
  CHECK(contains(message_of<Error>([&] { OutputDirectory(dir / "file/out", run_files, false, false); }),
                 "cannot be created"));
  CHECK_THROWS_AS(OutputDirectory("", run_files, false, false), UsageError);
}

TEST_CASE("a place where nothing can be made is refused, even for the superuser") {
  CHECK(contains(message_of<Error>([&] { OutputDirectory("/proc/crisp-output", run_files, false, false); }),
                 "/proc/crisp-output: cannot be created"));
}

TEST_CASE("a directory that cannot be written is found at once") {
  if (::geteuid() == 0) CRISP_SKIP("the superuser may write everywhere");
  const test::TempDir dir;
  fs::permissions(dir.path(), fs::perms::owner_read | fs::perms::owner_exec);
  CHECK(
      contains(message_of<Error>([&] { OutputDirectory(dir.path(), run_files, false, false); }), "Permission denied"));
  fs::permissions(dir.path(), fs::perms::owner_all);
}

TEST_CASE("too little free space is found before the training") {
  const test::TempDir dir;
  const OutputDirectory output(dir.path(), run_files, false, false);
  CHECK_NOTHROW(require_free_space(output.path(), 1, "the run"));
  const std::string message =
      message_of<Error>([&] { require_free_space(output.path(), std::numeric_limits<int64_t>::max(), "the run"); });
  CHECK(contains(message, "the run needs about 9223 PB"));
  // A file system that says it has no blocks at all.
  struct statvfs status {};
  if (::statvfs("/proc", &status) == 0 && status.f_blocks == 0)
    CHECK_NOTHROW(require_free_space("/proc", std::numeric_limits<int64_t>::max(), "the run"));
}

TEST_CASE("amounts of bytes are shown in decimal units") {
  CHECK(format_bytes(0) == "0 bytes");
  CHECK(format_bytes(999) == "999 bytes");
  CHECK(format_bytes(1000) == "1.0 kB");
  CHECK(format_bytes(12'345) == "12 kB");
  CHECK(format_bytes(999'999) == "1.0 MB");
  CHECK(format_bytes(267'900'000) == "268 MB");
  CHECK(format_bytes(1'540'000'000) == "1.5 GB");
}

}  // namespace
}  // namespace crisp
