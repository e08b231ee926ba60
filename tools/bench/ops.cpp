// crisp-bench ops: the operations of a step that are not alone with a matrix product.
#include <fmt/format.h>

#include <map>

#include "engine/ops.h"
#include "engine/profile.h"
#include "tools/bench/commands.h"
#include "tools/bench/report.h"

namespace crisp::bench {
namespace {

constexpr int64_t dim = 768, hidden = 3072, vocabulary = 30522, positions = 512;

struct OpsOptions {
  CommonOptions common;
  Precision precision = Precision::f32;
  int64_t rows = 426;
};

// What the work of an operation is counted in.
enum class Measure { flops, bytes, elements, words };

struct Case {
  std::string name;
  std::vector<Tensor> inputs;  // those that want gradients
  std::function<Tensor(Tape&)> run;
  Measure measure;
  double forward = 0, backward = 0;              // work of each pass; 0: not reported
  double bytes_forward = 0, bytes_backward = 0;  // least traffic, where the limit is memory
};

// A pass's time without what the loss costs: on the CPU the forward pass by the clock, the backward pass as the sum
// over its kernels; on a GPU both as sums, by its own clock.
struct Times {
  Spread forward, backward;
};

double seconds_in_kernels() {
  double seconds = 0;
  for (const KernelProfile& k : profile())
    if (std::string_view(k.name) != "reduce_backward") seconds += k.seconds;
  return seconds;
}

Times time_case(const Case& c, const Context& context, Device device, const Effort& effort) {
  Tape tape(context);
  const auto run_forward = [&](double& seconds) {
    for (const Tensor& t : c.inputs) t.clear_grad();
    tape.clear();
    if (device != Device::cpu) start_profile();
    const double begin = now();
    const Tensor y = c.run(tape);
    seconds = now() - begin;
    stop_profile();
    return y;
  };
  const auto forward = [&] {
    double seconds = 0;
    run_forward(seconds);
    return device == Device::cpu ? seconds : seconds_in_kernels();
  };
  const auto backward = [&] {
    double seconds = 0;
    const Tensor loss = sum(tape, run_forward(seconds));
    start_profile();
    tape.backward(loss);
    stop_profile();
    return seconds_in_kernels();
  };
  return {collect(forward, effort), collect(backward, effort)};
}

Rows random_rows(int64_t n, int64_t limit, uint64_t seed, Device device) {
  std::vector<int32_t> ids;
  for (uint64_t i = 0; i < static_cast<uint64_t>(n); ++i)
    ids.push_back(static_cast<int32_t>(random_word({.seed = seed}, i) % static_cast<uint32_t>(limit)));
  return on(device, Rows(ids));
}

std::vector<Case> cases_of(int64_t rows, DType t, Device device) {
  const auto random = [&](const Shape& shape, uint64_t seed, double deviation = 1) {
    return Tensor::normal(shape, t, {.seed = seed}, 0, deviation, device).set_requires_grad();
  };
  const auto size = static_cast<double>(size_of(t)), r = static_cast<double>(rows);
  const auto d = static_cast<double>(dim), h = static_cast<double>(hidden);
  const Tensor x = random({rows, dim}, 1), residual = random({rows, dim}, 2);
  const Tensor up = random({hidden, dim}, 3, 0.02), up_bias = random({hidden}, 4, 0.02);
  const Tensor gain = random({dim}, 5), bias = random({dim}, 6);
  const Tensor wide = random({rows, hidden}, 7), scores = random({rows * 12, 64}, 8);
  const Tensor words = random({vocabulary, dim}, 9, 0.02), places = random({positions, dim}, 10, 0.02);
  const Tensor logits = random({rows, 2}, 11);
  const Rows labels = random_rows(rows, 2, 12, device);
  const Rows ids = random_rows(rows, vocabulary, 13, device), place_ids = random_rows(rows, 64, 14, device);
  const Dropout drop{0.1, {.seed = 15, .stream = Stream::dropout}};
  const double flops = 2 * r * d * h;
  // In the order of the step. Bytes: each operand read once, each result and what the backward pass needs written once.
  return {
      {"linear",
       {x, up, up_bias},
       [=](Tape& tape) { return linear(tape, x, up, up_bias); },
       Measure::flops,
       flops,
       2 * flops},
      {"linear + gelu",
       {x, up, up_bias},
       [=](Tape& tape) { return linear(tape, x, up, up_bias, Activation::gelu); },
       Measure::flops,
       flops,
       2 * flops},
      {"residual + dropout + layer norm",
       {x, residual, gain, bias},
       [=](Tape& tape) { return residual_layer_norm(tape, x, residual, drop, gain, bias, 1e-12); },
       Measure::bytes,
       4 * r * d * size,
       4 * r * d * size},
      {"layer norm",
       {x, gain, bias},
       [=](Tape& tape) { return layer_norm(tape, x, gain, bias, 1e-12); },
       Measure::bytes,
       2 * r * d * size,
       3 * r * d * size},
      {"embeddings + layer norm + dropout",
       {words, places, gain, bias},
       [=](Tape& tape) { return embeddings_layer_norm(tape, words, places, ids, place_ids, gain, bias, 1e-12, drop); },
       Measure::bytes,
       4 * r * d * size,
       4 * r * d * size},
      {"gelu",
       {wide},
       [=](Tape& tape) { return gelu(tape, wide); },
       Measure::elements,
       r * h,
       r * h,
       2 * r * h * size,
       3 * r * h * size},
      {"exp", {wide}, [=](Tape& tape) { return exp(tape, wide); }, Measure::elements, r * h, 0, 2 * r * h * size},
      {"erf", {wide}, [=](Tape& tape) { return erf(tape, wide); }, Measure::elements, r * h, 0, 2 * r * h * size},
      {"softmax",
       {scores},
       [=](Tape& tape) { return softmax(tape, scores); },
       Measure::elements,
       r * d,
       r * d,
       2 * r * d * size,
       3 * r * d * size},
      {"dropout",
       {wide},
       [=](Tape& tape) { return dropout(tape, wide, drop); },
       Measure::elements,
       r * h,
       r * h,
       2 * r * h * size,
       2 * r * h * size},
      {"philox (as dropout)", {wide}, [=](Tape& tape) { return dropout(tape, wide, drop); }, Measure::words, r * h, 0},
      {"cross entropy",
       {logits},
       [=](Tape& tape) { return cross_entropy(tape, logits, labels); },
       Measure::elements,
       2 * r,
       0},
  };
}

int ops(OpsOptions o) {
  const Device device = device_for(o.common.device);
  const Context context = o.common.context(o.precision);
  const Effort effort = o.common.effort();
  const Ceiling arithmetic = product_ceiling(dtype_for(o.precision), context, device, effort);
  std::map<int64_t, Ceiling> memory;  // by size: what fits a cache is faster
  const auto bandwidth = [&](double bytes) {
    const int64_t size = std::max<int64_t>(static_cast<int64_t>(bytes), 1 << 16);
    const Effort little{effort.samples, std::min(effort.seconds, 0.2)};
    if (!memory.contains(size))
      memory[size] =
          device == Device::cpu ? update_ceiling(context.threads(), size, little) : copy_ceiling(device, size, little);
    return memory[size].rate.median;
  };
  const char* units[] = {"GF/s", "GB/s", "ns/element", "Gword/s"};
  std::vector<Result> results;
  for (const Case& c : cases_of(o.rows, dtype_for(o.precision), device)) {
    const Times times = time_case(c, context, device, effort);
    const auto add = [&](const char* pass, const Spread& time, double work, double bytes) {
      if (work == 0) return;
      Result result{{{"operation", c.name}, {"pass", pass}}, time, work, units[static_cast<int>(c.measure)]};
      if (c.measure == Measure::flops) result.ceiling = arithmetic.rate.median;
      if (c.measure == Measure::bytes) result.ceiling = bandwidth(work);
      if (c.measure == Measure::elements && bytes > 0) result.ceiling = bandwidth(bytes) * work / bytes;
      results.push_back(result);
    };
    add("forward", times.forward, c.forward, c.bytes_forward);
    add("backward", times.backward, c.backward, c.bytes_backward);
  }
  std::vector<std::pair<std::string, Ceiling>> ceilings{{name_of(o.precision), arithmetic}};
  for (const auto& [size, ceiling] : memory)
    ceilings.emplace_back(fmt::format("bytes of {:.1f} MB", static_cast<double>(size) * 1e-6), ceiling);
  if (!o.common.json) fmt::print("{} rows of {} ({} in the feed-forward part)\n", o.rows, dim, hidden);
  print_report("ops", ceilings, results, context, device, o.common.json);
  return 0;
}

}  // namespace

Command add_ops(CLI::App& program) {
  CLI::App* app = add_command(program, "ops", "The fused operations and the elementwise functions");
  const auto options = std::make_shared<OpsOptions>();
  add_integer(*app, "rows", options->rows, 1, 1'000'000, "Tokens of a batch");
  add_precision(*app, *options);
  add_device(*app, options->common);
  add_common_options(*app, options->common);
  return {app, [options] { return ops(*options); }};
}

}  // namespace crisp::bench
