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

std::unique_ptr<Workspace> Context::take_workspace() const {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) {
    idle_.reserve(++workspaces_);  // so that giving back does not throw
    return std::make_unique<Workspace>();
  }
  std::unique_ptr<Workspace> workspace = std::move(idle_.back());
  idle_.pop_back();
  return workspace;
}

void Context::give_back(std::unique_ptr<Workspace> workspace) const noexcept {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(workspace));
}

Context::Use*& Context::Use::current() {
  thread_local Use* use = nullptr;
  return use;
}

Context::Use::Use(const Context& context) : context_(context), outer_(current()) {
  // Where the same context is in use already, so is its workspace.
  if (!outer_ || &outer_->context_ != &context) current() = this;
}

Context::Use::~Use() {
  if (workspace_) context_.give_back(std::move(workspace_));
  current() = outer_;
}

int num_threads() {
  const Context::Use* const use = Context::Use::current();
  return use ? use->context_.threads() : Context::standard().threads();
}

Workspace& Context::Use::workspace() {
  if (!workspace_) workspace_ = context_.take_workspace();
  return *workspace_;
}

Workspace& workspace_in_use() {
  Context::Use* const use = Context::Use::current();
  if (!use) fail("a kernel that needs scratch memory was called without a Context::Use");
  return use->workspace();
}

}  // namespace crisp
