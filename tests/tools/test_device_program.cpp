// --device: the programs on the emulated GPU, and what they say where there is none.
#include "engine/backend.h"
#include "tests/tools/programs.h"

using namespace crisp;
using namespace crisp::test;

namespace {

Words on_gpu(const std::string& output, const Words& more) {
  Words command = Workshop::train_command(output, Words{"--device", "cuda"} + more);
  command[0] = CRISP_TRAIN_EMULATED;
  return command;
}

Outcome amiss(const Workshop& at, const std::string& what, const Words& command) {
  return at.start(command, {.environment = {"CRISP_EMULATED_GPU=" + what}});
}

const Words three_steps{"--max-steps", "3", "--max-eval-samples", "8", "--sparsity", "0.5", "--logging-steps", "1"};

std::vector<double> losses_of(const Workshop& at, const std::string& output) {
  std::vector<double> losses;
  for (const json& line : at.metrics(output))
    if (line.contains("loss") && line.contains("grad_norm")) losses.push_back(line.at("loss"));
  return losses;
}

}  // namespace

TEST_CASE("a run on the GPU takes the CPU's course, and its model predicts on both") {
  const Workshop at;
  const Outcome there = at.start(on_gpu("gpu", three_steps));
  INFO(there.err);
  REQUIRE(there.exit_code == 0);
  CHECK(contains(there.err, "f32 products by cuda-sm_90 (emulated device) kernels"));
  CHECK(at.read_json("gpu/all_results.json").at("instruction_set") == "cuda-sm_90 (emulated device)");
  REQUIRE(at.train("cpu", three_steps).exit_code == 0);
  const std::vector<double> gpu = losses_of(at, "gpu"), cpu = losses_of(at, "cpu");
  REQUIRE(gpu.size() == 3);
  REQUIRE(cpu.size() == 3);
  for (size_t i = 0; i < 3; ++i) CHECK(gpu[i] == Approx(cpu[i]).epsilon(1e-5));

  at.write("sentences.txt", "a slow start , but what an ending\nnothing works\n");
  const Words ask{"--model", "gpu", "--json", "sentences.txt"};
  const Outcome by_cpu = at.predict(ask),
                by_gpu = at.start(Words{CRISP_PREDICT_EMULATED, "--device", "cuda", "--threads", "1"} + ask);
  REQUIRE(by_cpu.exit_code == 0);
  INFO(by_gpu.err);
  REQUIRE(by_gpu.exit_code == 0);
  const std::vector<json> a = json_lines(by_cpu.out), b = json_lines(by_gpu.out);
  REQUIRE(a.size() == 2);
  REQUIRE(b.size() == 2);
  for (size_t i = 0; i < 2; ++i) {
    CHECK(a[i].at("label") == b[i].at("label"));
    for (size_t k = 0; k < a[i].at("logits").size(); ++k)
      CHECK(a[i].at("logits")[k].get<double>() == Approx(b[i].at("logits")[k].get<double>()).epsilon(1e-4));
  }

  const Outcome moved =
      at.train("gpu", Words{"--resume", "--max-steps", "3", "--max-eval-samples", "8", "--sparsity", "0.5"});
  CHECK(moved.exit_code == 0);  // it has ended: nothing is left to do
}

TEST_CASE("what a run on the GPU logs and learns does not hang on how often it logs") {
  const Workshop at;
  const auto with = [](const char* logging) {
    return Words{"--max-steps",  "8", "--max-eval-samples", "8",     "--sparsity",   "0.5",
                 "--eval-steps", "5", "--logging-steps",    logging, "--batch-size", "4"};
  };
  REQUIRE(at.start(on_gpu("each", with("1"))).exit_code == 0);
  REQUIRE(at.start(on_gpu("third", with("3"))).exit_code == 0);
  CHECK(read_file(at / "each/model.safetensors") == read_file(at / "third/model.safetensors"));
  // The lines of each step, and those of a run that logs every third (and the last), as they must be after them.
  double sum = 0;
  int steps = 0;
  std::vector<json> expected;
  for (json line : at.metrics("each")) {
    line.erase("tokens_per_second");
    if (!line.contains("grad_norm")) {
      expected.push_back(line);
      continue;
    }
    sum += line.at("loss").get<double>();
    ++steps;
    const auto step = line.at("step").get<int>();
    if (step % 3 != 0 && step != 8) continue;
    line["loss"] = sum / steps;
    expected.push_back(line);
    sum = steps = 0;
  }
  std::vector<json> lines = at.metrics("third");
  for (json& line : lines) line.erase("tokens_per_second");
  CHECK(lines == expected);
  const json a = at.read_json("each/all_results.json"), b = at.read_json("third/all_results.json");
  for (const char* key : {"train_loss", "last_eval_loss", "best_step", "step"}) CHECK(a.at(key) == b.at(key));
}

TEST_CASE("a run on the GPU that diverges names the same step however often it logs") {
  const Workshop at;
  std::vector<std::string> messages;
  for (const char* logging : {"1", "50"}) {
    const std::string out = std::string("out").append(logging);
    const Outcome outcome =
        at.start(on_gpu(out, {"--max-steps", "30", "--batch-size", "4", "--learning-rate", "1e30", "--warmup-steps",
                              "0", "--max-eval-samples", "8", "--logging-steps", logging}));
    CHECK(outcome.exit_code == 4);
    const size_t begin = outcome.err.find("crisp-train: ");
    REQUIRE(begin != std::string::npos);
    messages.push_back(outcome.err.substr(begin, outcome.err.find(';', begin) - begin));
  }
  INFO(messages[0]);
  CHECK(contains(messages[0], " at step "));
  CHECK(messages[0] == messages[1]);
}

TEST_CASE("a run that was begun on the GPU goes on on the CPU, and says that bits may differ") {
  const Workshop at;
  REQUIRE(at.start(on_gpu("out", three_steps)).exit_code == 0);
  std::filesystem::remove(at / "out/all_results.json");  // as if it had died just before the end
  const Outcome resumed = at.train("out", three_steps + Words{"--resume"});
  INFO(resumed.err);
  CHECK(resumed.exit_code == 0);
  CHECK(contains(resumed.err, "was written with cuda-sm_90 (emulated device) kernels"));
  CHECK(contains(resumed.err, "the last bits may differ"));
}

TEST_CASE("without a GPU --device cuda is one sentence, and auto takes the CPU and says so") {
  const Workshop at;
  for (const auto& [what, words] :
       {std::pair("no-driver", "no NVIDIA driver is installed on this machine"),
        {"old-driver", "the NVIDIA driver supports CUDA 12.2, but this build needs CUDA 13.0: install a newer driver"},
        {"no-device", "the NVIDIA driver finds no GPU (CUDA_VISIBLE_DEVICES may hide it)"}}) {
    const Outcome outcome = amiss(at, what, on_gpu("out", three_steps));
    CHECK(outcome.exit_code == 1);
    CHECK(outcome.err == std::string("crisp-train: --device cuda: ") + words + "; --device cpu computes on the CPU\n");
    CHECK(!at.has("out"));
    const Outcome automatic = amiss(at, what, on_gpu("auto", Words{"--device", "auto", "--overwrite"} + three_steps));
    INFO(automatic.err);
    CHECK(automatic.exit_code == 0);
    CHECK(contains(automatic.err, std::string("--device auto: the CPU, since ") + words));
  }
  const Outcome taken = at.start(on_gpu("taken", Words{"--device", "auto"} + three_steps));
  CHECK(contains(taken.err, "--device auto: the GPU, cuda-sm_90 (emulated device)"));
  if (!why_unavailable(Device::cuda).empty()) {
    const Outcome plain = at.train("plain", {"--device", "cuda"});
    CHECK(plain.exit_code == 1);
    CHECK(contains(plain.err, "--device cuda: " + why_unavailable(Device::cuda)));
  }
}

TEST_CASE("too little GPU memory is one sentence with what helps") {
  const Workshop at;
  const Outcome outcome = amiss(at, "1", on_gpu("out", three_steps));
  INFO(outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(contains(outcome.err, "out of GPU memory"));
  CHECK(contains(outcome.err, "smaller batch size"));
}

TEST_CASE("precisions of the other device are refused") {
  const Workshop at;
  const Outcome cpu = at.train("out", {"--precision", "tf32"});
  CHECK(cpu.exit_code == 2);
  CHECK(contains(cpu.err, "--precision tf32 is for GPUs (--device cuda); use f32"));
  const Outcome gpu = at.start(on_gpu("out", {"--precision", "bf16x3"}));
  CHECK(gpu.exit_code == 2);
  CHECK(contains(gpu.err, "--precision bf16x3 is for CPUs; use tf32"));
  for (const char* precision : {"tf32", "bf16"}) {
    const Outcome outcome = at.start(on_gpu(precision, Words{"--precision", precision} + three_steps));
    CHECK(outcome.exit_code == 0);
    CHECK(contains(outcome.err, std::string("cuda-sm_90+") + precision));
  }
}
