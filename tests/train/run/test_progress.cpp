#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>

#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "train/run/progress.h"

namespace crisp {
namespace {

const ProgressState halfway{.epoch = 1.25,
                            .epochs = 3,
                            .step = 250,
                            .total_steps = 500,
                            .loss = 0.30712,
                            .tokens_per_second = 12345,
                            .eta_seconds = 62};

TEST_CASE("durations read like a clock") {
  CHECK(format_duration(0) == "0:00");
  CHECK(format_duration(7.4) == "0:07");
  CHECK(format_duration(59.6) == "1:00");
  CHECK(format_duration(754) == "12:34");
  CHECK(format_duration(3723) == "1:02:03");
  CHECK(format_duration(360000) == "100:00:00");
}

TEST_CASE("the progress bar shows all where there is room") {
  CHECK(format_progress_bar(halfway, 120) ==
        "[===============>              ]  step 250/500  epoch 1.25/3  loss 0.3071  ETA 1:02  12.3k tokens/s");
}

TEST_CASE("the progress bar never exceeds the width and drops the least wanted parts first") {
  for (int width = 0; width < 130; ++width) {
    CHECK(format_progress_bar(halfway, width).size() <= static_cast<size_t>(width));
  }
  CHECK(format_progress_bar(halfway, 70) == "step 250/500  epoch 1.25/3  loss 0.3071  ETA 1:02  12.3k tokens/s");
  CHECK(format_progress_bar(halfway, 30) == "step 250/500  epoch 1.25/3");
  CHECK(format_progress_bar(halfway, 4) == "step");
}

TEST_CASE("what is not known yet is left out") {
  const ProgressState start{.epochs = 3, .total_steps = 500, .loss = std::nan("")};
  CHECK(format_progress_bar(start, 60) == "[>                             ]  step 0/500  epoch 0.00/3");
  CHECK(format_progress_line(start) == "step 0/500  epoch 0.00/3");
  CHECK(format_progress_line(halfway) == "step 250/500  epoch 1.25/3  loss 0.3071  12345 tokens/s  ETA 1:02");
}

TEST_CASE("a finished bar is full, a run without steps has an empty one") {
  ProgressState state{.epochs = 1, .step = 5, .total_steps = 5, .loss = 1};
  CHECK(format_progress_bar(state, 80).starts_with("[==============================]"));
  CHECK(test::contains(format_progress_line({.epoch = 0.01, .epochs = 0.095, .step = 1}), "epoch 0.01/0.10"));
  state.total_steps = state.step = 0;
  CHECK(format_progress_bar(state, 80).starts_with("[>   "));
}

TEST_CASE("elsewhere than on a terminal there is a line every logging_steps steps and after the last") {
  const test::TempDir dir;
  const int fd = ::open((dir / "log").c_str(), O_CREAT | O_WRONLY, 0600);
  {
    Progress progress(4, fd);
    for (int64_t step = 1; step <= 10; ++step) {
      progress.update({.epochs = 1, .step = step, .total_steps = 10, .loss = 0.5, .eta_seconds = 3});
      if (step == 5) progress.message("evaluated");
    }
  }
  ::close(fd);
  CHECK(test::read_file(dir / "log") ==
        "step 4/10  epoch 0.00/1  loss 0.5000  ETA 0:03\n"
        "evaluated\n"
        "step 8/10  epoch 0.00/1  loss 0.5000  ETA 0:03\n"
        "step 10/10  epoch 0.00/1  loss 0.5000  ETA 0:03\n");
}

TEST_CASE("an evaluation is shown like training, every so many batches, and not when it is over") {
  const EvaluationProgress some{.what = "dev", .done = 200, .total = 800, .eta_seconds = 62};
  CHECK(format_progress_line(some) == "evaluating dev 200/800  ETA 1:02");
  CHECK(format_progress_bar(some, 80) == "[=======>                      ]  evaluating dev 200/800  ETA 1:02");
  CHECK(format_progress_bar(some, 30) == "evaluating dev 200/800");

  const test::TempDir dir;
  const int fd = ::open((dir / "log").c_str(), O_CREAT | O_WRONLY, 0600);
  {
    Progress progress(2, fd);
    for (const char* what : {"dev", "others"})
      for (int64_t done = 10; done <= 60; done += 10)
        progress.evaluating({.what = what, .done = done, .total = 60, .eta_seconds = 3});
  }
  ::close(fd);
  CHECK(test::read_file(dir / "log") ==
        "evaluating dev 20/60  ETA 0:03\n"
        "evaluating dev 40/60  ETA 0:03\n"
        "evaluating others 20/60  ETA 0:03\n"
        "evaluating others 40/60  ETA 0:03\n");
}

TEST_CASE("on a terminal one line is redrawn, and messages come out whole") {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0) CRISP_SKIP("no pseudo-terminals here");
  const int terminal = ::open(::ptsname(master), O_RDWR | O_NOCTTY);
  REQUIRE(terminal >= 0);
  struct winsize size {};
  size.ws_col = 31;
  ::ioctl(terminal, TIOCSWINSZ, &size);
  const char* term = std::getenv("TERM");
  const std::string old_term = term ? term : "";
  ::setenv("TERM", "xterm", 1);
  {
    Progress progress(1, terminal);
    progress.update({.epochs = 1, .step = 1, .total_steps = 2, .loss = 0.5, .eta_seconds = 3});
    progress.message("evaluated");
    progress.evaluating({.what = "dev", .done = 1, .total = 1});  // too short to be seen: the bar as it was
    progress.update({.epochs = 1, .step = 2, .total_steps = 2, .loss = 0.5, .eta_seconds = 0});
  }
  if (term) {
    ::setenv("TERM", old_term.c_str(), 1);
  } else {
    ::unsetenv("TERM");
  }
  const std::string erase = "\r\x1b[K";
  const std::string expected = erase + "step 1/2  epoch 0.00/1" + erase + "evaluated\r\n" + erase +
                               "step 1/2  epoch 0.00/1" + erase + "step 1/2  epoch 0.00/1" + erase +
                               "step 2/2  epoch 0.00/1" + erase;
  // A pseudo-terminal hands over what was written in pieces, as the kernel gets to it.
  std::string shown;
  pollfd readable{master, POLLIN, 0};
  while (shown.size() < expected.size() && ::poll(&readable, 1, 10'000) == 1) {
    char buffer[1000];
    const ssize_t n = ::read(master, buffer, sizeof buffer);
    if (n <= 0) break;
    shown.append(buffer, static_cast<size_t>(n));
  }
  ::close(terminal);
  ::close(master);
  CHECK(shown == expected);
}

TEST_CASE("a reader that went away does not end the run") {
  Progress progress(1, -1);
  progress.update({.epochs = 1, .step = 1, .total_steps = 1, .loss = 0.5});
}

}  // namespace
}  // namespace crisp
