// crisp-bench machine: the ceilings.
#include <fmt/format.h>

#include "tools/bench/commands.h"
#include "tools/bench/report.h"

namespace crisp::bench {
namespace {

struct MachineOptions {
  CommonOptions common;
  int64_t megabytes = 512;
};

struct Row {
  const char* name;
  const char* unit;
  int threads;
  Ceiling ceiling;
};

void print_row(const Row& row) {
  const auto& r = row.ceiling.rate;
  fmt::print("{:<24} {:>7}  ", row.name, row.threads);
  if (!row.ceiling) {
    fmt::print("not on this machine\n");
    return;
  }
  fmt::print("{:>8.1f} {}  ({:.1f}..{:.1f}; {})\n", r.median * 1e-9, row.unit, r.q1 * 1e-9, r.q3 * 1e-9,
             row.ceiling.how);
}

int machine(const MachineOptions& o) {
  const Context context = o.common.context();
  const int all = context.threads();
  const Effort effort = o.common.effort();
  const int64_t bytes = o.megabytes * 1'000'000;
  nlohmann::ordered_json document{{"command", "machine"}, {"machine", machine_json(context, Device::cpu)}};
  document["ceilings"] = nlohmann::ordered_json::array();
  if (!o.common.json) fmt::print("{}\n{:<24} {:>7}\n", processor_name(), "ceiling", "threads");
  for (const int threads : all > 1 ? std::vector<int>{1, all} : std::vector<int>{1}) {
    const Row rows[] = {{"f32_fma", "GF/s", threads, fma_ceiling(threads, effort)},
                        {"bf16_vdpbf16ps", "GF/s", threads, dpbf16_ceiling(threads, effort)},
                        {"bf16_amx", "GF/s", threads, amx_ceiling(threads, effort)},
                        {"read", "GB/s", threads, read_ceiling(threads, bytes, effort)},
                        {"update_in_place", "GB/s", threads, update_ceiling(threads, bytes, effort)}};
    for (const Row& row : rows) {
      if (!o.common.json) print_row(row);
      nlohmann::ordered_json entry{{"ceiling", row.name}, {"threads", threads}, {"unit", row.unit}};
      entry["measured"] = to_json(row.ceiling);
      document["ceilings"].push_back(entry);
    }
  }
  if (o.common.json) fmt::print("{}\n", document.dump(2));
  return 0;
}

}  // namespace

Command add_machine(CLI::App& program) {
  CLI::App* app = add_command(program, "machine", "What this machine can do at best, at one and at all threads");
  const auto options = std::make_shared<MachineOptions>();
  add_common_options(*app, options->common);
  add_integer(*app, "megabytes", options->megabytes, 1, 1'000'000, "Memory that the bandwidths are measured on");
  return {app, [options] { return machine(*options); }};
}

}  // namespace crisp::bench
