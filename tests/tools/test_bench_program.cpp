// crisp-bench: that each subcommand runs and prints what it promises. How fast anything is, is nobody's promise here.
#include <set>

#include "data/batch.h"
#include "tests/tools/programs.h"

using namespace crisp;
using namespace crisp::test;

namespace {

const Words quick{"--threads", "1", "--samples", "3", "--seconds", "0.01"};

// With whole steps of a small model.
const Words tiny = quick + Words{"--init", "config.json"};

Outcome bench(const Workshop& at, const Words& words, ProcessOptions options = {}) {
  return at.start(Words{CRISP_BENCH} + words, std::move(options));
}

json bench_json(const Workshop& at, const Words& words, ProcessOptions options = {}) {
  const Outcome outcome = bench(at, words + Words{"--json"}, std::move(options));
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  return json::parse(outcome.out);
}

void check_report(const json& report, const std::string& command, const std::vector<std::string>& keys) {
  CHECK(report.at("command") == command);
  CHECK(report.at("machine").at("threads") == 1);
  for (const char* key : {"processor", "instruction_set"}) CHECK(report.at("machine").at(key).is_string());
  REQUIRE(!report.at("results").empty());
  for (const json& row : report.at("results")) {
    INFO(row);
    for (const std::string& key : keys) CHECK(row.at(key).is_string());
    for (const char* key : {"median_ms", "q1_ms", "q3_ms", "rate"}) CHECK(row.at(key).get<double>() > 0);
    CHECK(row.at("q1_ms") <= row.at("q3_ms"));
    CHECK(row.at("samples") >= 3);
    CHECK(row.at("unit").is_string());
    CHECK((row.at("of_ceiling").is_null() || row.at("of_ceiling") > 0));
  }
}

Words step(const Words& more = {}) {
  return Words{"step",      "--init",       "config.json", "--data",    ".", "--vocab",
               "vocab.txt", "--max-length", "64",          "--batch",   "8", "--steps",
               "3",         "--warm",       "2",           "--threads", "1"} +
         more;
}

}  // namespace

TEST_CASE("crisp-bench machine measures the ceilings") {
  const Workshop at;
  const json report = bench_json(at, Words{"machine", "--megabytes", "1"} + quick);
  std::vector<std::string> names;
  for (const json& row : report.at("ceilings")) {
    names.push_back(row.at("ceiling"));
    CHECK(row.at("threads") == 1);
    const json& measured = row.at("measured");
    if (measured.is_null()) continue;  // instructions that this machine lacks
    CHECK(measured.at("per_second").get<double>() > 0);
    CHECK(measured.at("q1") <= measured.at("q3"));
  }
  CHECK(names == std::vector<std::string>{"f32_fma", "bf16_vdpbf16ps", "bf16_amx", "read", "update_in_place"});
  CHECK(report.at("ceilings")[0].at("measured").is_object());
}

TEST_CASE("crisp-bench gemm, ops, attention and adamw report medians beside ceilings") {
  const Workshop at;
  const json gemm = bench_json(at, Words{"gemm", "--m", "3,8"} + quick);
  check_report(gemm, "gemm", {"m", "pass", "shape"});
  CHECK(gemm.at("results").size() == 2 * 3 * 4);
  CHECK(gemm.at("ceilings").at("f32").at("per_second").get<double>() > 0);
  check_report(bench_json(at, Words{"ops", "--rows", "2"} + quick), "ops", {"operation", "pass"});
  const json attention =
      bench_json(at, Words{"attention", "--lengths", "5,90", "--densities", "0.5,1", "--tokens", "180"} + tiny);
  check_report(attention, "attention", {"length", "density"});
  CHECK(attention.at("results").size() == 4);
  for (const json& row : attention.at("results"))
    for (const char* key :
         {"forward ms", "dense forward ms", "forward gain", "backward ms", "dense backward ms", "backward gain", "gain",
          "block gain", "block limit", "block share", "step gain", "step share", "step ceiling"})
      CHECK(row.at(key).get<double>() > 0);
  // 90 tokens (more than the model has positions) add 90 / 4608 to the linear layers; half of the scores save 5/12 of
  // it.
  const json& half = attention.at("results")[2];
  CHECK(half.at("block limit").get<double>() ==
        Approx((1 + 90 / 4608.0) / (1 + 90 / 4608.0 * (1 + 2.5) / 6)).epsilon(1e-9));
  const double share = half.at("step share");
  CHECK(share < 1);
  CHECK(half.at("step ceiling").get<double>() == Approx(1 / (1 - share)));
  CHECK(half.at("step gain").get<double>() == Approx(1 / (1 - share + share / half.at("gain").get<double>())));
  CHECK(bench(at, Words{"attention", "--listed", "--lengths", "9", "--densities", "0.2", "--tokens", "20"} + tiny)
            .exit_code == 0);
  const Outcome uneven = bench(at, Words{"attention", "--heads", "7"} + quick);
  CHECK(uneven.exit_code == 2);
  CHECK(uneven.err.find("--heads 7: it must divide 768") != std::string::npos);
  check_report(bench_json(at, Words{"adamw", "--init", "config.json"} + quick), "adamw", {"what"});
  const Outcome table = bench(at, Words{"gemm", "--m", "3"} + quick);
  CHECK(table.exit_code == 0);
  CHECK(table.out.find("of ceiling") != std::string::npos);
}

TEST_CASE("crisp-bench threads measures what sharing costs, alone and beside another job") {
  const Workshop at;
  const json report = bench_json(at, Words{"threads", "--threads", "2", "--samples", "3", "--seconds", "0.01"});
  CHECK(report.at("machine").at("threads") == 2);
  std::set<std::string> beside;
  for (const json& row : report.at("results")) {
    CHECK(row.at("median_ms").get<double>() > 0);
    beside.insert(row.at("beside").get<std::string>());
  }
  CHECK(beside == std::set<std::string>{"a busy core", "nothing"});
  CHECK(bench_json(at, step({"--beside-load"})).at("beside_load") == true);
}

TEST_CASE("crisp-bench step prints the keys of the PyTorch peer and its own") {
  const Workshop at;
  const json report = bench_json(at, step());
  for (const char* key : {"mean_ms", "median_ms", "tokens_per_s", "sequences_per_s", "tokens_per_step",
                          "padded_per_step", "peak_rss_gb", "setup_s", "first_step_s", "tensor_bytes_peak"})
    CHECK(report.at(key).get<double>() > 0);
  CHECK(report.at("mode") == "crisp");
  CHECK(report.at("fixed") == 0);
  CHECK(report.at("threads") == 1);
  CHECK(report.at("device") == "cpu");
  for (const char* key : {"bf16", "compile", "infer"}) CHECK(report.at(key) == false);
  CHECK(report.contains("torch"));
  CHECK(report.at("steps") == 3);
  CHECK(report.at("data").get<std::string>().find("96 sentences of ./train.tsv") != std::string::npos);
  double parts = 0;
  for (const char* part : {"gemm", "attention", "norms_and_activations", "optimizer", "other"}) {
    CHECK(report.at("parts_ms").at(part).get<double>() > 0);
    parts += report.at("parts_ms").at(part).get<double>();
  }
  CHECK(parts == Approx(report.at("mean_ms").get<double>()));
  CHECK(report.at("system_allocations_per_step").get<double>() >= 0);
  CHECK(report.at("gemm_gflops").get<double>() > 0);
  CHECK(report.at("ceiling").at("per_second").get<double>() > 0);
  CHECK(!report.at("kernels").empty());
  CHECK(!report.contains("losses"));
  CHECK(!report.contains("batches"));
  const Outcome table = bench(at, step({"--kernels", "--losses", "--print-batches"}));
  CHECK(table.exit_code == 0);
  for (const char* text : {"sequences/s", "norms and activations", "layer_norm_backward", "loss    5 ", "batch 5: ["})
    CHECK(table.out.find(text) != std::string::npos);
}

TEST_CASE("crisp-bench step takes crisp-train's steps") {
  // The losses of the same steps in metrics.jsonl.
  const Workshop at;
  REQUIRE(at.train("initial", {"--epochs", "0", "--seed", "3"}).exit_code == 0);
  const Words settings{"--seed", "3", "--sparsity", "0.4", "--dropout", "0.2"};
  REQUIRE(at.train("run",
                   Words{"--max-steps", "5", "--logging-steps", "1", "--schedule", "constant", "--warmup-ratio", "0"} +
                       settings)
              .exit_code == 0);
  const json report = bench_json(
      at, step(Words{"--weights", "initial", "--learning-rate", "0.003", "--losses", "--print-batches"} + settings));
  std::vector<double> losses;
  for (const json& line : at.metrics("run"))
    if (line.contains("loss")) losses.push_back(line.at("loss"));
  CHECK(report.at("losses").get<std::vector<double>>() == losses);
  REQUIRE(report.at("batches").size() == 5);
  const std::vector<int32_t> order = epoch_order(3, 0, 96);
  for (size_t s = 0; s < 5; ++s) {
    const auto batch = batch_slice(order, 8, static_cast<int64_t>(s));
    CHECK(report.at("batches")[s].get<std::vector<int32_t>>() == std::vector<int32_t>(batch.begin(), batch.end()));
  }
  // The same from the configuration alone.
  CHECK(bench_json(at, step(Words{"--learning-rate", "0.003", "--losses"} + settings)).at("losses") ==
        report.at("losses"));
}

TEST_CASE("crisp-bench step --against takes each step with both sparsities") {
  const Workshop at;
  const Words pair{"--sparsity", "0.8", "--against", "dense"};
  const json few = bench_json(at, step(pair));
  CHECK(few.at("steps") == 3);
  CHECK(few.at("tokens_per_step") == bench_json(at, step()).at("tokens_per_step"));
  CHECK(few.at("sides").at(0).at("sparsity") == "0.8");
  CHECK(few.at("sides").at(1).at("sparsity") == "dense");
  // Both sides begin with the same weights and the same batch, and differ by their sparsity.
  CHECK(few.at("sides").at(0).at("first_loss") != few.at("sides").at(1).at("first_loss"));
  const json equal = bench_json(at, step({"--sparsity", "0.8", "--against", "0.8"}));
  for (const json& side : equal.at("sides")) CHECK(side.at("first_loss") == few.at("sides").at(0).at("first_loss"));
  CHECK(few.at("sides").at(1).at("first_loss") == bench_json(at, step({"--losses"})).at("losses").at(0));
  for (const json& side : few.at("sides"))
    for (const char* what : {"step", "attention"}) {
      const json& times = side.at(what);
      CHECK(times.at("q1_ms").get<double>() > 0);
      CHECK(times.at("q1_ms") <= times.at("median_ms"));
      CHECK(times.at("median_ms") <= times.at("q3_ms"));
      CHECK(times.at("median_ms") <= side.at("step").at("median_ms"));
    }
  CHECK(few.at("ratio_by_attention").get<double>() > 0);
  CHECK(few.at("ratio").at("interval_95").is_null());  // of three pairs there is none
  const json more = bench_json(at, step(pair + Words{"--steps", "9"})).at("ratio");
  CHECK(more.at("interval_95").at(0) <= more.at("q1"));  // of nine it goes from the second to the eighth
  CHECK(more.at("q1") <= more.at("median"));
  CHECK(more.at("median") <= more.at("q3"));
  CHECK(more.at("q3") <= more.at("interval_95").at(1));
  const Outcome table = bench(at, step(pair + Words{"--steps", "9"}));
  CHECK(table.exit_code == 0);
  for (const char* text : {"sparsity 0.8 ", "sparsity dense ", "median of 9 pairs; 95 % interval", "by attention"})
    CHECK(table.out.find(text) != std::string::npos);
}

TEST_CASE("crisp-bench step: fixed lengths, inference, other types of numbers") {
  const Workshop at;
  const json fixed = bench_json(at, step({"--lengths", "fixed:9", "--infer", "--batch", "4"}));
  CHECK(fixed.at("fixed") == 9);
  CHECK(fixed.at("infer") == true);
  CHECK(fixed.at("tokens_per_step") == 36);
  CHECK(fixed.at("parts_ms").at("optimizer") == 0);
  const json exact = bench_json(at, step({"--precision", "f64", "--losses"}));
  const json usual = bench_json(at, step({"--precision", "strict-f32", "--losses"}));
  CHECK(exact.at("precision") == "f64");
  for (size_t s = 0; s < 5; ++s)
    CHECK(exact.at("losses")[s].get<double>() == Approx(usual.at("losses")[s].get<double>()).epsilon(1e-5));
}

TEST_CASE("crisp-bench step finds SST-2 where the environment says") {
  const Workshop at;
  std::filesystem::create_directories(at / "data/sst2");
  std::filesystem::create_directories(at / "data/bert-base-uncased");
  std::filesystem::copy_file(at / "dev.tsv", at / "data/sst2/train.tsv");
  std::filesystem::copy_file(at / "vocab.txt", at / "data/bert-base-uncased/vocab.txt");
  const Words words{"step", "--init", "config.json", "--steps", "1", "--warm", "0", "--batch", "4", "--threads", "1"};
  const json found = bench_json(at, words, {.environment = {"CRISP_DATASETS=data"}});
  CHECK(found.at("data").get<std::string>().starts_with("50 sentences of "));
}

TEST_CASE("crisp-bench refuses what makes no sense") {
  const Workshop at;
  const auto refused = [&](const Words& words, int exit_code, const std::string& part) {
    const Outcome outcome = bench(at, words);
    INFO(outcome.err);
    CHECK(outcome.exit_code == exit_code);
    CHECK(outcome.err.starts_with("crisp-bench: "));
    CHECK(outcome.err.find(part) != std::string::npos);
    CHECK(outcome.out.empty());
  };
  refused({}, 2, "subcommand");
  refused({"stepp"}, 2, "there is no subcommand stepp; did you mean step?");
  refused({"step", "--precison", "f32"}, 2, "did you mean --precision?\nRun crisp-bench step --help");
  refused({"step", "--precision", "f16"}, 2, "f32|strict-f32|tf32|bf16");
  refused({"step", "--lengths", "fixed:1"}, 2, "fixed:L");
  refused({"step", "--lengths", "short"}, 2, "fixed:L");
  refused({"step", "--steps", "0"}, 2, "--steps");
  refused(step({"--lengths", "fixed:65"}), 2, "64 positions");
  refused(step({"--against", "2"}), 2, "--against");
  refused(step({"--against", "0.5", "--infer"}), 2, "no --infer");
  refused({"gemm", "--m", "1,,2"}, 2, "--m");
  refused({"gemm", "--m", "1.5"}, 2, "--m");
  refused({"attention", "--densities", "0"}, 2, "--densities");
  refused({"machine", "--megabytes", "0"}, 2, "--megabytes");
  refused({"ops", "--rows", "-1"}, 2, "--rows");
  refused({"adamw", "--init", "missing.json"}, 3, "missing.json");
  refused({"step", "--data", "missing", "--vocab", "vocab.txt"}, 3, "missing");
  refused({"step", "--weights", "missing"}, 3, "missing");
}
