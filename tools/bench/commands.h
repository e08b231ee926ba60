// The subcommands of crisp-bench. Each add_*() adds one to the program, with its options, and returns what runs it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/dtype.h"
#include "engine/kernels.h"
#include "tools/bench/timing.h"
#include "tools/options.h"

namespace crisp::bench {

struct Command {
  CLI::App* app;
  std::function<int()> run;
};

Command add_machine(CLI::App& program);
Command add_step(CLI::App& program);

// --- What they share.

/// --threads, --json, --samples, --seconds.
struct CommonOptions {
  int64_t threads = 0;
  bool json = false;
  int64_t samples = 15;
  double seconds = 2;
  Effort effort() const { return {samples, seconds}; }
};
/// `samples` and `seconds`: whether the command measures until it has enough, or knows itself how often.
void add_common_options(CLI::App& app, CommonOptions& options, bool with_effort = true);

/// What a word of --precision means.
struct Precision {
  std::string word = "f32";
  DType dtype = DType::f32;
  MatmulPrecision matmul = MatmulPrecision::f32;
};
void add_precision_option(CLI::App& app, Precision& precision);
/// Finds out what the word means on this machine and sets the mode of matrix products; UsageError where it lacks it.
void use(Precision& precision);

}  // namespace crisp::bench
