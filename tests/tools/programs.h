// What the tests of the programs share: a folder with a small task and a small model, and short ways to start them.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/catch.h"
#include "tests/tools/process.h"
#include "tests/train/support.h"

namespace crisp::test {

using nlohmann::json;
using Words = std::vector<std::string>;

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// Every line parsed; a line that is no JSON throws.
inline std::vector<json> json_lines(const std::string& text) {
  std::vector<json> objects;
  for (const std::string& line : lines_of(text)) objects.push_back(json::parse(line));
  return objects;
}

inline Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// A temporary folder with train.tsv (96 sentences of the bundled sample), dev.tsv (50), vocab.txt and config.json of a
/// model with 2 layers of 32 and 64 positions. The programs run in it, so that names in messages are short.
class Workshop {
 public:
  Workshop() {
    const std::string sample = CRISP_SOURCE_DIR "/data/sample/";
    copy_head(sample + "train.tsv", "train.tsv", 97);
    copy_head(sample + "dev.tsv", "dev.tsv", 51);
    std::filesystem::copy_file(sample + "vocab.txt", dir_ / "vocab.txt");
    write("config.json",
          R"({"model_type": "distilbert", "vocab_size": 1, "max_position_embeddings": 64, "dim": 32,
              "hidden_dim": 64, "n_layers": 2, "n_heads": 2})");
  }

  std::string operator/(const std::string& name) const { return dir_ / name; }
  std::string read(const std::string& name) const { return read_file(dir_ / name); }
  void write(const std::string& name, const std::string& bytes) const { write_file(dir_ / name, bytes); }
  bool has(const std::string& name) const { return std::filesystem::exists(dir_ / name); }
  json read_json(const std::string& name) const { return json::parse(read(name)); }
  std::vector<json> metrics(const std::string& output) const { return json_lines(read(output + "/metrics.jsonl")); }

  /// The same without what a clock decides.
  std::vector<json> timeless_metrics(const std::string& output) const {
    std::vector<json> lines = metrics(output);
    for (json& line : lines) line.erase("tokens_per_second");
    return lines;
  }

  std::vector<std::string> checkpoints(const std::string& output) const {
    std::vector<std::string> found;
    for (const std::string& name : names_in(dir_ / output))
      if (name.starts_with("checkpoint-")) found.push_back(name);
    return found;
  }

  /// 12 steps an epoch, 3 epochs, one thread; `more` wins.
  static Words train_command(const std::string& output, const Words& more = {}) {
    return Words{CRISP_TRAIN, "--init",          "config.json", "--data",       ".",   "--vocab",
                 "vocab.txt", "--max-length",    "64",          "--batch-size", "8",   "--threads",
                 "1",         "--learning-rate", "0.003",       "--output",     output} +
           more;
  }
  Outcome train(const std::string& output, const Words& more = {}, ProcessOptions options = {}) const {
    return start(train_command(output, more), std::move(options));
  }
  Outcome predict(const Words& words, ProcessOptions options = {}) const {
    return start(Words{CRISP_PREDICT, "--threads", "1"} + words, std::move(options));
  }
  Outcome start(const Words& command, ProcessOptions options = {}) const { return run(command, here(options)); }
  ProcessOptions here(ProcessOptions options = {}) const {
    options.working_directory = dir_.path();
    return options;
  }

 private:
  void copy_head(const std::string& from, const std::string& to, size_t count) const {
    std::string text;
    const std::vector<std::string> lines = lines_of(read_file(from));
    for (size_t i = 0; i < std::min(count, lines.size()); ++i) text += lines[i] + "\n";
    write(to, text);
  }

  TempDir dir_;
};

/// The files of a finished run that may depend on nothing but its settings.
inline void check_same_run(const Workshop& at, const std::string& a, const std::string& b) {
  CAPTURE(a, b);
  for (const char* name : {"/model.safetensors", "/config.json", "/dev_predictions.jsonl"})
    CHECK((at.read(a + name) == at.read(b + name)));
  CHECK(at.timeless_metrics(a) == at.timeless_metrics(b));
  CHECK(at.checkpoints(a) == at.checkpoints(b));
  json results_a = at.read_json(a + "/all_results.json"), results_b = at.read_json(b + "/all_results.json");
  for (json* results : {&results_a, &results_b})
    for (const char* key : {"train_runtime", "train_tokens_per_second", "peak_tensor_bytes", "peak_resident_bytes",
                            "startup_seconds", "threads"})
      results->erase(key);
  CHECK(results_a == results_b);
}

}  // namespace crisp::test
