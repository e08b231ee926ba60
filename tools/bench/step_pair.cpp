// crisp-bench step --against: two sparsities, step by step in turn on the same batches.
#include <fmt/format.h>

#include <array>
#include <memory>

#include "tools/bench/report.h"
#include "tools/bench/step.h"

namespace crisp::bench {
namespace {

using nlohmann::ordered_json;

struct Side {
  std::string sparsity;
  double first_loss = 0;
  std::vector<double> seconds = {}, attention_seconds = {};  // of each measured step
};

ordered_json in_ms(const Spread& s) {
  return {{"median_ms", 1e3 * s.median}, {"q1_ms", 1e3 * s.q1}, {"q3_ms", 1e3 * s.q3}};
}

}  // namespace

int compare_steps(const StepOptions& o, const Context& context) {
  // Two models of their own, so that both sides find batches and optimizer in the same state. Each takes either side's
  // steps alternately: where a model lies in memory, and which of the two goes first, concerns both sides alike.
  StepSetup first = set_up_step(o, context), second = set_up_step(o, context);
  const std::array models{&first.model, &second.model};
  std::array trainers{std::make_unique<Trainer>(first.model, *first.sentences.data, train_options(o), context),
                      std::make_unique<Trainer>(second.model, *second.sentences.data, train_options(o), context)};
  std::array sides{Side{.sparsity = o.sparsity}, Side{.sparsity = o.against}};
  std::vector<double> ratios;
  int64_t tokens = 0;
  for (int64_t s = 0; s < o.warm + o.steps; ++s) {
    for (size_t t = 0; t < trainers.size(); ++t) {
      Side& side = sides[(t + static_cast<size_t>(s)) % 2];
      DistilBertConfig& config = models[t]->mutable_config();
      config.sparsity = parse_sparsity(side.sparsity, config.layers);
      StepReport report;
      const StepTime time = timed_step(*trainers[t], report);
      if (s == 0) side.first_loss = report.loss;
      if (s < o.warm) continue;
      side.seconds.push_back(time.seconds);
      side.attention_seconds.push_back(time.attention_seconds);
    }
    if (s < o.warm) continue;
    tokens += trainers[0]->last_tokens();
    ratios.push_back(sides[0].seconds.back() / sides[1].seconds.back());
  }

  const Spread ratio = spread_of(ratios);
  const auto interval = median_interval(ratios);
  const Spread base = spread_of(sides[1].seconds);
  const double attention_ratio =
      1 + (spread_of(sides[0].attention_seconds).median - spread_of(sides[1].attention_seconds).median) / base.median;
  ordered_json j = machine_json(context, Device::cpu);
  j["data"] = first.sentences.what;
  j["precision"] = name_of(o.precision);
  j["batch"] = o.batch;
  j["steps"] = o.steps;
  j["tokens_per_step"] = static_cast<double>(tokens) / static_cast<double>(o.steps);
  for (const Side& side : sides)
    j["sides"].push_back({{"sparsity", side.sparsity},
                          {"first_loss", side.first_loss},
                          {"step", in_ms(spread_of(side.seconds))},
                          {"attention", in_ms(spread_of(side.attention_seconds))}});
  j["ratio"] = {{"median", ratio.median}, {"q1", ratio.q1}, {"q3", ratio.q3}, {"interval_95", nullptr}};
  if (interval) j["ratio"]["interval_95"] = {interval->first, interval->second};
  j["ratio_by_attention"] = attention_ratio;
  if (o.common.json) {
    fmt::print("{}\n", j.dump());
    return 0;
  }
  fmt::print("{}, {}\n", machine_text(context, Device::cpu), name_of(o.precision));
  fmt::print("{}; batches of {}, training of {:.0f} tokens on average; each batch with both sparsities in turn\n",
             first.sentences.what, o.batch, j["tokens_per_step"].get<double>());
  for (const ordered_json& side : j["sides"]) {
    const auto ms = [&](const char* what, const char* key) { return side[what][key].get<double>(); };
    fmt::print("sparsity {:<12} {:8.1f} ms a step ({:.1f}..{:.1f}), {:.2f} in attention ({:.2f}..{:.2f})\n",
               side["sparsity"].get<std::string>(), ms("step", "median_ms"), ms("step", "q1_ms"), ms("step", "q3_ms"),
               ms("attention", "median_ms"), ms("attention", "q1_ms"), ms("attention", "q3_ms"));
  }
  fmt::print("ratio                 {:8.4f} ({:.4f}..{:.4f}), median of {} pairs", ratio.median, ratio.q1, ratio.q3,
             ratio.samples);
  if (interval) fmt::print("; 95 % interval of the median {:.4f}..{:.4f}", interval->first, interval->second);
  fmt::print("\nby attention          {:8.4f}: if nothing but the time in attention's kernels differed\n",
             attention_ratio);
  return 0;
}

}  // namespace crisp::bench
