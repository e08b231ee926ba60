// What a model makes of a file of weights, and finding things in one.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <new>
#include <set>

#include "data/input/text.h"
#include "engine/fail.h"
#include "tools/inspect/subject.h"
#include "tools/inspect/weights.h"
#include "tools/nearest.h"
#include "train/inference/model_files.h"
#include "weights/locate.h"
#include "weights/name_map.h"
#include "weights/published.h"

namespace crisp::inspect {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The digits at `at` without leading zeros.
std::string_view digits(std::string_view text, size_t& at) {
  while (at < text.size() && text[at] == '0') ++at;
  const size_t begin = at;
  while (at < text.size() && is_digit(text[at])) ++at;
  return text.substr(begin, at - begin);
}

FileUse::OfTensor use_of_tensor(const TensorUse& use, bool unused) {
  switch (use.kind) {
    case TensorUse::Kind::parameter:
      if (unused) break;
      return {.becomes = "-> " + short_name(use.text), .parameter = use.text};
    case TensorUse::Kind::token_types:
      return {.becomes = "-> row 0 is added to all positions"};
    case TensorUse::Kind::left_out:
      return {.becomes = "left out: " + use.text};
    case TensorUse::Kind::foreign:
      break;
  }
  return {.becomes = "unused"};
}

std::string tensors(size_t n) { return fmt::format("{} tensor{}", n, n == 1 ? "" : "s"); }

}  // namespace

bool natural_less(std::string_view a, std::string_view b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (is_digit(a[i]) && is_digit(b[j])) {
      const std::string_view x = digits(a, i), y = digits(b, j);
      if (x != y) return x.size() != y.size() ? x.size() < y.size() : x < y;
    } else if (a[i] != b[j]) {
      return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[j]);
    } else {
      ++i, ++j;
    }
  }
  return a.size() - i != b.size() - j ? a.size() - i < b.size() - j : a < b;
}

FileUse use_of_file(const SafetensorsFile& file) {
  FileUse result;
  std::vector<TensorUse> uses;
  try {
    uses = tensor_uses(file);
  } catch (const BadInput& error) {
    result.tensors.assign(file.tensors().size(), {.becomes = "-"});
    result.notes.push_back(error.what());
    return result;
  }
  std::set<std::string> unused;
  std::vector<std::string> notes;
  try {
    const LoadPlan plan = plan_model(file);
    result.architecture = name_of(plan.architecture);
    unused.insert(plan.unused.begin(), plan.unused.end());
    if (!plan.initialised_head.empty())
      notes.push_back("it has no classification head for this model; a new one is random");
  } catch (const Error& error) {
    notes.push_back(std::string("it cannot be loaded: ") + error.what());
  } catch (const std::bad_alloc&) {  // config.json asks for it
    notes.push_back("it cannot be loaded: there is not enough memory for what its config.json describes");
  }
  size_t not_used = 0;
  std::map<std::string, size_t> left_out;
  for (size_t i = 0; i < uses.size(); ++i) {
    const bool known = uses[i].kind != TensorUse::Kind::foreign && !unused.contains(file.tensors()[i].name);
    result.tensors.push_back(use_of_tensor(uses[i], !known));
    if (!known) ++not_used;
    if (uses[i].kind == TensorUse::Kind::left_out) ++left_out[uses[i].text];
  }
  for (const auto& [reason, count] : left_out)
    result.notes.push_back(fmt::format("left out, {}: {}", tensors(count), reason));
  if (not_used > 0) result.notes.push_back(fmt::format("unused, {}: unknown to this model", tensors(not_used)));
  result.notes.insert(result.notes.end(), notes.begin(), notes.end());
  return result;
}

SafetensorsFile open_weights(const std::string& file_or_directory) {
  check_model_exists(file_or_directory);
  return read_published(file_or_directory, [&] { return SafetensorsFile::open(locate_weights(file_or_directory)); });
}

const TensorEntry& find_tensor(const SafetensorsFile& file, const FileUse& use, const std::string& name) {
  if (const TensorEntry* found = file.find(name)) return *found;
  std::vector<std::string> names;
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const std::string& parameter = use.tensors[i].parameter;
    if (!parameter.empty() && (name == parameter || name == short_name(parameter))) return file.tensors()[i];
    names.push_back(file.tensors()[i].name);
    if (!parameter.empty()) names.push_back(short_name(parameter));
  }
  fail<UsageError>("{}: has no tensor {}{}", file.path(), quote(name), did_you_mean(name, names));
}

nlohmann::ordered_json json_number(double x) {
  if (std::isfinite(x)) return x;
  return std::isnan(x) ? "nan" : x > 0 ? "inf" : "-inf";
}

}  // namespace crisp::inspect
