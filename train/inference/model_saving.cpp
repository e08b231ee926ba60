#include <cstddef>
#include <span>
#include <string_view>

#include "engine/fail.h"
#include "train/inference/model_files.h"
#include "train/inference/tensor_elements.h"
#include "weights/file_changes.h"
#include "weights/publication.h"
#include "weights/published.h"
#include "weights/safetensors.h"

namespace crisp {
namespace {

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Copies of tensors in host memory, where they are not there yet, and what of them is written.
struct OnHost {
  explicit OnHost(const std::vector<NamedTensor>& named) {
    for (const NamedTensor& t : named) {
      tensors.push_back(t.tensor.detach().to(Device::cpu));
      with_elements(tensors.back(), [&]<class T>(std::span<T> elements) {
        to_write.push_back(
            {t.name, safe_dtype(t.tensor.dtype()), file_shape(t.tensor.shape()), std::span<const T>(elements)});
      });
    }
  }
  std::vector<Tensor> tensors;  // keeps the memory of the spans
  std::vector<TensorToWrite> to_write;
};

// The files of a model's directory beside its weights: name and content.
std::vector<std::pair<std::string, std::string>> documents(const DistilBert& model, const TokenizerFiles& tokenizer,
                                                           int max_length) {
  DistilBertConfig config = model.config();
  config.sparsity.spans = model.spans();
  std::vector<std::pair<std::string, std::string>> all{{"config.json", config_json(config, model.dtype())}};
  for (auto& document : tokenizer_documents(tokenizer, max_length)) all.push_back(std::move(document));
  return all;
}

void place_and_forget(const std::string& directory) {
  place_publication(directory, model_file_names());
  forget_publication(directory);
}

}  // namespace

std::vector<NamedTensor> weights_of(const DistilBert& model) {
  std::vector<NamedTensor> tensors;
  for (const Parameter& p : model.parameters())
    if (!p.is_span) tensors.push_back({p.name, p.tensor});
  return tensors;
}

void save_model(const std::string& directory, const DistilBert& model, const TokenizerFiles& tokenizer, int max_length,
                Flush flush) {
  save_tensors(directory + "/model.safetensors", weights_of(model), flush);
  for (const auto& [name, content] : documents(model, tokenizer, max_length))
    write_file_atomically(directory + "/" + name, content, flush);
}

std::vector<std::pair<std::string, std::string>> save_model(const DistilBert& model, const TokenizerFiles& tokenizer,
                                                            int max_length) {
  std::string weights;
  write_safetensors([&](std::span<const std::byte> part) { weights.append(as_text(part)); }, "model.safetensors",
                    OnHost(weights_of(model)).to_write);
  std::vector<std::pair<std::string, std::string>> files = documents(model, tokenizer, max_length);
  files.insert(files.begin(), {"model.safetensors", std::move(weights)});
  return files;
}

void save_model_as_one(const std::string& directory, const DistilBert& model, const TokenizerFiles& tokenizer,
                       int max_length, bool replace) {
  if (directory.empty()) fail<UsageError>("the directory to save to has no name; give one, as \"tuned\" or \".\"");
  if (entry_exists(directory)) {
    if (entry_exists(directory + "/" + run_marker_name))
      fail<UsageError>("{}: is the directory of a training run; save to another one", directory);
    if (!replace && !entries_of(directory).empty())
      fail<UsageError>("{}: is not empty; save to another directory, or say that its model may be replaced", directory);
  }
  with_directories(directory, [&] {
    if (is_announced(directory)) place_and_forget(directory);  // by a process that was killed
    announce_publication(directory, directory + "/.crisp-publishing", [&](const std::string& staging) {
      save_model(staging, model, tokenizer, max_length, Flush::by_caller);
    });
    place_and_forget(directory);
  });
}

void save_tensors(const std::string& path, const std::vector<NamedTensor>& tensors, Flush flush) {
  write_safetensors(path, OnHost(tensors).to_write, {{"format", "pt"}}, flush);
}

void load_tensors(const std::string& path, const std::vector<NamedTensor>& tensors) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const NamedTensor& t : tensors) {
    const TensorEntry* entry = file.find(t.name);
    if (!entry) fail<BadInput>("{}: tensor {} is missing", path, t.name);
    if (entry->shape != file_shape(t.tensor.shape()))
      fail<BadInput>("{}: tensor {} has shape {}, not {}", path, t.name, shape_string(entry->shape),
                     t.tensor.shape().str());
    write_elements(t.tensor, [&](auto elements) { file.read(*entry, elements); });
  }
}

}  // namespace crisp
