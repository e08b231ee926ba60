#include "tools/lessons/grader/program.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>

#include "data/input/file.h"
#include "data/input/parse_text.h"
#include "engine/fail.h"
#include "tools/lessons/grader/embedded.h"
#include "tools/lessons/grader/exchange.h"
#include "weights/atomic_file.h"

extern char** environ;

namespace crisp::lessons {
namespace {

constexpr Limits limits_of_compiler = {};
constexpr Limits limits_of_run = {
    .memory = uint64_t{1} << 30, .file_size = uint64_t{1} << 20, .may_fork = false, .output = 4000};

std::string in_path(const std::string& name) {
  if (name.find('/') != std::string::npos) return ::access(name.c_str(), X_OK) == 0 ? name : "";
  const char* path = std::getenv("PATH");
  for (const std::string& directory : split(path ? path : "/usr/bin:/bin", ':')) {
    const std::string file = (directory.empty() ? "." : directory) + "/" + name;
    if (::access(file.c_str(), X_OK) == 0 && std::filesystem::is_regular_file(file))
      return std::filesystem::absolute(file);
  }
  return "";
}

void copy_name(std::span<char> to, const std::string& name) {
  if (name.size() >= to.size()) fail("{}: the name is too long", name);
  std::memcpy(to.data(), name.c_str(), name.size() + 1);
}

Exchange make_header(const Exercise& exercise, const Case& c, bool forward_only) {
  Exchange header = {};
  copy_name(header.exercise, exercise.name);
  header.forward_only = forward_only;
  if (c.sizes.size() > Exchange::most_sizes || c.arrays.size() > Exchange::most_arrays || c.numbers.size() > 1)
    fail("{}: too much for the exchange file", exercise.name);
  for (size_t i = 0; i < c.sizes.size(); ++i) header.sizes[i] = static_cast<int64_t>(c.sizes[i].value);
  if (!c.numbers.empty()) header.number = c.numbers[0].value;
  auto word = static_cast<int64_t>((sizeof header + 7) / 8);
  for (const Array& array : c.arrays) {
    Exchange::Array& place = header.arrays[header.arrays_count++];
    copy_name(place.name, array.name);
    place.written = is_written(array.role);
    place.first = word + Exchange::words_before;
    place.size = array.shape.numel();
    word = place.first + place.size;
  }
  header.bytes = 8 * (word + Exchange::words_before);
  return header;
}

// What lies at a word when the program starts.
std::vector<uint64_t> words_of(const Array& array) {
  std::vector<uint64_t> words(static_cast<size_t>(array.shape.numel()), Exchange::unwritten);
  for (size_t i = 0; i < array.before.size(); ++i)
    words[i] = array.role == Role::labels ? std::bit_cast<uint64_t>(static_cast<int64_t>(array.before[i]))
                                          : std::bit_cast<uint64_t>(array.before[i]);
  return words;
}

std::vector<uint64_t> whole_file(const Exchange& header, const Case& c) {
  std::vector<uint64_t> words(static_cast<size_t>(header.bytes / 8), Exchange::guard);
  std::memcpy(words.data(), &header, sizeof header);
  for (size_t a = 0; a < c.arrays.size(); ++a) {
    const std::vector<uint64_t> own = words_of(c.arrays[a]);
    std::copy(own.begin(), own.end(), words.begin() + header.arrays[a].first);
  }
  return words;
}

// Who has written where nobody may: "" where all is well.
std::string find_stray_write(const Exchange& header, const Case& c, const std::vector<uint64_t>& before,
                             const std::vector<uint64_t>& after) {
  const auto differs = [&](int64_t i) { return after[static_cast<size_t>(i)] != before[static_cast<size_t>(i)]; };
  for (size_t a = 0; a < c.arrays.size(); ++a) {
    const Array& array = c.arrays[a];
    const int64_t first = header.arrays[a].first, size = header.arrays[a].size;
    if (!is_written(array.role))
      for (int64_t i = first; i < first + size; ++i)
        if (differs(i))
          return fmt::format("{}[{}] was changed, and {} may only be read", array.name, i - first, array.name);
    for (int64_t i = first + size; i < first + size + Exchange::words_before; ++i)
      if (differs(i))
        return fmt::format("there was a write behind the end of {}: to {}[{}], and it has {} elements", array.name,
                           array.name, i - first, size);
    for (int64_t i = first - Exchange::words_before; i < first; ++i)
      if (differs(i))
        return fmt::format("there was a write before the begin of {}: to {}[{}]", array.name, array.name, i - first);
  }
  return "";
}

// Sixty of them may share a machine.
int64_t wall_seconds(int64_t cpu_seconds) { return 4 * cpu_seconds + 10; }

std::string signal_text(int signal) {
  switch (signal) {
    case SIGSEGV:
    case SIGBUS:
      return "touched memory that is not its own (a wild pointer, or a recursion without end)";
    case SIGFPE:
      return "divided a whole number by 0";
    case SIGABRT:
      return "was aborted (an exception that nobody caught, an assertion, or an index outside of a std::vector)";
    case SIGXFSZ:
      return "wrote too large a file";
    case SIGKILL:
      return "was killed";
    default:
      return fmt::format("ended by signal {}", signal);
  }
}

// What went wrong, where, in one sentence; "" for nothing.
std::string describe(const Exercise& exercise, const Exchange& header, const Ended& ended, int64_t seconds) {
  const auto in = [&](const char* what) { return exercise.name + "_" + what; };
  switch (header.phase) {
    case Phase::no_forward:
    case Phase::no_backward:
      return fmt::format("the file defines no {} with the parameters that exercise.h declares",
                         in(header.phase == Phase::no_forward ? "forward" : "backward"));
    case Phase::done:
      return ended.exit_code == 0 ? "" : "the program did not end as it should";
    case Phase::not_started:
    case Phase::started:
    case Phase::forward:
    case Phase::backward:
      break;
    default:
      return "the program has overwritten what it was to report";
  }
  const std::string where = header.phase == Phase::backward  ? in("backward")
                            : header.phase == Phase::forward ? in("forward")
                                                             : "what runs before main()";
  if (ended.too_long)
    return fmt::format("{} takes too long (an endless loop, or waiting?): ended after {} s of the CPU, or {} s in all",
                       where, seconds, wall_seconds(seconds));
  if (header.outside_of[0] != '\0') {
    std::string name(header.outside_of, strnlen(header.outside_of, sizeof header.outside_of));
    return fmt::format("{}: line {} asks for {}[{}], and {} has {} elements", where, header.outside_line, name,
                       header.outside_index, name, header.outside_size);
  }
  if (ended.signal == SIGABRT && ended.output.find("std::bad_alloc") != std::string::npos)
    return fmt::format("{} asks for more memory than there is for it", where);
  if (ended.signal != 0) return fmt::format("{} {}", where, signal_text(ended.signal));
  if (header.phase < Phase::forward) return fmt::format("the program could not run (exit code {})", ended.exit_code);
  return fmt::format("{} ended the program (exit code {}) instead of returning", where, ended.exit_code);
}

}  // namespace

Compiler::Compiler() {
  const char* named = std::getenv("CXX");
  if (named && *named != '\0') {
    for (const std::string& word : split(named, ' '))
      if (!word.empty()) command_.push_back(word);
    const std::string path = command_.empty() ? "" : in_path(command_[0]);
    if (path.empty()) fail("CXX={}: no such compiler", named);
    command_[0] = path;
    return;
  }
  for (const char* name : {"c++", "g++", "clang++"}) {
    const std::string path = in_path(name);
    if (path.empty()) continue;
    command_ = {path};
    return;
  }
  fail(
      "there is no C++ compiler: neither c++ nor g++ nor clang++ is in PATH\n"
      "Install one (Debian, Ubuntu: sudo apt-get install g++), or name it: CXX=/path/to/g++");
}

std::string Compiler::str() const {
  return fmt::format("{} {}", fmt::join(command_, " "), fmt::join(compiler_flags, " "));
}

Ended Compiler::run(const std::string& directory, const std::vector<std::string>& more) const {
  std::vector<std::string> command = command_, environment;
  command.insert(command.end(), std::begin(compiler_flags), std::end(compiler_flags));
  command.insert(command.end(), more.begin(), more.end());
  for (char** variable = environ; *variable; ++variable) {
    const std::string_view text = *variable;
    if (!text.starts_with("LC_") && !text.starts_with("LANG") && !text.starts_with("TMPDIR="))
      environment.emplace_back(text);
  }
  environment.emplace_back("LC_ALL=C");
  environment.emplace_back("TMPDIR=" + directory);  // where what a killed compiler leaves goes, too
  return run_limited(command, directory, environment, limits_of_compiler);
}

Bench::Bench(int64_t seconds) : seconds_(seconds) {
  for (const char* name : {"exercise.h", "exchange.h", "runner.cpp"})
    write_file_atomically(directory_ / name, embedded(name), Flush::by_caller);
  const Ended ended = compiler_.run(directory_.path(), {"-c", "runner.cpp", "-o", "runner.o"});
  if (ended.exit_code != 0) fail("{}\nfails on the grader's own part:\n{}", compiler_.str(), ended.output);
}

Bench::Compiled Bench::compile(const Exercise& exercise, const std::string& text) const {
  const std::string source = exercise.name + ".cpp";
  write_file_atomically(directory_ / source, text, Flush::by_caller);
  const Ended ended = compiler_.run(directory_.path(), {source, "runner.o", "-o", exercise.name});
  std::string output = ended.output;
  if (ended.too_long) output += "\nthe compiler took too long and was ended";
  if (ended.signal != 0) output += fmt::format("\nthe compiler was ended by signal {}", ended.signal);
  return {ended.exit_code == 0, output};
}

Run Bench::run(const Exercise& exercise, const Case& c, bool forward_only) const {
  const Exchange header = make_header(exercise, c, forward_only);
  const std::vector<uint64_t> before = whole_file(header, c);
  const std::string path = directory_ / "exchange";
  write_file_atomically(path, {reinterpret_cast<const char*>(before.data()), 8 * before.size()}, Flush::by_caller);

  std::vector<std::string> environment = {"LC_ALL=C", "MALLOC_PERTURB_=85"};
  if (const char* libraries = std::getenv("LD_LIBRARY_PATH"))
    environment.push_back(std::string("LD_LIBRARY_PATH=") + libraries);
  Limits limits = limits_of_run;
  limits.cpu_seconds = seconds_;
  limits.wall_seconds = wall_seconds(seconds_);
  const Ended ended = run_limited({directory_ / exercise.name, path}, directory_.path(), environment, limits);

  Run run;
  run.printed = ended.output;
  const std::string bytes = read_input_or_empty(path, static_cast<uint64_t>(header.bytes));
  if (bytes.size() != 8 * before.size()) {
    run.problem = "the program has destroyed the file that it was to write its results to";
    return run;
  }
  std::vector<uint64_t> words(before.size());
  std::memcpy(words.data(), bytes.data(), bytes.size());
  Exchange after = {};
  std::memcpy(&after, words.data(), sizeof after);
  run.complete_file = after.phase != Phase::no_forward && after.phase != Phase::no_backward;
  run.problem = describe(exercise, after, ended, seconds_);
  if (run.problem.empty()) run.problem = find_stray_write(header, c, before, words);
  run.forward_done = after.phase == Phase::backward || after.phase == Phase::done;
  run.backward_done = after.phase == Phase::done && !forward_only;
  for (size_t a = 0; a < c.arrays.size(); ++a) {
    if (!header.arrays[a].written) continue;
    const auto first = words.begin() + header.arrays[a].first;
    Values& values = run.written[c.arrays[a].name];
    std::transform(first, first + header.arrays[a].size, std::back_inserter(values),
                   [](uint64_t word) { return std::bit_cast<double>(word); });
  }
  return run;
}

}  // namespace crisp::lessons
