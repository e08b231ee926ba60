// crisp-bench --device cuda, on the emulated GPU: what it prints, not how long anything takes.
#include <cmath>
#include <set>

#include "tests/tools/programs.h"

using namespace crisp;
using namespace crisp::test;

namespace {

const Words quick{"--device", "cuda", "--threads", "1", "--samples", "3", "--seconds", "0.01"};

Outcome bench(const Workshop& at, const Words& words, ProcessOptions options = {}) {
  return at.start(Words{CRISP_BENCH_EMULATED} + words, std::move(options));
}

json bench_json(const Workshop& at, const Words& words) {
  const Outcome outcome = bench(at, words + Words{"--json"});
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  return json::parse(outcome.out);
}

bool is_positive(const json& number) { return std::isfinite(number.get<double>()) && number.get<double>() > 0; }

json report_of(const Workshop& at, const Words& words, size_t rows) {
  json report = bench_json(at, words + quick);
  CHECK(report.at("command") == words.front());
  CHECK(report.at("machine").at("device") == "cuda");
  CHECK(contains(report.at("machine").at("instruction_set").get<std::string>(), "(emulated device)"));
  CHECK(report.at("results").size() == rows);
  for (const json& row : report.at("results")) {
    INFO(row);
    for (const char* key : {"median_ms", "q1_ms", "q3_ms", "rate"}) CHECK(is_positive(row.at(key)));
    CHECK(row.at("samples") >= 3);
  }
  return report;
}

Words step(const Words& more = {}) {
  return Words{"step",      "--device",  "cuda", "--init",       "config.json", "--data",  ".", "--vocab",
               "vocab.txt", "--batch",   "4",    "--max-length", "16",          "--steps", "2", "--warm",
               "1",         "--threads", "1"} +
         more;
}

}  // namespace

TEST_CASE("crisp-bench gemm, ops, attention and adamw measure the GPU") {
  const Workshop at;
  const json gemm = report_of(at, {"gemm", "--m", "2", "--precision", "bf16"}, 3 * 4);
  CHECK(gemm.at("ceilings").at("bf16").is_null());  // none is known
  for (const json& row : gemm.at("results")) CHECK(row.at("of_ceiling").is_null());

  std::set<std::string> operations;
  const json ops = report_of(at, {"ops", "--rows", "2"}, 20);
  for (const json& row : ops.at("results")) operations.insert(row.at("operation").get<std::string>());
  CHECK(operations.size() == 12);
  for (const auto& [name, ceiling] : ops.at("ceilings").items())
    CHECK((name == "f32" ? ceiling.is_null() : contains(ceiling.at("how").get<std::string>(), "MB copied")));

  const json attention = report_of(
      at, {"attention", "--init", "config.json", "--lengths", "4", "--densities", "0.5,1", "--tokens", "8"}, 2);
  for (const json& row : attention.at("results")) {
    for (const char* key : {"forward ms", "dense forward ms", "backward ms", "block share", "gain"})
      CHECK(is_positive(row.at(key)));
    CHECK(row.at("step share") > 0);
    CHECK(row.at("step share") < 1);
  }

  const json adamw = report_of(at, {"adamw", "--init", "config.json"}, 3);
  CHECK(adamw.at("ceilings").size() == 1);
  CHECK(is_positive(adamw.at("ceilings").at("copy").at("per_second")));
  for (const json& row : adamw.at("results")) CHECK(is_positive(row.at("of_ceiling")));
  const Outcome table = bench(at, Words{"adamw", "--init", "config.json"} + quick);
  CHECK(contains(table.out, "ceiling copy: "));
  CHECK(contains(table.out, "of ceiling"));
}

TEST_CASE("crisp-bench step has the same table of kernels on the GPU, from steps of their own") {
  const Workshop at;
  const json there = bench_json(at, step({"--losses"}));
  Words command = step();
  command[2] = "cpu";
  const json here = bench_json(at, command);
  CHECK(there.at("device") == "cuda");
  CHECK(there.at("profiled_steps") == 2);
  CHECK(there.at("steps") == 2);
  CHECK(there.at("losses").size() == 3);
  CHECK(is_positive(there.at("tensor_bytes_reserved")));
  CHECK(there.at("tensor_bytes_grown_after_step") == 1);
  double parts = 0, kernels = 0;
  for (const auto& [part, ms] : there.at("parts_ms").items()) {
    CHECK(here.at("parts_ms").contains(part));
    parts += ms.get<double>();
  }
  CHECK(parts == Approx(there.at("profiled_mean_ms").get<double>()));
  std::set<std::string> names;
  for (const json& k : there.at("kernels")) {
    INFO(k);
    CHECK(is_positive(k.at("ms_per_step")));
    CHECK(is_positive(k.at("calls_per_step")));
    kernels += k.at("ms_per_step").get<double>();
    names.insert(k.at("kernel").get<std::string>());
    if (k.at("kernel") == "gemm") CHECK(is_positive(k.at("gflops")));
    if (k.at("kernel") == "attention") CHECK(k.at("calls_per_step") == 2);  // one for each layer
    if (k.at("kernel") == "clip") CHECK(k.at("calls_per_step") == 1);
  }
  CHECK(kernels <= parts);
  for (const char* name : {"gemm", "attention", "attention_backward", "layer_norm", "layer_norm_backward", "adamw"})
    CHECK(names.contains(name));
  const Outcome table = bench(at, step({"--kernels"}));
  for (const char* text : {"of 2 further steps", "layer_norm_backward", "(emulated device)"})
    CHECK(contains(table.out, text));
}

TEST_CASE("crisp-bench step --flat-after fails where memory grows") {
  const Workshop at;
  CHECK(bench(at, step({"--flat-after", "1", "--lengths", "fixed:9"})).exit_code == 0);
  const Outcome outcome = bench(at, step({"--flat-after", "0", "--lengths", "fixed:9"}));  // the first takes some
  CHECK(outcome.exit_code == 1);
  CHECK(contains(outcome.err, "the memory held for tensors grew in step 1, to "));
}

TEST_CASE("crisp-bench without a GPU says so in one sentence") {
  const Workshop at;
  for (const char* command : {"gemm", "ops", "attention", "adamw", "step"}) {
    const Outcome outcome = bench(at, {command, "--device", "cuda"}, {.environment = {"CRISP_EMULATED_GPU=no-driver"}});
    CHECK(outcome.exit_code == 1);
    CHECK(outcome.err ==
          "crisp-bench: --device cuda: no NVIDIA driver is installed on this machine; --device cpu "
          "computes on the CPU\n");
    CHECK(outcome.out.empty());
  }
  const Outcome cpu_only = bench(at, {"gemm", "--device", "cuda", "--precision", "bf16x3"});
  CHECK(cpu_only.exit_code == 2);
  CHECK(contains(cpu_only.err, "--precision bf16x3 is for CPUs"));
}
