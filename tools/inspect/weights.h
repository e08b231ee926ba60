// crisp-inspect weights: what a file of weights holds, what a model makes of it, and how it differs from another one.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "weights/safetensors.h"

namespace crisp::inspect {

struct WeightsOptions {
  std::string file, model, weights;  // one of them is given: a file, directory or name
  std::string against, tensor;
  double tolerance = 0;
  int64_t limit = 20;
  bool json = false;
};

/// "layer.2" before "layer.10": by digits as numbers, else by bytes.
bool natural_less(std::string_view a, std::string_view b);

/// What a model makes of a file. One that holds no encoder is no error here.
struct FileUse {
  struct OfTensor {
    std::string becomes;         // "-> layer.2.ffn.lin1.weight", "left out: the pooler", "unused"
    std::string parameter = {};  // the whole name, where it becomes one
  };
  std::vector<OfTensor> tensors;  // in the file's order
  std::string architecture = {};  // "DistilBERT", "BERT"; "" for neither
  std::vector<std::string> notes = {};
};
FileUse use_of_file(const SafetensorsFile& file);

/// The file that `file_or_directory` means (locate_weights), of one publication.
SafetensorsFile open_weights(const std::string& file_or_directory);
/// Of this name, or the name of the parameter that it becomes, whole or short. Throws UsageError with the nearest name.
const TensorEntry& find_tensor(const SafetensorsFile& file, const FileUse& use, const std::string& name);

/// A number, or where JSON has none "nan", "inf" or "-inf".
nlohmann::ordered_json json_number(double x);

/// The command; returns its exit code.
int show_weights(const WeightsOptions& options);
/// The same with --against: 1 where some difference is beyond the tolerance, else 0.
int compare_weights(const WeightsOptions& options, const std::string& first);

}  // namespace crisp::inspect
