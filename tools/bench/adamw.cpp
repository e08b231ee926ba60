// crisp-bench adamw: the optimizer on DistilBERT's parameters.
#include <fmt/format.h>

#include "data/input/file.h"
#include "engine/ops.h"
#include "tools/bench/commands.h"
#include "tools/bench/report.h"
#include "train/optimizer.h"

namespace crisp::bench {
namespace {

struct AdamWBenchOptions {
  CommonOptions common;
  std::string init = "distilbert-base";
};

int adamw_command(const AdamWBenchOptions& o) {
  const Context context = o.common.context();
  DistilBertConfig config;
  if (o.init != "distilbert-base") config = parse_config(read_input(o.init, input_limit::settings), o.init);
  const DistilBert model(config, DType::f32);
  int64_t elements = 0;
  for (const Parameter& p : model.parameters()) {
    if (!p.tensor.gradient().by_rows()) elements += p.tensor.numel();
    p.tensor.copy_from(Tensor::full(p.tensor.shape(), DType::f32, 0.02));
  }
  AdamW optimizer(model.parameters(), {}, context);
  const auto give_gradients = [&] {
    for (const Parameter& p : model.parameters()) {
      if (p.tensor.gradient().by_rows() || p.tensor.gradient()) continue;
      p.tensor.set_grad(Tensor::full(p.tensor.shape(), DType::f32, 1e-3));
    }
  };
  std::vector<Tensor> tensors;
  for (const Parameter& p : model.parameters()) tensors.push_back(p.tensor);
  const auto norm_of = [&](const std::vector<Tensor>& all) {
    return read_clip(clip_gradients(context, all, {}, {}, 1));
  };
  const auto array = [&](double value) { return Tensor::full({elements}, DType::f32, value); };
  const Tensor parameter = array(0.02), gradient = array(1e-3), m = array(0), v = array(0);
  AdamWStep rule{.learning_rate = 2e-5,
                 .beta1 = 0.9,
                 .beta2 = 0.999,
                 .epsilon = 1e-8,
                 .weight_decay = 0.01,
                 .gradient_scale = 1,
                 .step = 0};
  const auto timed = [](const auto& f) {
    const double begin = now();
    f();
    return now() - begin;
  };
  const auto update = [&] {
    ++rule.step;
    const AdamWPart part{parameter, gradient, m, v, rule};
    crisp::adamw(context, {&part, 1}, {});
  };
  const auto limit = [&] {
    update_in_place(context.threads(), parameter.data<float>(), gradient.data<float>(), m.data<float>(),
                    v.data<float>(), elements);
  };
  const auto read = [&] { read_in_order(context.threads(), gradient.data<float>(), elements); };
  const std::vector<Spread> times = collect_in_turn({[&] { return timed(limit); }, [&] { return timed(update); },
                                                     [&] {
                                                       give_gradients();
                                                       return timed([&] { optimizer.step(2e-5, 1); });
                                                     },
                                                     [&] { return timed(read); },
                                                     [&] {
                                                       give_gradients();
                                                       return timed([&] { norm_of(tensors); });
                                                     }},
                                                    o.common.effort());
  const auto n = static_cast<double>(elements);
  const auto ceiling = [](double bytes, const Spread& time, const char* how) -> Ceiling {
    return {{bytes / time.median, bytes / time.q3, bytes / time.q1, time.samples}, how};
  };
  const Ceiling in_place = ceiling(28 * n, times[0], "read four arrays, write three, in place");
  const Ceiling reading = ceiling(4 * n, times[3], "read one array");
  const double update_limit = in_place.rate.median, read_limit = reading.rate.median;
  const std::vector<Result> results = {
      {{{"what", "one array"}}, times[1], 28 * n, "GB/s", update_limit},
      {{{"what", "a step of all tensors, with its norm"}}, times[2], 32 * n, "GB/s", update_limit},
      {{{"what", "gradient norm"}}, times[4], 4 * n, "GB/s", read_limit}};
  if (!o.common.json)
    fmt::print(
        "{} parameters (word embeddings take a few rows a step and are left out); an update moves 28 bytes for each, "
        "the norm 4. Measured in turn.\n",
        elements);
  print_report("adamw", {{"update_in_place", in_place}, {"read", reading}}, results, context, o.common.json);
  return 0;
}

}  // namespace

Command add_adamw(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "adamw", "The optimizer's update and the gradient norm, over all parameters but the word embeddings");
  const auto options = std::make_shared<AdamWBenchOptions>();
  add_text(*app, "init", options->init, "distilbert-base or a config.json: the model's size");
  add_common_options(*app, options->common);
  return {app, [options] { return adamw_command(*options); }};
}

}  // namespace crisp::bench
