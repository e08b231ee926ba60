// What the user sees while training: one redrawn line on a terminal, plain lines elsewhere.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace crisp {

struct ProgressState {
  double epoch = 0;   // done so far, 1.25 after a quarter of the second
  double epochs = 0;  // of the whole run
  int64_t step = 0;   // done so far
  int64_t total_steps = 0;
  double loss = 0;               // NaN: not known yet
  double tokens_per_second = 0;  // 0: not known yet
  double eta_seconds = -1;       // below 0: not known yet
};

struct EvaluationProgress {
  std::string what;   // "dev"
  int64_t done = 0;   // sentences
  int64_t total = 0;  // of them
  double eta_seconds = -1;
};

/// One line of at most `width` columns (ASCII), without line end: "[===>   ]  step 250/600  epoch 1.25/3  loss 0.3071".
/// In a narrow terminal the bar goes first, then the parts from the right.
std::string format_progress_bar(const ProgressState& state, int width);
std::string format_progress_bar(const EvaluationProgress& state, int width);
/// The same facts as a line for a log file, without a bar.
std::string format_progress_line(const ProgressState& state);
std::string format_progress_line(const EvaluationProgress& state);
/// "0:07", "12:34", "1:02:03".
std::string format_duration(double seconds);

class Progress {
 public:
  /// Writes to `fd` (stderr), as a bar if that is a terminal, else as a line every `logging_steps` steps (0: none) and
  /// after the last, and every so many batches of an evaluation.
  explicit Progress(int64_t logging_steps, int fd = 2);
  /// Erases the bar.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Call after every step. Fills in eta_seconds from the steps since the first call.
  void update(ProgressState state);
  /// Call after every batch of an evaluation, to the last. Fills in eta_seconds from the batches since the first.
  void evaluating(EvaluationProgress state);
  /// A line of text for the user; a bar is taken away for it and redrawn below.
  void message(const std::string& line);
  template <class First, class... Rest>
  void message(fmt::format_string<First, Rest...> line, First&& first, Rest&&... rest) {
    message(fmt::format(line, std::forward<First>(first), std::forward<Rest>(rest)...));
  }
  /// Erases the bar, for instance before a summary.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr auto redraw_interval = std::chrono::milliseconds(100);
  // The time that is left, from what was done since the first call; -1 then.
  struct Pace {
    std::optional<Clock::time_point> start;
    int64_t first = 0;
    double eta(int64_t done, int64_t total);
  };
  void draw();
  void erase();
  bool redraw_due() const { return !drawn_ || Clock::now() - last_draw_ >= redraw_interval; }

  int64_t logging_steps_;
  int fd_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point last_draw_;
  Pace steps_, examples_;
  ProgressState state_;
  int64_t batches_ = 0;  // of the evaluation that goes on; 0: none
  EvaluationProgress evaluation_;
};

}  // namespace crisp
