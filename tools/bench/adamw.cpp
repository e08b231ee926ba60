// crisp-bench adamw: the optimizer on DistilBERT's parameters.
#include <fmt/format.h>

#include "data/input/file.h"
#include "engine/backend.h"
#include "engine/ops.h"
#include "tools/bench/commands.h"
#include "tools/bench/report.h"
#include "train/core/optimizer.h"

namespace crisp::bench {
namespace {

struct AdamWBenchOptions {
  CommonOptions common;
  std::string init = "distilbert-base";
};

int adamw_command(const AdamWBenchOptions& o) {
  const Device device = device_for(o.common.device);
  const bool by_cpu = device == Device::cpu;
  const Wait wait = backend(device).wait;
  const Context context = o.common.context();
  DistilBertConfig config;
  if (o.init != "distilbert-base") config = parse_config(read_input(o.init, input_limit::settings), o.init);
  const DistilBert model(config, DType::f32, device);
  const auto filled = [&](const Shape& shape, double value) { return Tensor::full(shape, DType::f32, value, device); };
  int64_t elements = 0;
  for (const Parameter& p : model.parameters()) {
    if (!p.tensor.gradient().by_rows()) elements += p.tensor.numel();
    p.tensor.copy_from(filled(p.tensor.shape(), 0.02));
  }
  AdamW optimizer(model.parameters(), {}, context);
  const auto give_gradients = [&] {
    for (const Parameter& p : model.parameters()) {
      if (p.tensor.gradient().by_rows() || p.tensor.gradient()) continue;
      p.tensor.set_grad(filled(p.tensor.shape(), 1e-3));
    }
  };
  std::vector<Tensor> tensors;
  for (const Parameter& p : model.parameters()) tensors.push_back(p.tensor);
  const auto array = [&](double value) { return filled({elements}, value); };
  const Tensor parameter = array(0.02), gradient = array(1e-3), m = array(0), v = array(0);
  AdamWStep rule{.learning_rate = 2e-5,
                 .beta1 = 0.9,
                 .beta2 = 0.999,
                 .epsilon = 1e-8,
                 .weight_decay = 0.01,
                 .gradient_scale = 1,
                 .step = 0};
  const auto update = [&] {
    ++rule.step;
    const AdamWPart part{parameter, gradient, m, v, rule};
    crisp::adamw(context, {&part, 1}, {});
  };
  const auto limit = [&] {
    if (!by_cpu) return m.copy_from(gradient);
    update_in_place(context.threads(), parameter.data<float>(), gradient.data<float>(), m.data<float>(),
                    v.data<float>(), elements);
  };
  const auto step = [&] { optimizer.step(2e-5, 1); };
  const auto norm = [&] { read_clip(clip_gradients(context, tensors, {}, {}, 1)); };
  const auto read = [&] { read_in_order(context.threads(), gradient.data<float>(), elements); };
  // A step and a norm end with the host reading the norm.
  const int64_t repeats = by_cpu ? 1 : repeats_of(update, wait);
  std::vector<std::function<double()>> samples{[&] { return seconds_of(limit, wait, repeats); },
                                               [&] { return seconds_of(update, wait, repeats); },
                                               [&] {
                                                 give_gradients();
                                                 return seconds_of(step, wait);
                                               },
                                               [&] {
                                                 give_gradients();
                                                 return seconds_of(norm, wait);
                                               }};
  if (by_cpu) samples.emplace_back([&] { return seconds_of(read, wait); });
  const std::vector<Spread> times = collect_in_turn(samples, o.common.effort());
  const auto n = static_cast<double>(elements);
  const auto ceiling = [](double bytes, const Spread& time, const char* how) -> Ceiling {
    return {{bytes / time.median, bytes / time.q3, bytes / time.q1, time.samples}, how};
  };
  std::vector<std::pair<std::string, Ceiling>> ceilings;
  if (by_cpu) {
    ceilings = {{"update_in_place", ceiling(28 * n, times[0], "read four arrays, write three, in place")},
                {"read", ceiling(4 * n, times[4], "read one array")}};
  } else {
    ceilings = {{"copy", ceiling(8 * n, times[0], "read one array, write one")}};
  }
  const double update_limit = ceilings.front().second.rate.median, read_limit = ceilings.back().second.rate.median;
  const std::vector<Result> results = {
      {{{"what", "one array"}}, times[1], 28 * n, "GB/s", update_limit},
      {{{"what", "a step of all tensors, with its norm"}}, times[2], 32 * n, "GB/s", update_limit},
      {{{"what", "gradient norm"}}, times[3], 4 * n, "GB/s", read_limit}};
  if (!o.common.json)
    fmt::print(
        "{} parameters (word embeddings take a few rows a step and are left out); an update moves 28 bytes for each, "
        "the norm 4. Measured in turn.\n",
        elements);
  print_report("adamw", ceilings, results, context, device, o.common.json);
  return 0;
}

}  // namespace

Command add_adamw(CLI::App& program) {
  CLI::App* app = add_command(
      program, "adamw", "The optimizer's update and the gradient norm, over all parameters but the word embeddings");
  const auto options = std::make_shared<AdamWBenchOptions>();
  add_text(*app, "init", options->init, "distilbert-base or a config.json: the model's size");
  add_device(*app, options->common);
  add_common_options(*app, options->common);
  return {app, [options] { return adamw_command(*options); }};
}

}  // namespace crisp::bench
