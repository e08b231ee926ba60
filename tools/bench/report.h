// What a benchmark prints: a table for people or one JSON object for programs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tools/bench/ceilings.h"
#include "tools/bench/timing.h"

namespace crisp::bench {

/// One measurement: what (`keys`), how long, how much work at what limit.
struct Result {
  std::vector<std::pair<std::string, std::string>> keys;  // "shape" -> "768x3072"; the same keys in each row
  Spread seconds;
  double work = 0;     // operations or bytes of one call
  std::string unit;    // of the rate: "GF/s", "GB/s", "ns/element" (work / time in 1e9; for ns/..., time / work)
  double ceiling = 0;  // operations or bytes a second; 0: none is known
  std::vector<std::pair<std::string, double>> more = {};  // further numbers of the row

  /// In `unit`.
  double rate() const;
  /// Of the ceiling, 0 where there is none.
  double fraction() const;
};

/// "AMD EPYC ...", from the system; "unknown" where it does not say.
std::string processor_name();

/// Where numbers are from that were measured in the context: "AMD EPYC ..., avx512 kernels, 2 threads", or
/// {"processor", "instruction_set", "threads", "device"}.
std::string machine_text(const Context& context, Device device);
nlohmann::ordered_json machine_json(const Context& context, Device device);
nlohmann::ordered_json to_json(const Ceiling& ceiling);
nlohmann::ordered_json to_json(const Result& result);

/// Prints all of it: as a table, or as {"command", "machine", "ceilings", "results"}.
void print_report(const std::string& command, const std::vector<std::pair<std::string, Ceiling>>& ceilings,
                  const std::vector<Result>& results, const Context& context, Device device, bool json);

}  // namespace crisp::bench
