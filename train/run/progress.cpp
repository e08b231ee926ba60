#include "train/run/progress.h"

#include <fmt/ranges.h>

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "engine/error.h"
#include "train/durable/console.h"

namespace crisp {
namespace {

constexpr const char* erase_line = "\r\x1b[K";

bool is_terminal(int fd) {
  const char* term = std::getenv("TERM");
  return ::isatty(fd) == 1 && !(term != nullptr && std::string_view(term) == "dumb");
}

int terminal_width(int fd) {
  struct winsize size {};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

// "epoch 1.25/3"; a run whose length was given in steps has a fraction there.
std::string epoch_text(const ProgressState& state) {
  const bool whole = state.epochs == std::floor(state.epochs);
  return fmt::format("epoch {:.2f}/{:.{}f}", state.epoch, state.epochs, whole ? 0 : 2);
}

std::string short_number(double value) {
  if (value >= 1e6) return fmt::format("{:.1f}M", value / 1e6);
  if (value >= 1e4) return fmt::format("{:.1f}k", value / 1e3);
  return fmt::format("{:.0f}", value);
}

double part_of(int64_t done, int64_t total) {
  return total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 0;
}

// What is known, the most wanted first; `briefly`, the rate comes last and is rounded.
std::vector<std::string> parts_of(const ProgressState& state, bool briefly) {
  std::vector<std::string> parts{fmt::format("step {}/{}", state.step, state.total_steps), epoch_text(state)};
  if (!std::isnan(state.loss)) parts.push_back(fmt::format("loss {:.4f}", state.loss));
  if (state.eta_seconds >= 0) parts.push_back("ETA " + format_duration(state.eta_seconds));
  if (state.tokens_per_second <= 0) return parts;
  const std::string rate =
      (briefly ? short_number(state.tokens_per_second) : fmt::format("{:.0f}", state.tokens_per_second)) + " tokens/s";
  parts.insert(parts.end() - (!briefly && state.eta_seconds >= 0), rate);
  return parts;
}

std::vector<std::string> parts_of(const EvaluationProgress& state) {
  std::vector<std::string> parts{fmt::format("evaluating {} {}/{}", state.what, state.done, state.total)};
  if (state.eta_seconds >= 0) parts.push_back("ETA " + format_duration(state.eta_seconds));
  return parts;
}

std::string joined(const std::vector<std::string>& parts) { return fmt::format("{}", fmt::join(parts, "  ")); }

// `parts`: the most wanted first.
std::string bar_of(std::vector<std::string> parts, double done, int width) {
  const size_t columns = width > 0 ? static_cast<size_t>(width) : 0;
  while (joined(parts).size() > columns && parts.size() > 1) parts.pop_back();
  std::string text = joined(parts);
  text.resize(std::min(text.size(), columns));

  const size_t room = columns - text.size();
  if (room < 10 + 4) return text;  // a bar of ten, its brackets, two spaces
  const size_t cells = std::min<size_t>(room - 4, 30);
  const auto filled = static_cast<size_t>(done * static_cast<double>(cells));
  std::string bar(filled, '=');
  if (filled < cells) bar += '>';
  bar.resize(cells, ' ');
  return fmt::format("[{}]  {}", bar, text);
}

}  // namespace

std::string format_duration(double seconds) {
  const auto total = static_cast<int64_t>(std::llround(std::clamp(seconds, 0.0, 1e9)));
  const int64_t hours = total / 3600, minutes = total / 60 % 60, rest = total % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, rest);
  return fmt::format("{}:{:02}", minutes, rest);
}

std::string format_progress_bar(const ProgressState& state, int width) {
  return bar_of(parts_of(state, true), part_of(state.step, state.total_steps), width);
}

std::string format_progress_bar(const EvaluationProgress& state, int width) {
  return bar_of(parts_of(state), part_of(state.done, state.total), width);
}

std::string format_progress_line(const ProgressState& state) { return joined(parts_of(state, false)); }

std::string format_progress_line(const EvaluationProgress& state) { return joined(parts_of(state)); }

double Progress::Pace::eta(int64_t done, int64_t total) {
  if (!start) {
    start = Clock::now();
    first = done;
  }
  if (done <= first) return -1;
  return std::chrono::duration<double>(Clock::now() - *start).count() / static_cast<double>(done - first) *
         static_cast<double>(std::max<int64_t>(0, total - done));
}

Progress::Progress(int64_t logging_steps, int fd)
    : logging_steps_(logging_steps), fd_(fd), terminal_(is_terminal(fd)) {}

Progress::~Progress() { finish(); }

void Progress::update(ProgressState state) {
  const double eta = steps_.eta(state.step, state.total_steps);
  if (state.eta_seconds < 0) state.eta_seconds = eta;
  state_ = state;
  const bool last = state.step >= state.total_steps;
  if (terminal_) {
    if (last || redraw_due()) draw();
  } else if (last || (logging_steps_ > 0 && state.step % logging_steps_ == 0)) {
    write_message(fd_, format_progress_line(state_) + "\n");
  }
}

void Progress::evaluating(EvaluationProgress state) {
  if (++batches_ == 1) examples_ = {};
  const double eta = examples_.eta(state.done, state.total);
  if (state.eta_seconds < 0) state.eta_seconds = eta;
  evaluation_ = std::move(state);
  if (evaluation_.done >= evaluation_.total) {
    batches_ = 0;
    if (drawn_) steps_.start ? draw() : erase();  // no bar of an evaluation that is over
  } else if (terminal_) {
    if (redraw_due()) draw();
  } else if (logging_steps_ > 0 && batches_ % logging_steps_ == 0) {
    write_message(fd_, format_progress_line(evaluation_) + "\n");
  }
}

void Progress::message(const std::string& line) {
  const bool redraw = drawn_;
  erase();
  write_message(fd_, printable_lines(line) + "\n");
  if (redraw) draw();
}

void Progress::finish() {
  erase();
  batches_ = 0;
}

void Progress::draw() {
  // One column stays free: a full line would make some terminals wrap.
  const int width = terminal_width(fd_) - 1;
  write_message(
      fd_, erase_line + (batches_ > 0 ? format_progress_bar(evaluation_, width) : format_progress_bar(state_, width)));
  drawn_ = true;
  last_draw_ = Clock::now();
}

void Progress::erase() {
  if (drawn_) write_message(fd_, erase_line);
  drawn_ = false;
}

}  // namespace crisp
