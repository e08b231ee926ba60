// crisp-inspect memory: what it foresees is what a run then takes.
#include <cmath>

#include "tests/tools/programs.h"

using namespace crisp::test;

namespace {

constexpr const char* sentence = "this film is a wonderful story , and the acting is great";

// A folder where every sentence is the same, so that every batch is.
struct Sentences : Workshop {
  Sentences() {
    std::string lines = "sentence\tlabel\n";
    for (int i = 0; i < 32; ++i) lines += std::string(sentence) + "\t" + std::to_string(i % 2) + "\n";
    write("same.tsv", lines);
    write("one.tsv", "sentence\tlabel\nfine\t1\n");
  }

  // The most bytes that a run of a few steps of four sentences had in tensors.
  int64_t measured(const Words& options, const char* program = CRISP_TRAIN) const {
    const Words command{program, "--init",      "config.json",       "--vocab", "vocab.txt",    "--train", "same.tsv",
                        "--dev", "one.tsv",     "--max-steps",       "3",       "--batch-size", "4",       "--output",
                        "out",   "--overwrite", "--eval-batch-size", "1"};
    const Outcome trained = start(command + options);
    INFO(trained.err);
    REQUIRE(trained.exit_code == 0);
    return read_json("out/all_results.json").at("peak_tensor_bytes").get<int64_t>();
  }

  json foreseen(const Words& options) const {
    const Outcome told = start(Words{CRISP_INSPECT, "memory", "--init", "config.json", "--json"} + options);
    INFO(told.err);
    REQUIRE(told.exit_code == 0);
    return json::parse(told.out);
  }
};

int64_t bytes_of(const json& told, const std::string& label) {
  for (const json& part : told.at("parts"))
    if (part.at("label") == label) return part.at("bytes").get<int64_t>();
  return 0;
}

double relative_difference(int64_t a, int64_t b) {
  return std::abs(static_cast<double>(a - b)) / static_cast<double>(b);
}

const Words text{sentence, "--vocab", "vocab.txt", "--batch", "4"};

}  // namespace

TEST_CASE("crisp-inspect memory foresees the peak of a run to one percent") {
  const Sentences at;
  const Words options = GENERATE(Words{"--threads", "1"}, Words{"--threads", "2", "--sparsity", "0.5"},
                                 Words{"--threads", "1", "--gradient-accumulation-steps", "2"},
                                 Words{"--threads", "1", "--precision", "f64", "--sparsity", "0.5"},
                                 Words{"--threads", "1", "--precision", "f64", "--sparse-method", "random-k",
                                       "--sparsity", "0.5", "--gradient-accumulation-steps", "3"},
                                 Words{"--threads", "2", "--sparse-method", "learned-span"});
  CAPTURE(options);
  const json told = at.foreseen(text + options);
  const int64_t peak = told.at("peak_bytes"), measured = at.measured(options);
  CAPTURE(told.dump(), measured);
  CHECK(relative_difference(peak, measured) < 0.01);
  int64_t sum = 0;
  for (const json& part : told.at("parts")) sum += part.at("bytes").get<int64_t>();
  CHECK(sum == peak);
}

TEST_CASE("crisp-inspect memory foresees the peak of a GPU, with the emulator's products") {
  const Sentences at;
  const Words options = GENERATE(Words{}, Words{"--sparsity", "0.5", "--gradient-accumulation-steps", "2"});
  CAPTURE(options);
  const json told = at.foreseen(text + options + Words{"--device", "cuda"});
  const int64_t measured = at.measured(options + Words{"--device", "cuda", "--threads", "1"}, CRISP_TRAIN_EMULATED);
  CAPTURE(told.dump(), measured);
  CHECK(relative_difference(told.at("peak_bytes"), measured) < 0.05);
}

TEST_CASE("crisp-inspect memory tells who has the memory, and fits a terminal") {
  const Sentences at;
  const json training = at.foreseen(text), inference = at.foreseen(text + Words{"--infer"});
  CHECK(training.at("sentences") == 4);
  CHECK(bytes_of(training, "moments") >= 2 * bytes_of(training, "weights"));
  CHECK(bytes_of(training, "gradients") > 0);
  CHECK(bytes_of(training, "layer.0") > 0);
  CHECK(bytes_of(inference, "weights") == bytes_of(training, "weights"));
  for (const char* none : {"moments", "gradients"}) CHECK(bytes_of(inference, none) == 0);
  CHECK(inference.at("peak_bytes") < training.at("peak_bytes"));

  // A base model at its longest: no more is touched than a small one takes.
  const Outcome large = at.start(
      {CRISP_INSPECT, "memory", "--init", "distilbert-base", "--batch", "32", "--length", "512", "--threads", "2"},
      {.environment = {"COLUMNS=80"}});
  INFO(large.out << large.err);
  CHECK(large.exit_code == 0);
  CHECK(contains(large.out, "32 sentences, 16384 tokens; f32, on 2 threads\n"));
  CHECK(contains(large.out, "moments of AdamW"));
  CHECK(contains(large.out, "activations, layer.3"));
  for (const std::string& line : lines_of(large.out)) CHECK(line.size() <= 80);
}

TEST_CASE("crisp-inspect memory says what is missing") {
  const Sentences at;
  const auto refusal = [&](const Words& words) {
    const Outcome refused = at.start(Words{CRISP_INSPECT, "memory"} + words);
    CHECK(refused.exit_code == 2);
    CHECK(refused.out.empty());
    return refused.err;
  };
  CHECK(contains(refusal({"text"}), "give --model DIR, --weights FILE or --init"));
  CHECK(contains(refusal({"--init", "distilbert-base"}), "--batch N --length L"));
  CHECK(contains(refusal({"--init", "distilbert-base", "text"}), "give --vocab FILE"));
  CHECK(
      contains(refusal({"--init", "distilbert-base", "--weights", "w"}), "give one of --model, --weights and --init"));
  CHECK(contains(refusal({"--init", "config.json", "--batch", "2", "--length", "65"}), "the model's 64 positions"));
  CHECK(contains(refusal({"--init", "config.json", "--btch", "2"}), "did you mean --batch?"));
  CHECK(contains(refusal({"--init", "distilbert-base", "--batch", "2", "--length", "5", "--sparse-method", "syntax",
                          "--sparsity", "0.5"}),
                 "give a TEXT and --parses FILE"));
}
