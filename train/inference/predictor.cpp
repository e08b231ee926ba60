#include "train/inference/predictor.h"

#include "engine/fail.h"
#include "train/inference/device.h"
#include "train/inference/limits.h"
#include "train/inference/precision.h"

namespace crisp {
namespace {

LoadModelOptions load_options(const PredictorOptions& options) {
  LoadModelOptions load{.vocab = options.vocab,
                        .device = device_for(options.device),
                        .head_required = true,
                        .map_weights = options.map_weights};
  if (options.precision != Precision::f32)
    load.dtype = dtype_for(options.precision);  // else the file's own: f32 or f64
  return load;
}

Context::Settings settings_of(const PredictorOptions& options) {
  return context_settings(options.threads, options.precision, options.device);
}

}  // namespace

Context::Settings context_settings(int64_t threads, Precision precision, DeviceChoice device) {
  if (threads < 0 || threads > most_threads)
    fail<UsageError>("{} threads; it must be from 0 (all cores) to {}", threads, most_threads);
  return {.threads = static_cast<int>(threads), .products = products_for(precision, device_for(device))};
}

Predictor::Predictor(const std::string& file_or_directory, const PredictorOptions& options, const NoteTaker& note)
    : context_(settings_of(options)), loaded_(load_model(file_or_directory, load_options(options))) {
  take_tokenizer(options, note);
}

Predictor::Predictor(const InputFiles& input, const PredictorOptions& options, const NoteTaker& note)
    : context_(settings_of(options)), loaded_(load_model(input, load_options(options))) {
  take_tokenizer(options, note);
}

Predictor::Predictor(LoadedModel loaded, const PredictorOptions& options, const NoteTaker& note)
    : context_(settings_of(options)), loaded_(std::move(loaded)) {
  take_tokenizer(options, note);
}

void Predictor::take_tokenizer(const PredictorOptions& options, const NoteTaker& note) {
  for (const std::string& line : loaded_.notes) note(line);
  if (options.max_length != 0 && (options.max_length < 2 || options.max_length > longest_sentence))
    fail<UsageError>("a maximum length of {} tokens; it must be from 2 ([CLS] and [SEP]) to the model's positions",
                     options.max_length);
  tokenizer_ = load_tokenizer(loaded_, options.max_length);
  for (const std::string& line : tokenizer_->notes()) note(line);
  max_length_ = options.max_length > 0 ? static_cast<int>(options.max_length) : saved_max_length(loaded_);
}

Evaluation Predictor::answer(const TokenizedDataset& data, int batch_size, int64_t before) const try {
  return evaluate(model(), data, batch_size, Statistics::none, {}, context_);
} catch (const NotFinite& error) {
  explain_not_finite(error.behind(before), loaded_);
}

void explain_not_finite(const NotFinite& error, const LoadedModel& loaded) {
  const std::string broken = describe_broken_weights(loaded);
  const std::string& where = loaded.weights_path.empty() ? loaded.source : loaded.weights_path;
  if (!broken.empty()) fail<Diverged>("{}: {}, so {}", where, broken, error.what());
  fail<Diverged>("{}: {}, though the weights hold numbers alone: they are too large for {}{}", where, error.what(),
                 name_of(loaded.model.dtype()), loaded.model.dtype() == DType::f32 ? "; --precision f64 may do" : "");
}

}  // namespace crisp
