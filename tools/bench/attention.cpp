// crisp-bench attention: dense and sparse, and what a whole step can gain by it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/backend.h"
#include "engine/fail.h"
#include "engine/ops.h"
#include "tools/bench/commands.h"
#include "tools/bench/products.h"
#include "tools/bench/report.h"
#include "tools/bench/step.h"

namespace crisp::bench {
namespace {

constexpr int64_t dim = 768;

struct AttentionOptions {
  CommonOptions common;
  std::vector<double> lengths{16, 32, 64, 128, 256, 512}, densities{1, 0.5, 0.2, 0.1, 0.05};
  int64_t tokens = 2048, heads = 12;
  double dropout = 0.1;
  bool listed = false;
  std::string init = "distilbert-base";
};

// Forward and backward of `batch` sentences of one length, with one density.
class Layer {
 public:
  Layer(int64_t batch, int64_t length, double density, const AttentionOptions& o, const Context& context)
      : device_(device_for(o.common.device)), rows_(batch * length) {
    std::vector<int32_t> offsets;
    for (int64_t s = 0; s <= batch; ++s) offsets.push_back(static_cast<int32_t>(s * length));
    segments_ = on(device_, Segments(offsets));
    rule_ = {.heads = o.heads,
             .scale = 1 / std::sqrt(static_cast<double>(dim / o.heads)),
             .selection = density < 1 ? Selection::top_k_row : Selection::all,
             .sparsity = 1 - density,
             .dropout = {o.dropout, {.seed = 4, .stream = Stream::dropout}}};
    if (density < 1 && o.listed) list_neighbours(batch, length);
    tapes_.push_back(std::make_unique<Tape>(context));
    if (device_ == Device::cpu) return;
    sample();
    const auto repeats = static_cast<int64_t>(std::clamp(std::ceil(2e-3 / sample()), 1.0, 16.0));
    while (std::ssize(tapes_) < repeats) tapes_.push_back(std::make_unique<Tape>(context));
    forward_.clear();
    backward_.clear();
  }

  // Seconds of both passes, which are kept apart below.
  double sample() {
    const Wait wait = backend(device_).wait;
    const auto clear_gradients = [&] {
      for (const Tensor* t : {&q_, &k_, &v_}) t->clear_grad();
    };
    clear_gradients();
    for (const auto& tape : tapes_) tape->clear();
    std::vector<Tensor> outs, losses;
    outs.reserve(tapes_.size());
    const auto n = static_cast<double>(tapes_.size());
    wait();
    const double begin = now();
    for (const auto& tape : tapes_) outs.push_back(attention(*tape, q_, k_, v_, segments_, rule_));
    wait();
    const double forward = (now() - begin) / n;
    for (size_t i = 0; i < tapes_.size(); ++i) losses.push_back(sum(*tapes_[i], outs[i]));
    wait();
    const double middle = now();
    for (size_t i = 0; i < tapes_.size(); ++i) {
      if (i > 0) clear_gradients();
      tapes_[i]->backward(losses[i]);
    }
    wait();
    const double backward = (now() - middle) / n;
    forward_.push_back(forward);
    backward_.push_back(backward);
    return forward + backward;
  }
  double forward() const { return median(forward_); }
  double backward() const { return median(backward_); }

 private:
  // Without the first, which warms up.
  static double median(const std::vector<double>& x) { return spread_of({x.begin() + 1, x.end()}).median; }
  Tensor random(uint64_t seed) const {
    return Tensor::normal({rows_, dim}, DType::f32, {.seed = seed}, 0, 1, device_).set_requires_grad();
  }

  // As many keys as a top-k keeps, those around each query.
  void list_neighbours(int64_t batch, int64_t length) {
    const int64_t k = top_k_count(rule_.sparsity, length);
    rule_.selection = Selection::listed;
    std::vector<int32_t> starts{0}, keys;
    for (int64_t s = 0; s < batch; ++s) {
      for (int64_t i = 0; i < length; ++i) {
        const int64_t first = std::clamp<int64_t>(i - k / 2, 0, length - k);
        for (int64_t t = 0; t < k; ++t) keys.push_back(static_cast<int32_t>(first + t));
        starts.push_back(static_cast<int32_t>(keys.size()));
      }
    }
    rule_.lists = on(device_, ListedKeys(segments_, rule_.heads, starts, keys));
  }

  Device device_;
  int64_t rows_;
  Segments segments_;
  AttentionRule rule_;
  Tensor q_ = random(1), k_ = random(2), v_ = random(3);
  std::vector<std::unique_ptr<Tape>> tapes_;  // on a GPU, several between two waits
  std::vector<double> forward_, backward_;
};

// Attention's part of a whole training step, dense, on `batch` sentences of one length.
double share_of_step(const AttentionOptions& o, const Context& context, int64_t batch, int64_t length) {
  StepOptions step;
  step.common.device = o.common.device;
  step.init = o.init;
  step.dropout = o.dropout;
  step.sentences.fixed = std::max<int64_t>(length, 2);
  step.batch = batch;
  step.steps = 3;
  step.warm = 1;
  step.least_positions = length;
  StepSetup setup = set_up_step(step, context);
  Trainer trainer(setup.model, *setup.sentences.data, train_options(step), context);
  std::vector<double> shares;
  for (int64_t s = 0; s < step.warm + step.steps; ++s) {
    StepReport report;
    const StepTime time = timed_step(trainer, report);
    // On a GPU the profile itself slows down the step, and what is between kernels is left out.
    const double seconds = o.common.device == DeviceChoice::cpu ? time.seconds : time.kernel_seconds;
    if (s >= step.warm) shares.push_back(time.attention_seconds / seconds);
  }
  return spread_of(shares).median;
}

int attention_command(const AttentionOptions& o) {
  if (dim % o.heads != 0) fail<UsageError>("--heads {}: it must divide {}", o.heads, dim);
  const Context context = o.common.context();
  const Effort effort = o.common.effort();
  const Device device = device_for(o.common.device);
  const Ceiling ceiling = product_ceiling(DType::f32, context, device, effort);
  // The linear layers of one block, forward and backward, for as many tokens: what attention's gain is diluted by.
  double linear_seconds = 0, linear_flops = 0;
  for (const LinearShape& shape : distilbert_shapes) {
    for (const Pass pass : passes) {
      linear_seconds +=
          shape.count * time_product(shape, o.tokens, pass, DType::f32, context, device, {3, effort.seconds}).median;
      linear_flops += shape.count * flops_of(shape, o.tokens);
    }
  }
  std::vector<Result> results;
  for (const double l : o.lengths) {
    const auto length = static_cast<int64_t>(l);
    const int64_t batch = std::max<int64_t>(1, o.tokens / length);
    const auto part = static_cast<double>(batch * length) / static_cast<double>(o.tokens);
    // Six products of [length, length] by the head's width, of which all but the first concern the kept keys only.
    const double dense_flops = 6 * 2.0 * l * l * static_cast<double>(batch * dim);
    const double others_flops = part * linear_flops, others_seconds = part * linear_seconds;
    const double step_share = share_of_step(o, context, batch, length);
    for (const double density : o.densities) {
      // In turn, so that both meet the same conditions.
      Layer dense(batch, length, 1, o, context), sparse(batch, length, density, o, context);
      const std::vector<Spread> times =
          collect_in_turn({[&] { return dense.sample(); }, [&] { return sparse.sample(); }}, effort);
      const double dense_seconds = times[0].median, seconds = times[1].median;
      const double flops = dense_flops * (1 + 5 * density) / 6,
                   share = dense_seconds / (others_seconds + dense_seconds);
      results.push_back({{{"length", fmt::format("{}", length)}, {"density", fmt::format("{:g}", density)}},
                         times[1],
                         flops,
                         "GF/s",
                         ceiling.rate.median,
                         {{"forward ms", 1e3 * sparse.forward()},
                          {"dense forward ms", 1e3 * dense.forward()},
                          {"forward gain", dense.forward() / sparse.forward()},
                          {"backward ms", 1e3 * sparse.backward()},
                          {"dense backward ms", 1e3 * dense.backward()},
                          {"backward gain", dense.backward() / sparse.backward()},
                          {"gain", dense_seconds / seconds},
                          {"block gain", (others_seconds + dense_seconds) / (others_seconds + seconds)},
                          {"block limit", (others_flops + dense_flops) / (others_flops + flops)},
                          {"block share", share},
                          {"step gain", 1 / (1 - step_share * (1 - seconds / dense_seconds))},
                          {"step share", step_share},
                          {"step ceiling", 1 / (1 - step_share)}}});
    }
  }
  if (!o.common.json)
    fmt::print(
        "Forward and backward of one layer, about {} tokens. Gain: over dense attention, measured in turn. Block: "
        "this\n"
        "layer's attention and linear layers ({:.0f} GF/s here); its gain, what the saved operations allow (limit), "
        "and\n"
        "dense attention's share of its time. Step: a whole dense training step of {}, measured (attention's\n"
        "share of it), its gain with attention faster by this layer's gain, and its ceiling, if attention took no "
        "time.\n",
        o.tokens, 1e-9 * linear_flops / linear_seconds, o.init);
  print_report("attention", {{"f32", ceiling}}, results, context, device, o.common.json);
  return 0;
}

}  // namespace

Command add_attention(CLI::App& program) {
  CLI::App* app = add_command(program, "attention", "Attention at several lengths and densities");
  const auto options = std::make_shared<AttentionOptions>();
  add_numbers(*app, "lengths", options->lengths, {.low = 1, .high = 4096}, true, "Tokens of each sentence");
  add_numbers(*app, "densities", options->densities, {.low = 0, .high = 1, .open_low = true}, false,
              "Parts of the scores that are kept in each row");
  add_integer(*app, "tokens", options->tokens, 1, 1'000'000, "In all sentences together, about");
  add_integer(*app, "heads", options->heads, 1, 768, "That share 768 columns: 12 of 64, as DistilBERT's, 24 of 32");
  add_real(*app, "dropout", options->dropout, dropout_range, "On the weights");
  add_text(*app, "init", options->init, "The model of whole steps: distilbert-base or a config.json");
  add_flag(*app, "listed", options->listed, "Keep the nearest keys, from lists, instead of the largest scores");
  add_device(*app, options->common);
  add_common_options(*app, options->common);
  return {app, [options] { return attention_command(*options); }};
}

}  // namespace crisp::bench
