// Studies that are stopped, killed or warned while a run is under way.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "tests/tools/studio.h"

namespace crisp::test {
namespace {

// Lets one run write its progress into a pipe that nobody reads, so that it stops in the middle, whatever the machine's
// speed, until drain() is called.
class Dam {
 public:
  explicit Dam(const Studio& at) : path_(at / "dam") {
    REQUIRE(::mkfifo(path_.c_str(), 0600) == 0);
    fd_ = ::open(path_.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    REQUIRE(fd_ >= 0);
    (void)::fcntl(fd_, F_SETPIPE_SZ, 4096);
    // The first start of sparse, seed 0.
    at.write("dammed",
             std::string("#!/bin/sh\ncase \"$*\" in *sparse/seed-0*) if mkdir once 2> /dev/null; then exec ") +
                 CRISP_TRAIN + " \"$@\" 2> dam; fi;; esac\nexec " + CRISP_TRAIN + " \"$@\"\n");
    std::filesystem::permissions(at / "dammed", std::filesystem::perms::owner_all);
  }
  ~Dam() {
    close();
    ::close(fd_);
  }
  void wait_until_full() const {
    for (int before = -1;;) {
      int waiting = 0;
      ::ioctl(fd_, FIONREAD, &waiting);
      if (waiting > 4096 - 200 && waiting == before) return;
      before = waiting;
      ::usleep(10'000);
    }
  }
  void drain() {
    reader_ = std::thread([this] {
      char buffer[4096];
      while (open_) {
        struct pollfd ready {
          fd_, POLLIN, 0
        };
        if (::poll(&ready, 1, 10) <= 0) continue;
        const ssize_t n = ::read(fd_, buffer, sizeof buffer);
        if (n < 0) return;
        text_.append(buffer, static_cast<size_t>(n));
      }
    });
  }
  /// What came after drain(), up to now; nothing more is read.
  std::string text() {
    close();
    return text_;
  }

 private:
  void close() {
    open_ = false;
    if (reader_.joinable()) reader_.join();
  }

  std::string path_, text_;
  int fd_ = -1;
  std::atomic<bool> open_{true};
  std::thread reader_;
};

const Words long_runs{"--epochs", "12", "--logging-steps", "1", "--eval-steps", "40"};

TEST_CASE("a study that is interrupted goes on where it stopped, to the same results") {
  const int number = GENERATE(SIGINT, SIGTERM, SIGHUP);
  const Studio at;
  REQUIRE(at.study("whole", long_runs).exit_code == 0);
  Dam dam(at);
  const Words dammed = long_runs + Words{"--crisp-train", "./dammed"};
  {
    Process process(Studio::command("cut", dammed), at.here());
    REQUIRE(process.wait_for_error("sparse, seed 0: started"));
    dam.wait_until_full();
    process.signal(number);
    REQUIRE(process.wait_for_error("waiting for 1 run to save a checkpoint"));
    dam.drain();
    const Outcome outcome = process.wait();
    CAPTURE(outcome.err);
    CHECK(outcome.exit_code == 128 + number);
    CHECK(contains(outcome.err, "1 of 4 runs are done; start again to go on\n"));
  }
  CHECK(at.status("cut/runs/dense/seed-0") == "complete");
  CHECK(at.status("cut/runs/sparse/seed-0") == "interrupted");
  CHECK_FALSE(at.checkpoints("cut/runs/sparse/seed-0").empty());
  const auto before = identity(at / "cut/runs/dense/seed-0/all_results.json");

  const Outcome rest = at.study("cut", dammed);
  CAPTURE(rest.err);
  CHECK(rest.exit_code == 0);
  CHECK(contains(at.read("cut/runs/sparse/seed-0.log"), "resuming from "));
  CHECK(identity(at / "cut/runs/dense/seed-0/all_results.json") == before);
  CHECK(at.starts("cut") == std::vector<size_t>{1, 1, 2, 1});
  check_same_results(at, "whole", "cut");
}

TEST_CASE("an error that ends a study lets the other runs save") {
  const Studio at;
  const std::string two_arms = at.read("study.json");
  std::string one_arm = two_arms;
  one_arm.replace(one_arm.find(", {\"name\": \"sparse\""), std::string::npos, "]}");
  at.write("study.json", one_arm);
  REQUIRE(at.study("out", long_runs + Words{"--seeds", "1"}).exit_code == 0);
  at.write("study.json", two_arms);
  at.write("train.tsv", at.read("train.tsv") + "one more\t1\n");
  Dam dam(at);
  Process process(
      Studio::command("out", long_runs + Words{"--crisp-train", "./dammed", "--jobs", "2", "--threads", "2"}),
      at.here());
  REQUIRE(process.wait_for_error("stopping: waiting for 1 run to save a checkpoint"));
  dam.drain();
  const Outcome outcome = process.wait();
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 3);
  CHECK(at.status("out/runs/dense/seed-1") == "failed");
  CHECK(at.status("out/runs/sparse/seed-0") == "interrupted");
}

TEST_CASE("the runs of a study that was killed are taken up by another") {
  const Studio at;
  REQUIRE(at.study("whole", long_runs).exit_code == 0);
  Dam dam(at);
  const Words dammed = long_runs + Words{"--crisp-train", "./dammed"};
  Process first(Studio::command("cut", dammed), at.here());
  REQUIRE(first.wait_for_error("sparse, seed 0: started"));
  dam.wait_until_full();
  Process second(Studio::command("cut", dammed), at.here());
  REQUIRE(second.wait_for_error("1 run is in the hands of other processes: waiting"));
  first.signal(SIGKILL);  // its child is asked to save and end, and keeps the lock until it has
  dam.drain();
  const Outcome outcome = second.wait();
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(at.starts("cut") == std::vector<size_t>{1, 1, 2, 1});
  check_same_results(at, "whole", "cut");
}

TEST_CASE("SIGUSR1 reaches the runs of a study, which save and go on") {
  const Studio at;
  Dam dam(at);
  Process process(Studio::command("out", long_runs + Words{"--crisp-train", "./dammed"}), at.here());
  REQUIRE(process.wait_for_error("sparse, seed 0: started"));
  dam.wait_until_full();
  process.signal(SIGUSR1);
  REQUIRE(process.wait_for_error("SIGUSR1: 1 run told to save a checkpoint"));
  dam.drain();
  const Outcome outcome = process.wait();
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(contains(dam.text(), "SIGUSR1: the checkpoint of step "));
  CHECK(at.starts("out") == std::vector<size_t>{1, 1, 1, 1});
}

}  // namespace
}  // namespace crisp::test
