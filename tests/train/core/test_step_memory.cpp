// The memory of a step, found without one.
#include "train/core/step_memory.h"

#include <map>

#include "engine/backend.h"
#include "tests/support/catch.h"
#include "tests/train/small_run.h"

using namespace crisp;
using namespace crisp::test;

namespace {

std::map<std::string, int64_t> parts(const meta::Meter::Peak& peak) {
  std::map<std::string, int64_t> all;
  int64_t sum = 0;
  for (const meta::Meter::Part& part : peak.parts) {
    all[part.label] = part.bytes;
    sum += part.bytes;
  }
  CHECK(sum == peak.bytes);
  return all;
}

}  // namespace

TEST_CASE("the memory of a step has parts that follow from the model") {
  DistilBertConfig config = small_run_config();
  config.vocab_size = 5000;
  config.dim = 48;
  config.hidden_dim = 192;
  const TokenizedDataset sentences = small_data(8, 30, 38);
  const Context::Settings context{.threads = 2};
  DistilBert model(config, DType::f32, Device::meta);
  int64_t parameters = 0;
  for (const Parameter& p : model.parameters()) parameters += p.tensor.numel();
  for (const bool on_gpu : {false, true}) {
    CAPTURE(on_gpu);
    const auto step = parts(step_memory(config, sentences, {.on_gpu = on_gpu}, context));
    // Blocks are rounded up.
    const auto is_about = [](int64_t bytes, int64_t expected) {
      CHECK(bytes >= expected);
      CHECK(bytes < expected + expected / 20);
    };
    is_about(step.at("weights"), 4 * parameters);
    is_about(step.at("moments"), 8 * parameters);
    CHECK(step.contains("layer.0"));
    CHECK(step.contains("scratch"));
    CHECK(step.contains(meta::Meter::host_lists) == !on_gpu);

    // The gradients of the batch before are there, but for the rows of words that it did not use.
    const auto accumulated =
        parts(step_memory(config, sentences, {.on_gpu = on_gpu, .gradient_accumulation_steps = 2}, context));
    CHECK(accumulated.at("gradients") > 4 * (parameters - config.vocab_size * config.dim));
    CHECK(accumulated.at("layer.1") > 0);

    const auto twice = parts(step_memory(config, sentences, {.dtype = DType::f64, .on_gpu = on_gpu}, context));
    is_about(twice.at("weights"), 8 * parameters);

    const auto forward = parts(step_memory(config, sentences, {.on_gpu = on_gpu, .inference = true}, context));
    CHECK(!forward.contains("moments"));
    CHECK(!forward.contains("gradients"));
    is_about(forward.at("weights"), 4 * parameters);
  }
}

TEST_CASE("the memory of a step takes none") {
  const int64_t before = backend(Device::cpu).peak_bytes();
  DistilBertConfig config;
  config.layers = 24;
  config.dim = 1024;
  config.hidden_dim = 4096;
  config.heads = 16;
  config.vocab_size = 50;
  const TokenizedDataset sentences = small_data(8, 38, 38);
  const meta::Meter::Peak peak = step_memory(config, sentences, {}, {});
  CHECK(peak.bytes > int64_t{4} << 30);
  CHECK(backend(Device::cpu).peak_bytes() - before < int64_t{32} << 20);
  CHECK(backend(Device::meta).used_bytes() == 0);
}
