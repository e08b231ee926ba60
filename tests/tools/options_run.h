// Options as a program reads them: what they become, and what is printed.
#pragma once

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "tests/train/support.h"
#include "tools/options.h"

namespace crisp::test {

// What a program gives back, and what it prints.
struct Outcome {
  int exit_code = -1;
  std::string out, err;
  TrainOptions options;
};

// Sends a stream to a file while it lives.
class Capture {
 public:
  Capture(std::FILE* stream, std::string path) : stream_(stream), path_(std::move(path)) {
    std::fflush(stream_);
    saved_ = ::dup(::fileno(stream_));
    std::FILE* file = std::fopen(path_.c_str(), "w");
    ::dup2(::fileno(file), ::fileno(stream_));
    std::fclose(file);
  }
  ~Capture() {
    std::fflush(stream_);
    ::dup2(saved_, ::fileno(stream_));
    ::close(saved_);
  }

 private:
  std::FILE* stream_;
  std::string path_;
  int saved_ = -1;
};

inline Outcome run_with(
    std::vector<std::string> arguments, const std::function<int()>& body = [] { return 0; }) {
  const TempDir dir;
  Outcome outcome;
  {
    const Capture out(stdout, dir / "out"), err(stderr, dir / "err");
    CLI::App app("Fine-tunes a model", "crisp-train");
    add_train_options(app, outcome.options);
    std::vector<const char*> argv{"./build/crisp-train"};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    outcome.exit_code = run_program(app, static_cast<int>(argv.size()), argv.data(), body);
  }
  outcome.out = read_file(dir / "out");
  outcome.err = read_file(dir / "err");
  return outcome;
}

}  // namespace crisp::test
