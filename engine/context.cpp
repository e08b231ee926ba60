#include "engine/context.h"

#include "engine/allocator.h"
#include "engine/default_threads.h"
#include "engine/error.h"

namespace crisp {

Context::Context(const Settings& settings) : settings_(settings) {
  if (settings.threads < 0) fail<UsageError>("the number of threads cannot be negative: {}", settings.threads);
  if (settings.threads == 0) settings_.threads = default_num_threads();
}

Context::~Context() = default;

const Context& Context::standard() {
  static const Context* const standard = new Context({});  // outlives all that computes
  return *standard;
}

Workspace* Context::take_workspace() const {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) {
    idle_.reserve(++workspaces_);  // so that giving back does not throw
    return new Workspace;
  }
  Workspace* const workspace = idle_.back().release();
  idle_.pop_back();
  return workspace;
}

void Context::give_back(Workspace* workspace) const noexcept {
  const std::lock_guard lock(mutex_);
  idle_.emplace_back(workspace);
}

int num_threads() {
  const Context::Use* const use = Context::Use::current_;
  return use ? use->context_.threads() : Context::standard().threads();
}

Workspace& Context::Use::workspace() {
  if (!workspace_) workspace_ = context_.take_workspace();
  return *workspace_;
}

Workspace& workspace_in_use() {
  Context::Use* const use = Context::Use::current_;
  if (!use) fail("a kernel that needs scratch memory was called without a Context::Use");
  return use->workspace();
}

}  // namespace crisp
