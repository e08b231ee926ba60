// Directories as crisp-study and crisp-train leave them, made up but with realistic numbers and the same on each call.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/train/support.h"

namespace crisp::test {

/// Numbers in [0, 1) that look random.
class Noise {
 public:
  explicit Noise(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ULL + 1) {}
  double uniform() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<double>(state_ >> 11) * 0x1p-53;
  }
  double normal() {  // near enough
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }

 private:
  uint64_t state_;
};

struct SyntheticArm {
  std::string name;
  nlohmann::ordered_json options = nlohmann::ordered_json::object();
  double accuracy;
  double sparsity;
};

struct SyntheticStudy {
  std::string name = "crisp", description, baseline = "dense";
  std::vector<SyntheticArm> arms;
  std::vector<uint64_t> seeds;
  int examples = 872;
  int evaluations = 1;
  int epochs = 1;
  int layers = 6, heads = 12;
};

inline std::string sentence_of(int i) {
  const char* subjects[] = {"the film", "its plot", "an ending", "this sequel", "the cast", "a script"};
  const char* words[] = {"charms without trying", "drags <b>on</b> & on",  "finds its \"heart\" late",
                         "is no masterpiece",     "moves at a brisk pace", "never quite convinces"};
  return fmt::format("{} {} ({})", subjects[i % 6], words[(i / 6) % 6], i);
}

/// A line of dev_predictions.jsonl.
inline std::string prediction_line(const std::string& text, int label, int prediction,
                                   const std::vector<double>& logits, const std::vector<double>& probabilities) {
  const nlohmann::ordered_json object{{"text", text},
                                      {"label", label},
                                      {"prediction", prediction},
                                      {"logits", logits},
                                      {"probabilities", probabilities}};
  return object.dump() + "\n";
}

/// study.json alone.
inline void write_study_json(const std::string& dir, const SyntheticStudy& study) {
  nlohmann::ordered_json json{{"name", study.name},
                              {"description", study.description},
                              {"baseline", study.baseline},
                              {"options", {{"weights", "minilm"}, {"data", "sst2"}, {"epochs", study.epochs}}},
                              {"arms", nlohmann::ordered_json::array()},
                              {"seeds", study.seeds}};
  for (const SyntheticArm& arm : study.arms)
    json["arms"].push_back({{"name", arm.name}, {"description", ""}, {"options", arm.options}});
  std::filesystem::create_directories(dir);
  write_file(dir + "/study.json", json.dump(2));
}

inline std::string run_dir(const std::string& dir, const std::string& arm, uint64_t seed) {
  return fmt::format("{}/runs/{}/seed-{}", dir, arm, seed);
}

inline void write_status(const std::string& run, const std::string& status, const std::string& message) {
  write_file(run + "/study_status.json", nlohmann::ordered_json{{"status", status}, {"message", message}}.dump());
}

/// The files of one run that has ended well.
inline void write_run(const std::string& dir, const SyntheticStudy& study, const SyntheticArm& arm, uint64_t seed) {
  using nlohmann::ordered_json;
  const std::string run = run_dir(dir, arm.name, seed);
  std::filesystem::create_directories(run);
  Noise noise(std::hash<std::string>{}(arm.name) * 31 + seed);
  const bool measured = arm.options.contains("bigbird");
  const double skill = arm.accuracy + 0.004 * noise.normal();
  std::string predictions;
  int correct = 0;
  double loss = 0;
  for (int i = 0; i < study.examples; ++i) {
    Noise difficulty(static_cast<uint64_t>(i) + 77);
    const double hard = 0.85 * difficulty.uniform() + 0.15 * noise.uniform();
    const bool right = hard < 0.15 / 2 + skill * 0.85 + (skill - 0.85) * 0.15;
    const int label = i % 2, prediction = right ? label : 1 - label;
    const double margin = right ? 0.5 + 5 * (1 - hard) + noise.uniform() : 0.3 + 2 * noise.uniform();
    const double p = 1 / (1 + std::exp(-margin));
    correct += right;
    loss -= std::log(right ? p : 1 - p) / study.examples;
    std::vector<double> probabilities{1 - p, p}, logits{-margin / 2, margin / 2};
    if (prediction == 0) std::swap(probabilities[0], probabilities[1]), std::swap(logits[0], logits[1]);
    predictions += prediction_line(sentence_of(i), label, prediction, logits, probabilities);
  }
  write_file(run + "/dev_predictions.jsonl", predictions);

  std::string metrics;
  const int steps = 2105 * study.epochs;
  const auto evaluation = [&](int step, double at) {
    ordered_json line{{"step", step},
                      {"epoch", step / 2105.0},
                      {"eval_loss", at},
                      {"eval_accuracy", static_cast<double>(correct) / study.examples},
                      {"eval_correct", correct},
                      {"eval_total", study.examples}};
    for (int l = 0; l < study.layers; ++l) {
      line["eval_layer_sparsity_requested"].push_back(measured ? ordered_json() : ordered_json(arm.sparsity));
      line["eval_layer_sparsity"].push_back(arm.sparsity == 0 ? 0 : arm.sparsity - 0.01 + 0.003 * l);
      ordered_json raw, normalised;
      for (int h = 0; h < study.heads; ++h) {
        const double even = 0.5 + 0.45 * noise.uniform() - 0.03 * l;
        raw.push_back(even * std::log(1 + 25 * (1 - arm.sparsity)));
        normalised.push_back(even);
      }
      line["eval_attention_entropy"].push_back(raw);
      line["eval_attention_normalised_entropy"].push_back(normalised);
    }
    line["eval_sparsity"] = arm.sparsity;
    const double dense = 3.4e6;
    line["eval_flops"] = {{"total", 6.1e8 - dense * arm.sparsity},
                          {"attention", dense * (1 - arm.sparsity)},
                          {"attention_dense", dense},
                          {"attention_scored", dense * (1 - arm.sparsity / 2)}};
    return line;
  };
  for (int step = 50; step <= steps; step += 50) {
    const double x = static_cast<double>(step) / 2105;
    metrics += ordered_json{{"step", step},
                            {"epoch", x},
                            {"loss", 0.16 + 0.1 * arm.sparsity + 0.5 * std::exp(-6 * x) + 0.02 * noise.normal()},
                            {"learning_rate", 5e-5},
                            {"grad_norm", 1.5},
                            {"tokens_per_second", 9000}}
                   .dump() +
               "\n";
  }
  for (int e = 1; e <= study.evaluations; ++e)
    metrics +=
        evaluation(steps * e / study.evaluations, loss + 0.2 * std::exp(-6.0 * e / study.evaluations)).dump() + "\n";
  write_file(run + "/metrics.jsonl", metrics);

  ordered_json results{{"epoch", study.epochs},
                       {"step", steps},
                       {"best_step", steps},
                       {"train_loss", 0.25 + 0.1 * arm.sparsity},
                       {"train_runtime", 540 + 30 * noise.uniform()},
                       {"train_tokens_per_second", 9000 + 300 * noise.uniform()}};
  results.update(evaluation(steps, loss));
  results["last_eval_loss"] = loss;
  results["train_eval_loss"] = loss - 0.1 - 0.02 * noise.uniform();
  results["train_eval_accuracy"] = 0.97;
  results["train_eval_total"] = 2000;
  results["peak_resident_bytes"] = 612'000'000;
  results["threads"] = 1;
  results["instruction_set"] = "avx512";
  results["settings"] = {{"learning_rate", 5e-5},
                         {"batch_size", 32},
                         {"seed", seed},
                         {"weights", "minilm"},
                         {"sparse_method", arm.options.value("sparse-method", "top-k")},
                         {"layer_sparsity", std::vector<double>(static_cast<size_t>(study.layers), arm.sparsity)}};
  if (measured)
    results["settings"]["bigbird"] = ordered_json::parse("[" + arm.options.at("bigbird").get<std::string>() + "]");
  write_file(run + "/all_results.json", results.dump(2));
  write_status(run, "complete", "");
}

/// Changes results of a complete run.
inline void change_results(const std::string& dir, const std::string& arm, uint64_t seed,
                           const nlohmann::ordered_json& changes) {
  const std::string path = run_dir(dir, arm, seed) + "/all_results.json";
  auto results = nlohmann::ordered_json::parse(read_file(path));
  results.update(changes);
  write_file(path, results.dump(2));
}

/// Changes settings of a complete run.
inline void change_settings(const std::string& dir, const std::string& arm, uint64_t seed,
                            const nlohmann::ordered_json& settings) {
  const std::string path = run_dir(dir, arm, seed) + "/all_results.json";
  auto all = nlohmann::ordered_json::parse(read_file(path))["settings"];
  all.update(settings);
  change_results(dir, arm, seed, {{"settings", all}});
}

/// The whole study, all runs complete.
inline void write_study(const std::string& dir, const SyntheticStudy& study) {
  write_study_json(dir, study);
  for (const SyntheticArm& arm : study.arms)
    for (const uint64_t seed : study.seeds) write_run(dir, study, arm, seed);
}

/// A run that diverged after some steps.
inline void diverge(const std::string& dir, const std::string& arm, uint64_t seed) {
  const std::string run = run_dir(dir, arm, seed);
  std::filesystem::remove_all(run);
  std::filesystem::create_directories(run);
  std::string metrics;
  for (int step = 50; step <= 900; step += 50)
    metrics +=
        nlohmann::ordered_json{{"step", step}, {"epoch", step / 2105.0}, {"loss", 0.6 + std::exp(0.004 * step - 3)}}
            .dump() +
        "\n";
  write_file(run + "/metrics.jsonl", metrics);
  write_status(run, "diverged", "the loss is not finite after step 917 (layer.3.ffn.lin1 <weight>)");
}

/// The four configurations of the crisp preset.
inline SyntheticStudy crisp_study() {
  SyntheticStudy study;
  study.description = "The four configurations of Crisp Attention, one epoch from MiniLM on SST-2.";
  study.arms = {{"dense", {{"sparsity", "dense"}}, 0.890, 0},
                {"uniform", {{"sparsity", "uniform"}}, 0.890, 0.7},
                {"light", {{"sparsity", "light"}}, 0.893, 0.6},
                {"aggressive", {{"sparsity", "aggressive"}}, 0.886, 0.8}};
  study.seeds = {0, 1, 2, 3};
  return study;
}

/// Twenty arms, as in the breaking-bert preset.
inline SyntheticStudy large_study() {
  SyntheticStudy study;
  study.name = "breaking-bert";
  study.description = "Five kinds of masks at equal effective sparsity, in all, the early and the late layers.";
  study.arms = {{"dense", {{"sparsity", "dense"}}, 0.890, 0}};
  double worse = 0;
  for (const char* method : {"top-k", "neighbour", "random-k", "lexical", "syntax"}) {
    for (const char* layers : {"all", "early", "late"}) {
      const bool all = std::string(layers) == "all";
      study.arms.push_back({fmt::format("{}-{}", method, layers),
                            {{"sparse-method", method}, {"sparsity", 0.8}, {"sparse-layers", layers}},
                            0.888 - worse * (all                              ? 1
                                             : std::string(layers) == "early" ? 0.8
                                                                              : 0.2),
                            all ? 0.8 : 0.4});
    }
    worse += 0.012;
  }
  for (const char* mix : {"8,0,0", "4,4,0", "0,7,1", "4,2,2"})
    study.arms.push_back(
        {fmt::format("bigbird-{}", mix), {{"sparse-method", "bigbird"}, {"bigbird", mix}}, 0.885, 0.66});
  study.seeds = {0, 1, 2};
  study.evaluations = 4;
  study.epochs = 2;
  return study;
}

}  // namespace crisp::test
