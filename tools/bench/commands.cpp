#include "tools/bench/commands.h"

#include "engine/precision.h"

namespace crisp::bench {
namespace {

// The mode that --precision names. "f32" is the fastest that is as accurate as f32.
Precision parse_precision(const std::string& word) {
  if (word == "f64") return {word, DType::f64, MatmulPrecision::f32};
  if (word == "bf16") return {word, DType::f32, MatmulPrecision::bf16};
  if (word == "bf16x3") return {word, DType::f32, MatmulPrecision::bf16x3};
  if (word == "bf16x6") return {word, DType::f32, MatmulPrecision::bf16x6};
  if (word == "f32" && supports(Device::cpu, MatmulPrecision::bf16x6))
    return {word, DType::f32, MatmulPrecision::bf16x6};
  return {word, DType::f32, MatmulPrecision::f32};
}

}  // namespace

void add_common_options(CLI::App& app, CommonOptions& options, bool with_effort) {
  add_integer(app, "threads", options.threads, 0, most_threads, "Threads; 0: as many as there are cores");
  add_flag(app, "json", options.json, "Print one JSON object instead of a table");
  if (!with_effort) return;
  add_integer(app, "samples", options.samples, 3, 1'000'000, "Samples of each measurement, time permitting");
  add_real(app, "seconds", options.seconds, {.high = 3600}, "Time for each measurement, after three samples");
}

void add_precision_option(CLI::App& app, Precision& precision) {
  const std::string shown = "f32|strict-f32|bf16|bf16x3|bf16x6|f64";
  const auto parse = [&precision, shown](const std::string& word) -> std::string {
    if (("|" + shown + "|").find("|" + word + "|") == std::string::npos || word.find('|') != std::string::npos)
      return "must be one of " + shown + ", not '" + word + "'";
    precision.word = word;  // what it means depends on the machine, which is looked at when it is used
    return "";
  };
  add_parsed(app, "precision", shown, precision.word, parse, "Of matrix products; f64: of all numbers");
}

void use(Precision& precision) {
  precision = parse_precision(precision.word);
  set_matmul_precision(precision.matmul);
}

}  // namespace crisp::bench
