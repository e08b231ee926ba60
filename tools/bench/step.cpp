// crisp-bench step: whole training steps of DistilBERT, and what they spend their time on.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "engine/backend.h"
#include "engine/cpu/memory/allocator.h"
#include "engine/fail.h"
#include "engine/ops.h"
#include "engine/profile.h"
#include "engine/system.h"
#include "tools/bench/load.h"
#include "tools/bench/report.h"
#include "tools/bench/step.h"
#include "train/core/trainer.h"
#include "train/inference/limits.h"
#include "train/inference/to_batch.h"

namespace crisp::bench {
namespace {

using nlohmann::ordered_json;

// One measured step.
struct Step {
  double seconds = 0;
  int64_t tokens = 0;
};

struct Measured {
  std::vector<double> losses;  // of all steps, those before the measurement as well
  std::vector<std::vector<int32_t>> batches;
  std::vector<Step> steps;
  std::vector<Step> profiled;               // the same, or on a GPU those that followed
  std::vector<KernelProfile> kernels;       // over those
  int64_t held_bytes = 0, grown_after = 0;  // of the device's memory; the number of steps after which it grew last
  double setup_seconds = 0, first_seconds = 0;
  int64_t system_allocations = 0;  // in the measured steps
  AllocatorStats memory;
  double peak_resident_bytes = 0;
  double catch_up_seconds = 0;  // after the last step, for the rows that all of them have put off
  int64_t parameters = 0;
};

// The examples of one step; the order is the trainer's.
std::vector<int32_t> examples_of(const StepOptions& o, const TokenizedDataset& data, int64_t step,
                                 std::vector<int32_t>& order) {
  const int64_t batches = batch_count(data.size(), static_cast<int>(o.batch));
  if (step % batches == 0)
    order = epoch_order(static_cast<uint64_t>(o.seed), static_cast<uint32_t>(step / batches), data.size());
  const auto slice = batch_slice(order, static_cast<int>(o.batch), step % batches);
  return {slice.begin(), slice.end()};
}

// Runs all steps; run(step) does one and returns its loss and its tokens.
template <class F>
void run_steps(const StepOptions& o, const TokenizedDataset& data, Measured& m, F run) {
  const Backend& device = backend(device_for(o.common.device));
  const int64_t apart = profiled_apart(o), measured = o.warm + o.steps;
  std::vector<int32_t> order;
  m.setup_seconds = since_start();
  for (int64_t s = 0; s < measured + apart; ++s) {
    if (s == o.warm || s == measured) device.wait();
    if (s == o.warm) m.system_allocations = allocator_stats().system_allocations;
    if (s == (apart > 0 ? measured : o.warm)) start_profile();
    const std::vector<int32_t> examples = examples_of(o, data, s, order);
    const double begin = now();
    const auto [loss, tokens] = run(examples);
    if (s == measured - 1) device.wait();
    const double seconds = now() - begin;
    if (s == 0) m.first_seconds = seconds;
    if (s >= o.warm) (s < measured ? m.steps : m.profiled).push_back({seconds, tokens});
    if (s >= measured) continue;
    m.losses.push_back(loss);
    m.batches.push_back(examples);
    if (const int64_t held = device.held_bytes(); held > m.held_bytes) {
      m.held_bytes = held;
      m.grown_after = s + 1;
      if (o.flat_after >= 0 && s + 1 > o.flat_after)
        fail("the memory held for tensors grew in step {}, to {} bytes; --flat-after {} forbids that", s + 1, held,
             o.flat_after);
    }
    if (s < measured - 1) continue;
    m.memory = allocator_stats();
    m.system_allocations = m.memory.system_allocations - m.system_allocations;
    m.peak_resident_bytes = static_cast<double>(os::peak_resident_bytes());
  }
  stop_profile();
  m.kernels = profile();
  if (apart == 0) m.profiled = m.steps;
}

void train(const StepOptions& o, DistilBert& model, const TokenizedDataset& data, const Context& context, Measured& m) {
  Trainer trainer(model, data, train_options(o), context);
  run_steps(o, data, m, [&](const std::vector<int32_t>&) {
    StepReport report;
    trainer.micro_step(report);
    return std::pair{report.loss, trainer.last_tokens()};
  });
  // What the steps have put off: rows of the word embeddings that no sentence used.
  const double begin = now();
  trainer.model();
  backend(trainer.model().device()).wait();
  m.catch_up_seconds = now() - begin;
}

void infer(const StepOptions& o, const DistilBert& model, const TokenizedDataset& data, const Context& context,
           Measured& m) {
  PackedBatch batch;
  reserve_batch(data, static_cast<int>(o.batch), batch);
  Tape tape(context, Tape::Mode::inference);
  run_steps(o, data, m, [&](const std::vector<int32_t>& examples) {
    fill_batch(data, examples, batch);
    const Batch inputs = to_batch(batch, model, Labels::with);
    const Tensor logits = model.forward(tape, inputs, {});
    return std::pair{cross_entropy(tape, logits, inputs.labels()).item(), batch.total()};
  });
}

double mean_seconds(const std::vector<Step>& steps) {
  double sum = 0;
  for (const Step& s : steps) sum += s.seconds;
  return sum / static_cast<double>(steps.size());
}

// The parts of a mean step that was profiled: what kernels of each kind took, and the rest with the kind "other".
std::vector<double> parts_of(const Measured& m) {
  std::vector<double> parts(kernel_kinds, 0);
  double in_kernels = 0;
  for (const KernelProfile& k : m.kernels) {
    const double seconds = k.seconds / static_cast<double>(m.profiled.size());
    parts[static_cast<size_t>(k.kind)] += seconds;
    in_kernels += seconds;
  }
  parts[static_cast<size_t>(KernelKind::other)] += mean_seconds(m.profiled) - in_kernels;
  return parts;
}

ordered_json summary(const StepOptions& o, const Context& context, const Measured& m, const Ceiling& ceiling) {
  std::vector<double> seconds;
  double tokens = 0;
  for (const Step& s : m.steps) {
    seconds.push_back(s.seconds);
    tokens += static_cast<double>(s.tokens);
  }
  const double total = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  const auto n = static_cast<double>(seconds.size());
  double sentences = 0;
  for (size_t s = m.batches.size() - m.steps.size(); s < m.batches.size(); ++s)
    sentences += static_cast<double>(m.batches[s].size());
  const Spread spread = spread_of(seconds);

  // The keys of the PyTorch peer.
  ordered_json j{{"mode", "crisp"},
                 {"bf16", context.products() == MatmulPrecision::bf16},
                 {"compile", false},
                 {"fixed", o.sentences.fixed},
                 {"infer", o.infer},
                 {"threads", context.threads()},
                 {"device", name_of(device_for(o.common.device))},
                 {"torch", nullptr},
                 {"mean_ms", 1e3 * total / n},
                 {"median_ms", 1e3 * spread.median},
                 {"tokens_per_s", tokens / total},
                 {"sequences_per_s", sentences / total},
                 {"tokens_per_step", tokens / n},
                 {"padded_per_step", tokens / n},
                 {"peak_rss_gb", m.peak_resident_bytes * 1e-9},
                 {"setup_s", m.setup_seconds},
                 {"first_step_s", m.first_seconds}};
  // Our own.
  j["processor"] = processor_name();
  j["instruction_set"] = kernels_in_use(context.products(), device_for(o.common.device));
  j["precision"] = name_of(o.precision);
  j["sparsity"] = o.sparsity;
  j["batch"] = o.batch;
  j["beside_load"] = o.beside_load;
  j["steps"] = m.steps.size();
  j["parameters"] = m.parameters;
  j["q1_ms"] = 1e3 * spread.q1;
  j["q3_ms"] = 1e3 * spread.q3;
  const std::vector<double> parts = parts_of(m);
  const auto profiled = static_cast<double>(m.profiled.size());
  j["profiled_steps"] = m.profiled.size();
  j["profiled_mean_ms"] = 1e3 * mean_seconds(m.profiled);
  for (int k = 0; k < kernel_kinds; ++k)
    j["parts_ms"][name_of(static_cast<KernelKind>(k))] = 1e3 * parts[static_cast<size_t>(k)];
  double flops = 0;
  for (const KernelProfile& k : m.kernels) flops += k.flops / profiled;
  const double gemm = parts[static_cast<size_t>(KernelKind::gemm)];
  j["gemm_gflop_per_step"] = flops * 1e-9;
  j["gemm_gflops"] = gemm > 0 ? flops * 1e-9 / gemm : 0;
  j["gemm_of_ceiling"] = ceiling && gemm > 0 ? ordered_json(flops / gemm / ceiling.rate.median) : ordered_json(nullptr);
  j["ceiling"] = to_json(ceiling);
  j["system_allocations_per_step"] = static_cast<double>(m.system_allocations) / n;
  j["catch_up_ms"] = 1e3 * m.catch_up_seconds;
  j["catch_up_ms_per_step"] = 1e3 * m.catch_up_seconds / static_cast<double>(m.batches.size());
  j["tensor_bytes_reserved"] = m.held_bytes;
  j["tensor_bytes_grown_after_step"] = m.grown_after;
  j["tensor_bytes_peak"] = backend(device_for(o.common.device)).peak_bytes();
  for (const KernelProfile& k : m.kernels) {
    if (k.calls == 0) continue;
    ordered_json entry{{"kernel", k.name},
                       {"part", name_of(k.kind)},
                       {"calls_per_step", static_cast<double>(k.calls) / profiled},
                       {"ms_per_step", 1e3 * k.seconds / profiled}};
    if (k.flops > 0) entry["gflops"] = k.flops * 1e-9 / k.seconds;
    j["kernels"].push_back(entry);
  }
  if (o.losses) j["losses"] = m.losses;
  if (o.print_batches) j["batches"] = m.batches;
  return j;
}

void print_table(const StepOptions& o, const Context& context, const ordered_json& j, const std::string& what) {
  const auto number = [&](const char* key) { return j[key].get<double>(); };
  fmt::print("{}, {}\n", machine_text(context, device_for(o.common.device)), name_of(o.precision));
  fmt::print("{}; batches of {}, {} of {} tokens on average, sparsity {}{}\n", what, o.batch,
             o.infer ? "inference" : "training", static_cast<int64_t>(number("tokens_per_step")), o.sparsity,
             o.beside_load ? "; beside a job that keeps one core busy" : "");
  fmt::print("step          {:8.1f} ms mean, {:.1f} median ({:.1f}..{:.1f}), {} steps\n", number("mean_ms"),
             number("median_ms"), number("q1_ms"), number("q3_ms"), j["steps"].get<int64_t>());
  fmt::print("speed         {:8.1f} sequences/s, {:.0f} tokens/s\n", number("sequences_per_s"), number("tokens_per_s"));
  if (profiled_apart(o) > 0)
    fmt::print("parts, of {} further steps of {:.1f} ms that were slowed down by taking the times:\n",
               j["profiled_steps"].get<int64_t>(), number("profiled_mean_ms"));
  for (const auto& [part, ms] : j["parts_ms"].items()) {
    std::string label = part;
    std::replace(label.begin(), label.end(), '_', ' ');
    fmt::print("  {:<22} {:8.2f} ms  {:4.1f} %", label, ms.get<double>(),
               100 * ms.get<double>() / number("profiled_mean_ms"));
    if (part == "gemm" && !j["gemm_of_ceiling"].is_null())
      fmt::print("  {:.1f} GF/s, {:.0f} % of {:.1f} ({})", number("gemm_gflops"), 100 * number("gemm_of_ceiling"),
                 j["ceiling"]["per_second"].get<double>() * 1e-9, j["ceiling"]["how"].get<std::string>());
    fmt::print("\n");
  }
  if (o.kernels) {
    for (const auto& k : j["kernels"])
      fmt::print("    {:<30} {:7.1f} calls {:9.3f} ms\n", k["kernel"].get<std::string>(),
                 k["calls_per_step"].get<double>(), k["ms_per_step"].get<double>());
  }
  if (!o.infer)
    fmt::print("put off       {:8.1f} ms once, {:.1f} ms a step: rows of the word embeddings that no sentence used\n",
               number("catch_up_ms"), number("catch_up_ms_per_step"));
  fmt::print(
      "memory        {:8.2f} GB peak resident, {:.2f} GB in tensors, {:.2f} GB held for them since step {}; {:g} "
      "system "
      "allocations a step\n",
      number("peak_rss_gb"), number("tensor_bytes_peak") * 1e-9, number("tensor_bytes_reserved") * 1e-9,
      j["tensor_bytes_grown_after_step"].get<int64_t>(), number("system_allocations_per_step"));
  fmt::print("start         {:8.2f} s to the first step, {:.2f} s for it\n", number("setup_s"), number("first_step_s"));
  if (o.print_batches) {
    for (size_t s = 0; s < j["batches"].size(); ++s) fmt::print("batch {}: {}\n", s + 1, j["batches"][s].dump());
  }
  if (o.losses) {
    for (size_t s = 0; s < j["losses"].size(); ++s)
      fmt::print("loss {:4} {:.9g}\n", s + 1, j["losses"][s].get<double>());
  }
}

int step(const StepOptions& o) {
  const Device device = device_for(o.common.device);
  const Context context = o.common.context(o.precision);
  std::optional<BusyCore> other;
  if (o.beside_load) other.emplace();
  if (!o.against.empty()) {
    if (device != Device::cpu) fail<UsageError>("--against times the CPU's kernels; leave --device out");
    if (o.infer || o.losses || o.print_batches || o.kernels)
      fail<UsageError>(
          "--against compares the times of training steps: no --infer, --losses, --print-batches, --kernels");
    return compare_steps(o, context);
  }
  StepSetup setup = set_up_step(o, context);
  const TokenizedDataset& data = *setup.sentences.data;
  DistilBert& model = setup.model;
  Measured m;
  for (const Parameter& p : model.parameters()) m.parameters += p.tensor.numel();
  if (o.infer) {
    infer(o, model, data, context, m);
  } else {
    train(o, model, data, context, m);
  }
  const Ceiling ceiling = product_ceiling(dtype_for(o.precision), context, device, {.seconds = 0.5});
  ordered_json j = summary(o, context, m, ceiling);
  j["data"] = setup.sentences.what;
  if (o.common.json) {
    fmt::print("{}\n", j.dump());
  } else {
    print_table(o, context, j, setup.sentences.what);
  }
  return 0;
}

std::string parse_lengths(const std::string& text, int64_t& fixed) {
  const std::string complaint = "must be sst2 or fixed:L with a length L of 2 to 512 tokens, not '" + text + "'";
  if (text == "sst2") {
    fixed = 0;
    return "";
  }
  if (!text.starts_with("fixed:") || text.size() > 9) return complaint;
  int64_t length = 0;
  for (const char c : text.substr(6)) {
    if (c < '0' || c > '9') return complaint;
    length = 10 * length + (c - '0');
  }
  if (length < 2 || length > 512) return complaint;
  fixed = length;
  return "";
}

}  // namespace

Command add_step(CLI::App& program) {
  CLI::App* app = add_command(program, "step", "Whole training steps (or inference) of DistilBERT, and their parts");
  const auto o = std::make_shared<StepOptions>();
  add_parsed(
      *app, "lengths", "sst2|fixed:L", "sst2",
      [o](const std::string& text) { return parse_lengths(text, o->sentences.fixed); },
      "Real sentences, or random tokens of one length");
  add_text(*app, "data", o->sentences.data, "Folder with train.tsv, or a file (default: SST-2 where it is found)");
  add_text(*app, "vocab", o->sentences.vocab, "vocab.txt of the sentences (default: beside SST-2)");
  add_integer(*app, "max-length", o->sentences.max_length, 2, longest_sentence,
              "Tokens of a sentence; the rest is cut");
  add_integer(*app, "batch,batch-size", o->batch, 1, 100'000, "Sentences of a step");
  add_precision(*app, *o);
  add_device(*app, o->common);
  add_integer(*app, "steps", o->steps, 1, 1'000'000, "Steps that are measured");
  add_integer(*app, "warm", o->warm, 0, 1'000'000, "Steps before them");
  add_flag(*app, "beside-load", o->beside_load, "While another job keeps one core busy");
  add_flag(*app, "infer", o->infer, "The forward pass only, without dropout");
  const auto sparsity = [](std::string& value) {
    return [&value](const std::string& text) {
      std::string complaint = sparsity_complaint(text);
      if (complaint.empty()) value = text;
      return complaint;
    };
  };
  const char* form = "S|S1,S2,..|PRESET";
  add_parsed(*app, "sparsity", form, o->sparsity, sparsity(o->sparsity), "As in crisp-train");
  add_parsed(*app, "against", form, "", sparsity(o->against),
             "Each step with this sparsity as well, in turn: the ratio of times");
  add_setting(*app, *o,
              setting::number("dropout", &StepOptions::dropout, dropout_range,
                              "Every dropout rate (default: the configuration's)", 0.1));
  add_text(*app, "init", o->init, "distilbert-base or a config.json: random weights of that size");
  add_text(*app, "weights", o->weights, "Pretrained weights instead, as in crisp-train");
  add_real(*app, "learning-rate,lr", o->learning_rate, {.open_low = true}, "Constant");
  add_real(*app, "weight-decay", o->weight_decay, {}, "Not on biases and LayerNorm");
  add_real(*app, "max-grad-norm", o->max_grad_norm, {}, "Largest norm of the gradient; 0: no clipping");
  add_integer(*app, "seed", o->seed, 0, std::numeric_limits<int64_t>::max(), "Of weights, order and dropout");
  add_flag(*app, "losses", o->losses, "Print the loss of each step, from the first");
  add_flag(*app, "print-batches", o->print_batches, "Print which sentences (from 0) each step has");
  add_integer(*app, "flat-after", o->flat_after, 0, 1'000'000,
              "Fail where the memory held for tensors grows after so many steps");
  add_flag(*app, "kernels", o->kernels, "Print the time in each kernel (always part of --json)");
  add_common_options(*app, o->common, false);
  return {app, [o] { return step(*o); }};
}

}  // namespace crisp::bench
