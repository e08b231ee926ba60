// crisp-bench attention: dense and sparse, and what a whole step can gain by it.
#include <fmt/format.h>

#include "engine/ops.h"
#include "engine/parallel.h"
#include "tools/bench/commands.h"
#include "tools/bench/products.h"
#include "tools/bench/report.h"

namespace crisp::bench {
namespace {

constexpr int64_t dim = 768, heads = 12;

struct AttentionOptions {
  CommonOptions common;
  std::vector<double> lengths{16, 32, 64, 128, 256, 512}, densities{1, 0.5, 0.2, 0.1, 0.05};
  int64_t tokens = 2048;
  double dropout = 0.1;
};

// Forward and backward of `batch` sentences of one length.
Spread time_attention(int64_t batch, int64_t length, double density, double dropout, const Effort& effort) {
  const auto random = [&](uint64_t seed) {
    return Tensor::normal({batch * length, dim}, DType::f32, {.seed = seed}).set_requires_grad();
  };
  const Tensor q = random(1), k = random(2), v = random(3);
  const Tensor offsets = Tensor::empty({batch + 1}, DType::i32);
  for (int64_t s = 0; s <= batch; ++s) offsets.data<int32_t>()[s] = static_cast<int32_t>(s * length);
  const AttentionRule rule{.heads = heads,
                           .scale = 0.125,
                           .selection = density < 1 ? Selection::top_k_row : Selection::all,
                           .sparsity = 1 - density,
                           .dropout = {dropout, {.seed = 4, .stream = Stream::dropout}}};
  Tape tape;
  return collect(
      [&] {
        for (const Tensor* t : {&q, &k, &v}) t->clear_grad();
        tape.clear();
        const double begin = now();
        const Tensor out = attention(tape, q, k, v, offsets, offsets, rule);
        const double forward = now() - begin;
        const Tensor loss = sum(tape, out);
        const double middle = now();
        tape.backward(loss);
        return forward + now() - middle;
      },
      effort);
}

int attention_command(const AttentionOptions& o) {
  set_num_threads(static_cast<int>(o.common.threads));
  const Effort effort = o.common.effort();
  const Ceiling ceiling = fma_ceiling(effort);
  // The linear layers of one block, forward and backward, for as many tokens: what attention's gain is diluted by.
  double linear_seconds = 0, linear_flops = 0;
  for (const LinearShape& shape : distilbert_shapes) {
    for (const Pass pass : passes) {
      linear_seconds += shape.count * time_product(shape, o.tokens, pass, DType::f32, {3, effort.seconds}).median;
      linear_flops += shape.count * flops_of(shape, o.tokens);
    }
  }
  std::vector<Result> results;
  for (const double l : o.lengths) {
    const auto length = static_cast<int64_t>(l);
    const int64_t batch = std::max<int64_t>(1, o.tokens / length);
    const auto share = static_cast<double>(batch * length) / static_cast<double>(o.tokens);
    // Six products of [length, length] by the head's width, of which all but the first concern the kept keys only.
    const double dense_flops = 6 * 2.0 * l * l * static_cast<double>(batch * dim);
    const double others_flops = share * linear_flops, others_seconds = share * linear_seconds;
    double dense_seconds = 0;
    for (const double density : o.densities) {
      const Spread time = time_attention(batch, length, density, o.dropout, effort);
      if (density == 1 || dense_seconds == 0)
        dense_seconds = density == 1 ? time.median : time_attention(batch, length, 1, o.dropout, effort).median;
      const double flops = dense_flops * (1 + 5 * density) / 6;
      results.push_back({{{"length", fmt::format("{}", length)}, {"density", fmt::format("{:g}", density)}},
                         time,
                         flops,
                         "GF/s",
                         ceiling.rate.median,
                         {{"gain", dense_seconds / time.median},
                          {"step gain", (others_seconds + dense_seconds) / (others_seconds + time.median)},
                          {"step limit", (others_flops + dense_flops) / (others_flops + flops)}}});
    }
  }
  if (!o.common.json)
    fmt::print(
        "Forward and backward of one layer, about {} tokens. Gain: over dense attention. Step gain: of the whole "
        "block\n"
        "with its linear layers ({:.0f} GF/s here). Step limit: what the saved operations allow.\n",
        o.tokens, 1e-9 * linear_flops / linear_seconds);
  print_report("attention", {{"f32", ceiling}}, results, o.common.json);
  return 0;
}

}  // namespace

Command add_attention(CLI::App& program) {
  CLI::App* app = program.add_subcommand("attention", "Attention at several lengths and densities");
  const auto options = std::make_shared<AttentionOptions>();
  add_numbers(*app, "lengths", options->lengths, {.low = 1, .high = 4096}, true, "Tokens of each sentence");
  add_numbers(*app, "densities", options->densities, {.low = 0, .high = 1, .open_low = true}, false,
              "Parts of the scores that are kept in each row");
  add_integer(*app, "tokens", options->tokens, 1, 1'000'000, "In all sentences together, about");
  add_real(*app, "dropout", options->dropout, {.high = 1}, "On the weights");
  add_common_options(*app, options->common);
  return {app, [options] { return attention_command(*options); }};
}

}  // namespace crisp::bench
