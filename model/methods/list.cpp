#include "model/methods/list.h"

#include <map>

#include "model/methods/method.h"

namespace crisp {

std::span<const Method* const> all_methods() {
#define CRISP_ADDRESS(name) &name##_method,
  static constexpr const Method* list[] = {CRISP_SPARSE_METHODS(CRISP_ADDRESS)};
  return list;
}

const Method& about(SparseMethod method) { return *all_methods()[static_cast<size_t>(method)]; }

const std::vector<std::pair<std::string, SparseMethod>>& method_words() {
  static const std::vector<std::pair<std::string, SparseMethod>> words = [] {
    std::vector<std::pair<std::string, SparseMethod>> all;
    for (const Method* method : all_methods()) all.emplace_back(method->word, static_cast<SparseMethod>(all.size()));
    return all;
  }();
  return words;
}

std::string method_name(SparseMethod method) { return about(method).word; }

std::optional<SparseMethod> parse_method(const std::string& word) {
  for (const auto& [name, value] : method_words())
    if (name == word) return value;
  return std::nullopt;
}

const std::vector<MethodOption>& Method::options() const {
  static const std::map<const Method*, std::vector<MethodOption>> all = [] {
    std::map<const Method*, std::vector<MethodOption>> declared;
    for (const Method* m : all_methods()) declared[m] = m->declare ? m->declare() : std::vector<MethodOption>();
    return declared;
  }();
  return all.at(this);
}

}  // namespace crisp
