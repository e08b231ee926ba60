// What becomes of each of Hugging Face's options; grouped as TrainingArguments is.
#include <algorithm>

#include "tools/hf_options.h"

namespace crisp {
namespace {

constexpr auto flag = ArgumentKind::flag;
constexpr auto value = ArgumentKind::value;
constexpr auto ignored = HfOutcome::ignored;
constexpr auto refused = HfOutcome::refused;
constexpr auto mapped = HfOutcome::mapped;

// Reasons that several options share.
constexpr std::string_view own_kernels = "Crisp's own kernels compute, on the CPU";
constexpr std::string_view less_memory = "a matter of memory, not of numbers";
constexpr std::string_view one_process = "one process trains, on --threads cores";
constexpr std::string_view in_memory = "the sentences are in memory as token ids";
constexpr std::string_view not_pushed = "nothing is pushed";
constexpr std::string_view not_downloaded = "nothing is downloaded";
constexpr std::string_view logs = "metrics.jsonl and TensorBoard's events are always written, in --output";
constexpr std::string_view progress = "progress goes to standard error";
constexpr std::string_view own_metrics = "loss and accuracy are always computed";
constexpr std::string_view whole_checkpoints = "checkpoints are whole safetensors files";
constexpr std::string_view only_adamw = "the optimizer is AdamW: --optim adamw_torch, with --beta1, --beta2, --epsilon";
constexpr std::string_view no_variant = "Crisp has no such change of training; leave it out";
constexpr std::string_view own_data =
    "no data set is downloaded: give --data DIR (data/fetch gets SST-2), or --train FILE and --dev FILE";
constexpr std::string_view predict_later =
    "crisp-train makes no predictions of test sentences: leave it out, and run crisp-predict --model OUTPUT FILE";

constexpr HfOption table[] = {
    // What to do.
    {"do-train", flag, mapped, "true", "crisp-train always trains"},
    {"do-eval", flag, mapped, "true", "the dev set is always evaluated"},
    {"do-predict", flag, refused, "false", predict_later},
    {"test-file", value, refused, "", predict_later},
    {"max-predict-samples", value, refused, "", predict_later},
    {"task-name", value, mapped, "", own_data},
    {"dataset-name", value, refused, "", own_data},
    {"dataset-config-name", value, refused, "", own_data},

    // The model.
    {"config-name", value, mapped, "", "config.json is taken from beside the weights; --init FILE needs none"},
    {"tokenizer-name", value, mapped, "", "the vocabulary is taken from beside the weights, or --vocab FILE"},
    {"cache-dir", value, ignored, "", "the environment's HF_HUB_CACHE says where the cache of models is"},
    {"use-fast-tokenizer", flag, ignored, "true|false", "both kinds give the same ids"},
    {"model-revision", value, refused, "main", "give the directory of that snapshot: --weights DIR"},
    {"token", value, ignored, "", not_downloaded},
    {"use-auth-token", flag, ignored, "false", not_downloaded},
    {"trust-remote-code", flag, ignored, "false", "no code of a model is run"},
    {"ignore-mismatched-sizes", flag, refused, "false", "--new-head makes a new classification head"},
    {"do-lower-case", flag, ignored, "", "the model's directory says how its text is tokenised"},
    {"pad-to-max-length", flag, ignored, "false", "padding is never computed"},
    {"overwrite-cache", flag, ignored, "true|false", in_memory},
    {"preprocessing-num-workers", value, ignored, "", in_memory},

    // Steps, optimizer, schedule.
    {"max-steps", value, mapped, "", "-1: by --epochs"},
    {"warmup-steps", value, mapped, "", "below 1: --warmup-ratio"},
    {"lr-scheduler-type", value, mapped, "", "--schedule; constant: without a warmup"},
    {"lr-scheduler-kwargs", value, refused, "{}", "the schedules are linear, cosine and constant, as they are"},
    {"optim", value, refused, "adamw_torch|adamw_torch_fused", only_adamw},
    {"optim-args", value, refused, "", only_adamw},
    {"optim-target-modules", value, refused, "", only_adamw},
    {"adafactor", flag, refused, "false", only_adamw},
    {"label-smoothing-factor", value, refused, "0|0.0", no_variant},
    {"neftune-noise-alpha", value, refused, "0|0.0", no_variant},
    {"past-index", value, refused, "-1", no_variant},
    {"use-cache", flag, ignored, "false", own_kernels},
    {"auto-find-batch-size", flag, ignored, "false", "--batch-size stays as it is"},
    {"group-by-length", flag, ignored, "false", "padding is never computed, so that nothing is gained"},
    {"length-column-name", value, ignored, "", "padding is never computed, so that nothing is gained"},
    {"train-sampling-strategy", value, refused, "random|group_by_length",
     "every epoch has its own random order; leave it out"},
    {"data-seed", value, refused, "", "--seed decides all random numbers"},
    {"full-determinism", flag, ignored, "true|false", "the same seed always gives the same bits"},
    {"ignore-data-skip", flag, refused, "false", "a resumed run goes on within its epoch, bit for bit; leave it out"},

    // Numbers and machine.
    {"bf16", flag, mapped, "false", "--precision bf16"},
    {"fp16", flag, ignored, "false", "f32 is computed instead; --bf16 is the fast one where the CPU has it"},
    {"fp16-opt-level", value, ignored, "", "of --fp16, which is f32 here"},
    {"fp16-backend", value, ignored, "", "of --fp16, which is f32 here"},
    {"half-precision-backend", value, ignored, "", "of --fp16, which is f32 here"},
    {"fp16-full-eval", flag, ignored, "false", "evaluation has the precision of training"},
    {"bf16-full-eval", flag, ignored, "false", "evaluation has the precision of training"},
    {"tf32", flag, ignored, "false", own_kernels},
    {"activation-checkpointing", flag, ignored, "false", less_memory},
    {"activation-checkpointing-kwargs", value, ignored, "", less_memory},
    {"gradient-checkpointing", flag, ignored, "false", less_memory},
    {"gradient-checkpointing-kwargs", value, ignored, "", less_memory},
    {"torch-empty-cache-steps", value, ignored, "", less_memory},
    {"torch-compile", flag, ignored, "false", own_kernels},
    {"torch-compile-backend", value, ignored, "", own_kernels},
    {"torch-compile-mode", value, ignored, "", own_kernels},
    {"torchdynamo", value, ignored, "", own_kernels},
    {"jit-mode-eval", flag, ignored, "false", own_kernels},
    {"use-ipex", flag, ignored, "false", own_kernels},
    {"use-liger-kernel", flag, ignored, "false", own_kernels},
    {"liger-kernel-config", value, ignored, "", own_kernels},
    {"use-cpu", flag, mapped, "false", "--device cpu"},
    {"no-cuda", flag, mapped, "false", "--device cpu"},
    {"use-mps-device", flag, ignored, "false", own_kernels},
    {"tpu-num-cores", value, ignored, "", own_kernels},
    {"tpu-metrics-debug", flag, ignored, "false", own_kernels},
    {"debug", value, ignored, "", own_kernels},
    {"mp-parameters", value, ignored, "", own_kernels},
    {"local-rank", value, refused, "-1|0", one_process},
    {"deepspeed", value, refused, "", one_process},
    {"fsdp", value, refused, "", one_process},
    {"fsdp-config", value, refused, "", one_process},
    {"fsdp-min-num-params", value, refused, "0", one_process},
    {"fsdp-transformer-layer-cls-to-wrap", value, refused, "", one_process},
    {"parallelism-config", value, refused, "", one_process},
    {"accelerator-config", value, ignored, "", one_process},
    {"ddp-backend", value, ignored, "", one_process},
    {"ddp-broadcast-buffers", flag, ignored, "", one_process},
    {"ddp-bucket-cap-mb", value, ignored, "", one_process},
    {"ddp-find-unused-parameters", flag, ignored, "", one_process},
    {"ddp-static-graph", flag, ignored, "", one_process},
    {"ddp-timeout", value, ignored, "", one_process},
    {"average-tokens-across-devices", flag, ignored, "true|false", one_process},
    {"dispatch-batches", flag, ignored, "", one_process},
    {"split-batches", flag, ignored, "", one_process},
    {"ray-scope", value, ignored, "", one_process},
    {"log-on-each-node", flag, ignored, "", one_process},
    {"save-on-each-node", flag, ignored, "", one_process},
    {"dataloader-drop-last", flag, refused, "false", "the last batch of an epoch is always trained on; leave it out"},
    {"dataloader-in-order", flag, ignored, "true|false", in_memory},
    {"dataloader-multiprocessing-context", value, ignored, "", in_memory},
    {"dataloader-num-workers", value, ignored, "0", in_memory},
    {"dataloader-persistent-workers", flag, ignored, "false", in_memory},
    {"dataloader-pin-memory", flag, ignored, "true|false", in_memory},
    {"dataloader-prefetch-factor", value, ignored, "", in_memory},
    {"remove-unused-columns", flag, ignored, "true|false", in_memory},
    {"skip-memory-metrics", flag, ignored, "true|false", logs},

    // Evaluation.
    {"eval-strategy", value, mapped, "", "--eval-steps; no: after the last step only"},
    {"evaluation-strategy", value, mapped, "", "--eval-steps; no: after the last step only"},
    {"eval-delay", value, refused, "0|0.0", "evaluations are made each --eval-steps, or after each epoch"},
    {"eval-on-start", flag, ignored, "false", "there is no evaluation before the first step"},
    {"eval-accumulation-steps", value, ignored, "", less_memory},
    {"eval-do-concat-batches", flag, ignored, "true|false", own_metrics},
    {"eval-use-gather-object", flag, ignored, "false", one_process},
    {"batch-eval-metrics", flag, ignored, "false", own_metrics},
    {"include-for-metrics", value, ignored, "", own_metrics},
    {"include-inputs-for-metrics", flag, ignored, "false", own_metrics},
    {"prediction-loss-only", flag, ignored, "false", own_metrics},
    {"use-legacy-prediction-loop", flag, ignored, "false", own_metrics},
    {"load-best-model-at-end", flag, mapped, "", "--select best; false: --select last"},
    {"metric-for-best-model", value, mapped, "accuracy|eval_accuracy", "the best evaluation is chosen by accuracy"},
    {"greater-is-better", flag, refused, "true", "the best evaluation is chosen by accuracy"},

    // Checkpoints.
    {"save-strategy", value, mapped, "", "--save-steps; no: --keep-checkpoints off"},
    {"save-total-limit", value, ignored, "2", "the last and the best checkpoint are kept"},
    {"save-safetensors", flag, refused, "true", "models are written as safetensors; leave it out"},
    {"save-only-model", flag, ignored, "false", whole_checkpoints},
    {"enable-jit-checkpoint", flag, ignored, "false", "a signal always saves a checkpoint"},
    {"restore-callback-states-from-checkpoint", flag, ignored, "true|false", whole_checkpoints},
    {"resume-from-checkpoint", ArgumentKind::optional, mapped, "", "--resume"},

    // Reports.
    {"report-to", value, ignored, "tensorboard", logs},
    {"logging-dir", value, ignored, "", logs},
    {"logging-strategy", value, ignored, "steps", "a line of metrics.jsonl is written each --logging-steps"},
    {"logging-first-step", flag, ignored, "false", "a line of metrics.jsonl is written each --logging-steps"},
    {"logging-nan-inf-filter", flag, ignored, "true|false", "a loss that is not finite ends the run"},
    {"include-num-input-tokens-seen", value, ignored, "no|false", logs},
    {"include-tokens-per-second", flag, ignored, "true|false", logs},
    {"run-name", value, ignored, "", "a run has the name of its --output"},
    {"project", value, ignored, "", "a run has the name of its --output"},
    {"trackio-space-id", value, ignored, "", logs},
    {"trackio-bucket-id", value, ignored, "", logs},
    {"trackio-static-space-id", value, ignored, "", logs},
    {"disable-tqdm", flag, ignored, "false", progress},
    {"log-level", value, ignored, "passive", progress},
    {"log-level-replica", value, ignored, "", one_process},
    {"push-to-hub", flag, refused, "false", "nothing is pushed; --output is a directory that can be uploaded as it is"},
    {"push-to-hub-model-id", value, ignored, "", not_pushed},
    {"push-to-hub-organization", value, ignored, "", not_pushed},
    {"push-to-hub-token", value, ignored, "", not_pushed},
    {"hub-always-push", flag, ignored, "false", not_pushed},
    {"hub-model-id", value, ignored, "", not_pushed},
    {"hub-private-repo", flag, ignored, "", not_pushed},
    {"hub-revision", value, ignored, "", not_pushed},
    {"hub-strategy", value, ignored, "", not_pushed},
    {"hub-token", value, ignored, "", not_pushed},
};

}  // namespace

std::span<const HfOption> hf_options() { return table; }

const HfOption* find_hf_option(std::string_view name) {
  const auto find = [](std::string_view wanted) {
    const HfOption* found =
        std::find_if(std::begin(table), std::end(table), [&](const HfOption& option) { return option.name == wanted; });
    return found == std::end(table) ? nullptr : found;
  };
  if (const HfOption* option = find(name)) return option;
  if (!name.starts_with("no-")) return nullptr;
  const HfOption* option = find(name.substr(3));
  return option != nullptr && option->kind == flag ? option : nullptr;
}

}  // namespace crisp
