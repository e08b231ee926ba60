// Where in a model something was made, for messages: "DistilBert > layer.2 > ffn.lin1".
#pragma once

#include <memory>
#include <string>
#include <utility>

namespace crisp {

/// One part of such a place. It lives as long as what was made there.
struct ScopeName {
  ScopeName(std::shared_ptr<const ScopeName> of, std::string called) : parent(std::move(of)), name(std::move(called)) {}
  std::string path() const { return parent ? parent->path() + " > " + name : name; }

  std::shared_ptr<const ScopeName> parent;
  std::string name;
};
using ScopeHandle = std::shared_ptr<const ScopeName>;

}  // namespace crisp
