// A model as a directory, in the form of Hugging Face: model.safetensors, config.json and the tokenizer's files.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer_files.h"
#include "model/distilbert.h"
#include "weights/atomic_file.h"
#include "weights/name_map.h"

namespace crisp {

class InputFiles;

struct LoadedModel {
  DistilBert model;
  std::string source = {};              // the file or directory that was asked for
  std::string weights_path = {};        // of the safetensors file; empty when the weights are from no file
  TokenizerFiles tokenizer = {};        // its path is empty when there is no vocabulary
  std::vector<std::string> files = {};  // all that were read
  bool new_head = false;                // the file had no classification head: it was initialised
  std::vector<std::string> notes = {};  // for the user: what was left out, assumed or initialised
};

struct LoadModelOptions {
  std::string vocab = {};                     // a vocab.txt or tokenizer.json; empty: what lies beside the weights
  std::optional<DType> dtype = {};            // unset: f64 for a file of f64 tensors, else f32
  Device device = Device::cpu;                // where the model's parameters lie and what it computes with
  int64_t num_labels = 0;                     // 0: from the file or its config.json
  std::string num_labels_from = "there are";  // who says so, with the verb
  std::vector<std::string> label_names = {};  // of the classes; empty: config.json's, or none with a new head
  std::optional<double> dropout = {};         // for all three rates; unset: config.json's
  uint64_t seed = 0;                          // of a head that the file lacks
  bool new_head = false;                      // initialise the classification head even where the file has one
  bool head_required = false;                 // a file without a head is an error
  bool to_train = false;                      // a problem_type other than one label of several is an error
  /// Weights of a file of the file system, of the model's type, are used where they lie in it, on the CPU: see
  /// SafetensorsFile::mapped(). Those of queries, keys and values are copied all the same, to lie together. The same
  /// bits.
  bool map_weights = false;
};

/// Loads a safetensors file, or a directory with one. config.json is taken from beside the file; without one, the
/// shapes tell the sizes and a head of attention is taken to be 64 wide. What is read is of one publication, whatever a
/// run in that directory does meanwhile. Throws BadInput, listing all that is wrong.
LoadedModel load_model(const std::string& file_or_directory, const LoadModelOptions& options);
/// The same from files of these names (model_file_names()) that lie elsewhere. options.vocab is not looked at.
LoadedModel load_model(const InputFiles& input, const LoadModelOptions& options);

/// A model with random weights: `what` is "distilbert-base" or the path of a config.json. options.vocab is required,
/// unless a vocabulary lies beside the config.json; the vocabulary's size replaces the configuration's.
LoadedModel new_model(const std::string& what, const LoadModelOptions& options);

/// The configuration that load_model(weights) would take, or, where `init` is not empty, new_model(init), before
/// options and, of new_model(), the vocabulary change it; reads no tensors.
DistilBertConfig config_without_weights(const std::string& weights, const std::string& init);

/// Where load_model would take each parameter from, by the file and the config.json beside it; reads no numbers. Throws
/// BadInput when parameters are missing or have other shapes, or config.json cannot be used.
LoadPlan plan_model(const SafetensorsFile& file);

/// For logits that are not finite: which tensor of the weights' file (of the model itself, where there is none) holds
/// NaN, infinity or what the model's dtype does not hold, the first in the model's order: "the weights'
/// classifier.bias holds nan". Empty when none does.
std::string describe_broken_weights(const LoadedModel& loaded);

/// The model's tokenizer. Throws UsageError when there is no vocabulary or `max_length` is above the model's positions,
/// BadInput when the vocabulary is none, or it or a token added to it lies outside the model's embeddings.
WordPiece load_tokenizer(const LoadedModel& loaded, int64_t max_length);

/// Writes model.safetensors, config.json and the tokenizer's files, each atomically, so that transformers'
/// from_pretrained(directory) works.
void save_model(const std::string& directory, const DistilBert& model, const TokenizerFiles& tokenizer, int max_length,
                Flush flush = Flush::now);
/// The same files in memory: name and content. Same bytes.
std::vector<std::pair<std::string, std::string>> save_model(const DistilBert& model, const TokenizerFiles& tokenizer,
                                                            int max_length);
/// The same in a directory that is made, with its parents, where it is not there, as one publication
/// (weights/publication.h): whatever happens, it holds the former model or this one, or what was made is gone again.
/// Throws UsageError when the name is empty or a run's directory is meant, and, without `replace`, when it holds
/// anything.
void save_model_as_one(const std::string& directory, const DistilBert& model, const TokenizerFiles& tokenizer,
                       int max_length, bool replace);
/// What a dense run has to say of weights that are of a sparse one; empty where there is nothing.
std::string note_lost_sparsity(const SparsityConfig& of_weights, const SparsityConfig& now);
/// The length to which the model was trained to cut sentences (tokenizer_config.json), at most its positions, which
/// are returned where nothing else is said.
int saved_max_length(const LoadedModel& loaded);
/// The names of the files that save_model may write.
std::vector<std::string> model_file_names();

/// Copies of tensors under their names, all of one dtype, as a safetensors file; and back into existing tensors.
/// Throws BadInput when the file lacks one or has another shape.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};
/// Those of the model's file: all parameters but learned spans.
std::vector<NamedTensor> weights_of(const DistilBert& model);
void save_tensors(const std::string& path, const std::vector<NamedTensor>& tensors, Flush flush = Flush::now);
void load_tensors(const std::string& path, const std::vector<NamedTensor>& tensors);

}  // namespace crisp
