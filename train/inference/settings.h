// The settings that training and prediction share, for any options with members of these names.
#pragma once

#include "data/input/setting.h"
#include "train/inference/choices.h"
#include "train/inference/limits.h"
#include "train/inference/precision.h"

namespace crisp {

template <class O>
Setting<O> threads_setting() {
  return setting::number("threads", &O::threads, WholeNumbers{0, most_threads},
                         "Threads; 0: as many as there are cores");
}

template <class O>
Setting<O> precision_setting() {
  std::vector<std::pair<std::string, Precision>> words;
  for (const Precision p : all_precisions) words.emplace_back(name_of(p), p);
  return setting::word("precision", &O::precision, std::move(words), "f32|strict-f32|tf32|bf16|bf16x3|bf16x6|f64",
                       "Of matrix products (f64: of all numbers); f32: the fastest that is as accurate");
}

template <class O>
Setting<O> device_setting() {
  return setting::word("device", &O::device,
                       {{"cpu", DeviceChoice::cpu}, {"cuda", DeviceChoice::cuda}, {"auto", DeviceChoice::automatic}},
                       "cpu|cuda|auto", "What computes: the CPU, an NVIDIA GPU, or the GPU where there is one");
}

template <class O>
Setting<O> max_length_setting() {
  return setting::number("max-length,max-seq-length", &O::max_length, WholeNumbers{0, longest_sentence},
                         "Tokens of a sequence, at least 2; the rest is cut off; 0: as many as the model can");
}

template <class O>
Setting<O> eval_batch_size_setting() {
  return setting::number("eval-batch-size,per-device-eval-batch-size,per-gpu-eval-batch-size", &O::eval_batch_size,
                         WholeNumbers{1, largest_batch}, "Sequences of a batch in evaluation");
}

template <class O>
Setting<O> map_weights_setting() {
  return setting::on_off("map-weights", &O::map_weights,
                         "Use weights where they lie in the model's file; off: copy them, for a file that others may "
                         "write to or cut short meanwhile");
}

}  // namespace crisp
