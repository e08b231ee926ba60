#include "train/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "engine/error.h"

namespace crisp {
namespace {

constexpr auto redraw_interval = std::chrono::milliseconds(100);
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

}  // namespace

std::string format_duration(double seconds) {
  const auto total = static_cast<int64_t>(std::llround(std::clamp(seconds, 0.0, 1e9)));
  const int64_t hours = total / 3600, minutes = total / 60 % 60, rest = total % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, rest);
  return fmt::format("{}:{:02}", minutes, rest);
}

std::string format_progress_bar(const ProgressState& state, int width) {
  const size_t columns = width > 0 ? static_cast<size_t>(width) : 0;
  std::vector<std::string> parts;  // the most wanted first
  parts.push_back(fmt::format("step {}/{}", state.step, state.total_steps));
  parts.push_back(epoch_text(state));
  if (!std::isnan(state.loss)) parts.push_back(fmt::format("loss {:.4f}", state.loss));
  if (state.eta_seconds >= 0) parts.push_back("ETA " + format_duration(state.eta_seconds));
  if (state.tokens_per_second > 0) parts.push_back(short_number(state.tokens_per_second) + " tokens/s");
  std::string text = fmt::format("{}", fmt::join(parts, "  "));
  while (text.size() > columns && parts.size() > 1) {
    parts.pop_back();
    text = fmt::format("{}", fmt::join(parts, "  "));
  }
  text.resize(std::min(text.size(), columns));

  const size_t room = columns - text.size();
  if (room < 10 + 4) return text;  // a bar of ten, its brackets, two spaces
  const size_t cells = std::min<size_t>(room - 4, 30);
  const double done =
      state.total_steps > 0 ? static_cast<double>(state.step) / static_cast<double>(state.total_steps) : 0;
  const auto filled = static_cast<size_t>(std::clamp(done, 0.0, 1.0) * static_cast<double>(cells));
  std::string bar(filled, '=');
  if (filled < cells) bar += '>';
  bar.resize(cells, ' ');
  return fmt::format("[{}]  {}", bar, text);
}

std::string format_progress_line(const ProgressState& state) {
  std::string text = fmt::format("step {}/{}  {}", state.step, state.total_steps, epoch_text(state));
  if (!std::isnan(state.loss)) text += fmt::format("  loss {:.4f}", state.loss);
  if (state.tokens_per_second > 0) text += fmt::format("  {:.0f} tokens/s", state.tokens_per_second);
  if (state.eta_seconds >= 0) text += "  ETA " + format_duration(state.eta_seconds);
  return text;
}

Progress::Progress(int64_t logging_steps, int fd)
    : logging_steps_(logging_steps), fd_(fd), terminal_(is_terminal(fd)) {}

Progress::~Progress() { finish(); }

void Progress::update(ProgressState state) {
  const Clock::time_point now = Clock::now();
  if (!started_) {
    started_ = true;
    start_ = now;
    first_step_ = state.step;
  }
  if (state.eta_seconds < 0 && state.step > first_step_) {
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    state.eta_seconds = elapsed / static_cast<double>(state.step - first_step_) *
                        static_cast<double>(std::max<int64_t>(0, state.total_steps - state.step));
  }
  state_ = state;
  const bool last = state.step >= state.total_steps;
  if (terminal_) {
    if (!drawn_ || last || now - last_draw_ >= redraw_interval) draw();
  } else if (last || (logging_steps_ > 0 && state.step % logging_steps_ == 0)) {
    put(format_progress_line(state_) + "\n");
  }
}

void Progress::message(const std::string& line) {
  const bool redraw = drawn_;
  erase();
  put(line + "\n");
  if (redraw) draw();
}

void Progress::finish() { erase(); }

void Progress::draw() {
  // One column stays free: a full line would make some terminals wrap.
  put(erase_line + format_progress_bar(state_, terminal_width(fd_) - 1));
  drawn_ = true;
  last_draw_ = Clock::now();
}

void Progress::erase() {
  if (drawn_) put(erase_line);
  drawn_ = false;
}

// That nobody can read the progress is no reason to end the training, so errors are ignored.
void Progress::put(const std::string& text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t n = ::write(fd_, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    rest.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace crisp
