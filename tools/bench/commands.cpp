#include "tools/bench/commands.h"

#include <fmt/format.h>

#include <cmath>

#include "data/input/parse_text.h"
#include "train/inference/limits.h"

namespace crisp::bench {
void add_common_options(CLI::App& app, CommonOptions& options, bool with_effort) {
  crisp::add_threads(app, options);
  add_flag(app, "json", options.json, "Print one JSON object instead of a table");
  if (!with_effort) return;
  add_integer(app, "samples", options.samples, 3, 1'000'000, "Samples of each measurement, time permitting");
  add_real(app, "seconds", options.seconds, {.high = 3600}, "Time for each measurement, after three samples");
}

void add_numbers(CLI::App& app, const std::string& names, std::vector<double>& numbers, const Interval& interval,
                 bool whole, const std::string& description) {
  const auto parse = [&numbers, interval, whole](const std::string& text) -> std::string {
    std::vector<double> parsed;
    for (const std::string& part : split(text, ',')) {
      const std::optional<double> value = parse_number<double>(part);
      if (!value || !interval.contains(*value) || (whole && *value != std::floor(*value)))
        return fmt::format("must be {}s with commas between them, each {}, not '{}'", whole ? "whole number" : "number",
                           interval.str(), text);
      parsed.push_back(*value);
    }
    numbers = parsed;
    return "";
  };
  add_parsed(app, names, "N,N,..", fmt::format("{:g}", fmt::join(numbers, ",")), parse, description);
}

}  // namespace crisp::bench
