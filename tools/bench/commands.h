// The subcommands of crisp-bench. Each add_*() adds one to the program, with its options, and returns what runs it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/context.h"
#include "tools/bench/timing.h"
#include "tools/options.h"
#include "train/inference/device.h"
#include "train/inference/precision.h"

namespace crisp::bench {

Command add_machine(CLI::App& program);
Command add_gemm(CLI::App& program);
Command add_ops(CLI::App& program);
Command add_attention(CLI::App& program);
Command add_adamw(CLI::App& program);
Command add_step(CLI::App& program);
Command add_threads(CLI::App& program);

// --- What they share.

/// --threads, --json, --samples, --seconds and, for commands that have it, --device (add_device).
struct CommonOptions {
  int64_t threads = 0;
  DeviceChoice device = DeviceChoice::cpu;
  bool json = false;
  int64_t samples = 15;
  double seconds = 2;
  Effort effort() const { return {samples, seconds}; }
  Context context(Precision precision = Precision::strict_f32) const {
    return Context({.threads = static_cast<int>(threads), .products = products_for(precision, device_for(device))});
  }
};
/// `samples` and `seconds`: whether the command measures until it has enough, or knows itself how often.
void add_common_options(CLI::App& app, CommonOptions& options, bool with_effort = true);

/// Numbers with commas, each in the interval.
void add_numbers(CLI::App& app, const std::string& names, std::vector<double>& numbers, const Interval& interval,
                 bool whole, const std::string& description);

}  // namespace crisp::bench
