#include "tools/bench/report.h"

#include <fmt/format.h>

#include <fstream>

#include "engine/backend.h"
#include "tools/text_table.h"
#include "train/inference/precision.h"

namespace crisp::bench {
namespace {

using nlohmann::ordered_json;

bool is_time_per_work(const std::string& unit) { return unit.starts_with("ns/"); }

std::string milliseconds(double seconds) {
  return seconds < 1e-3 ? fmt::format("{:.2f} us", seconds * 1e6) : fmt::format("{:.2f} ms", seconds * 1e3);
}

}  // namespace

double Result::rate() const {
  if (is_time_per_work(unit)) return work > 0 ? 1e9 * seconds.median / work : 0;
  return seconds.median > 0 ? 1e-9 * work / seconds.median : 0;
}

double Result::fraction() const { return ceiling > 0 && seconds.median > 0 ? work / seconds.median / ceiling : 0; }

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t at = line.find(": ");
    if (at != std::string::npos) return line.substr(at + 2);
  }
  return "unknown";
}

std::string machine_text(const Context& context, Device device) {
  return fmt::format("{}, {} kernels, {} thread{}", processor_name(), kernels_in_use(context.products(), device),
                     context.threads(), context.threads() == 1 ? "" : "s");
}

ordered_json machine_json(const Context& context, Device device) {
  return {{"processor", processor_name()},
          {"instruction_set", kernels_in_use(context.products(), device)},
          {"threads", context.threads()},
          {"device", name_of(device)}};
}

ordered_json to_json(const Ceiling& c) {
  if (!c) return nullptr;
  return {
      {"per_second", c.rate.median}, {"q1", c.rate.q1}, {"q3", c.rate.q3}, {"samples", c.rate.samples}, {"how", c.how}};
}

ordered_json to_json(const Result& r) {
  ordered_json row;
  for (const auto& [key, value] : r.keys) row[key] = value;
  row["median_ms"] = 1e3 * r.seconds.median;
  row["q1_ms"] = 1e3 * r.seconds.q1;
  row["q3_ms"] = 1e3 * r.seconds.q3;
  row["samples"] = r.seconds.samples;
  if (!r.unit.empty()) {
    row["rate"] = r.rate();
    row["unit"] = r.unit;
  }
  row["of_ceiling"] = r.ceiling > 0 ? ordered_json(r.fraction()) : ordered_json(nullptr);
  for (const auto& [key, value] : r.more) row[key] = value;
  return row;
}

void print_report(const std::string& command, const std::vector<std::pair<std::string, Ceiling>>& ceilings,
                  const std::vector<Result>& results, const Context& context, Device device, bool json) {
  if (json) {
    ordered_json document{{"command", command}, {"machine", machine_json(context, device)}};
    document["ceilings"] = ordered_json::object();
    for (const auto& [name, ceiling] : ceilings) document["ceilings"][name] = to_json(ceiling);
    document["results"] = ordered_json::array();
    for (const Result& r : results) document["results"].push_back(to_json(r));
    fmt::print("{}\n", document.dump(2));
    return;
  }
  fmt::print("{}\n", machine_text(context, device));
  for (const auto& [name, c] : ceilings) {
    if (c)
      fmt::print("ceiling {}: {:.1f} G/s ({:.1f}..{:.1f}; {})\n", name, c.rate.median * 1e-9, c.rate.q1 * 1e-9,
                 c.rate.q3 * 1e-9, c.how);
  }
  if (results.empty()) return;
  std::vector<TextTable::Column> columns;
  for (const auto& [key, value] : results.front().keys) columns.push_back({key, TextTable::Kind::text});
  for (const char* title : {"median", "q1", "q3", "rate", "", "of ceiling"}) columns.push_back({title});
  for (const auto& [key, value] : results.front().more) columns.push_back({key});
  TextTable table(std::move(columns));
  for (const Result& r : results) {
    std::vector<std::string> row;
    for (const auto& [key, value] : r.keys) row.push_back(value);
    for (const double t : {r.seconds.median, r.seconds.q1, r.seconds.q3}) row.push_back(milliseconds(t));
    row.push_back(r.unit.empty() ? "" : fmt::format("{:.4g}", r.rate()));
    row.push_back(r.unit);
    row.push_back(r.ceiling > 0 ? fmt::format("{:.0f} %", 100 * r.fraction()) : "");
    for (const auto& [key, value] : r.more) row.push_back(fmt::format("{:.4g}", value));
    table.row(std::move(row));
  }
  fmt::print("{}", table.text());
}

}  // namespace crisp::bench
