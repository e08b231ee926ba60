// crisp-train on a disk that becomes full.
#include <fmt/format.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

namespace fs = std::filesystem;

// A mount that this process and those that it starts see; by any user where the system lets users have namespaces.
class SmallDisk {
 public:
  explicit SmallDisk(std::string path) : path_(std::move(path)) {
    const auto user = ::getuid(), group = ::getgid();
    if (::unshare(CLONE_NEWNS) != 0) {
      if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return;
      write_file("/proc/self/setgroups", "deny");
      write_file("/proc/self/uid_map", fmt::format("0 {} 1", user));
      write_file("/proc/self/gid_map", fmt::format("0 {} 1", group));
    }
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
    fs::create_directory(path_);
    mounted_ = ::mount("tmpfs", path_.c_str(), "tmpfs", 0, "size=32m") == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool mounted() const { return mounted_; }
  /// Leaves so many bytes free, in whole pages.
  void fill(uint64_t free_bytes) const {
    const int fd = ::open((path_ + "/filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    int error;
    do {  // again if the run has taken some of it meanwhile
      struct statvfs status {};
      REQUIRE(::statvfs(path_.c_str(), &status) == 0);
      const uint64_t page = status.f_frsize, room = status.f_bavail * page;
      error = room <= free_bytes ? 0 : ::posix_fallocate(fd, 0, static_cast<off_t>((room - free_bytes) / page * page));
    } while (error == ENOSPC);
    ::close(fd);
    REQUIRE(error == 0);
  }
  void make_room() const { fs::remove(path_ + "/filler"); }

 private:
  std::string path_;
  bool mounted_ = false;
};

// What the files of a directory take, in pages.
uint64_t bytes_in(const std::string& directory) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(directory)) bytes += (entry.file_size() + 4095) / 4096 * 4096;
  return bytes;
}

class FullDisk : public Workshop {
 public:
  FullDisk() : disk(*this / "small") {}

  // The program prints a line a step, so it is some sixty steps ahead of the test at most.
  static Words steps(const Words& more) { return Words{"--max-steps", "300", "--logging-steps", "1"} + more; }

  // A run that the disk ends, on which so much is free from step `step` (or up to seventy later) on.
  Outcome train_until_full(int step, uint64_t free_bytes, const Words& more) const {
    Process process(train_command("small/out", steps(more)), here());
    REQUIRE(process.wait_for_error(fmt::format("step {}/300", step)));
    disk.fill(free_bytes);
    return process.wait();
  }

  std::string answers(const std::string& model) const {
    const Outcome outcome = predict({"--model", model, "--json", "dev.tsv"});
    CAPTURE(outcome.err);
    CHECK(outcome.exit_code == 0);
    return outcome.out;
  }

  void check_resumes(const Words& more) const {
    disk.make_room();
    const Outcome outcome = train("small/out", steps(more) + Words{"--resume"});
    CAPTURE(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    REQUIRE(train("whole", steps(more)).exit_code == 0);
    check_same_run(*this, "small/out", "whole");
  }

  SmallDisk disk;
};

TEST_CASE("a disk that is full at a checkpoint costs that checkpoint alone") {
  const FullDisk at;
  if (!at.disk.mounted()) CRISP_SKIP("no file system may be mounted here");
  const Words options{"--eval-steps", "100", "--save-steps", "5"};
  const Outcome outcome = at.train_until_full(10, 64 << 10, options);
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(contains(outcome.err, "crisp-train: the checkpoint of step "));
  CHECK(contains(outcome.err, " could not be saved: small/out/.saving-checkpoint-"));
  CHECK(contains(outcome.err,
                 ": cannot be written: No space left on device\nEarlier "
                 "checkpoints in small/out are intact.\n"));
  REQUIRE(at.checkpoints("small/out").size() == 1);
  CHECK(at.answers("small/out/" + at.checkpoints("small/out")[0]) != "");
  CHECK_FALSE(at.metrics("small/out").empty());
  at.check_resumes(options);
}

TEST_CASE("a run for which there is no room is refused and leaves nothing") {
  const FullDisk at;
  if (!at.disk.mounted()) CRISP_SKIP("no file system may be mounted here");
  at.disk.fill(64 << 10);
  const Outcome outcome = at.train("small/new/out", {"--max-steps", "2"});
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(contains(outcome.err, " are free on its disk, the run needs about "));
  CHECK(contains(outcome.err, "; make room or choose another --output\n"));
  CHECK_FALSE(at.has("small/new"));
  at.disk.make_room();
  CHECK(at.train("small/new/out", {"--max-steps", "2"}).exit_code == 0);
}

TEST_CASE("a disk that is full at a publication leaves the former model, and the next start publishes") {
  const FullDisk at;
  if (!at.disk.mounted()) CRISP_SKIP("no file system may be mounted here");
  const Words options{"--eval-steps", "150"};
  REQUIRE(at.train("small/out", {"--max-steps", "2", "--seed", "9"}).exit_code == 0);
  const std::string before = at.answers("small/out");
  REQUIRE(at.train("sizes", {"--max-steps", "1"}).exit_code == 0);
  // The logs take less than 64 KiB of it, the model takes 144 KiB.
  const uint64_t checkpoint = bytes_in(at / "sizes/checkpoint-1");
  const Outcome outcome = at.train_until_full(10, checkpoint + (128 << 10), options + Words{"--overwrite"});
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(contains(outcome.err, "crisp-train: small/out/.crisp-new-run/.crisp-publishing/"));
  CHECK(contains(outcome.err, ": cannot be written: No space left on device"));
  CHECK(at.answers("small/out") == before);
  CHECK(at.checkpoints("small/out/.crisp-new-run") == std::vector<std::string>{"checkpoint-150"});
  CHECK_FALSE(at.has("small/out/.crisp-new-run/.crisp-publishing"));
  at.check_resumes(options);
}

TEST_CASE("a disk that is full at a log line ends the run, and the lines before it and the checkpoint stay") {
  const FullDisk at;
  if (!at.disk.mounted()) CRISP_SKIP("no file system may be mounted here");
  const Words options{"--eval-steps", "300", "--save-steps", "100"};
  const Outcome outcome = at.train_until_full(101, 0, options);
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(contains(outcome.err, ": cannot be written: No space left on device\n"));
  CHECK(at.metrics("small/out").size() > 100);
  CHECK(at.checkpoints("small/out") == std::vector<std::string>{"checkpoint-100"});
  at.check_resumes(options);
}

}  // namespace
}  // namespace crisp::test
