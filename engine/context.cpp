#include "engine/context.h"

#include <algorithm>
#include <mutex>

#include "engine/fail.h"

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

Context::Kept Context::take(MakeScratch make) const {
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(idle_.begin(), idle_.end(), [&](const Kept& kept) { return kept.made_by == make; });
    if (found != idle_.end()) {
      Kept kept = std::move(*found);
      idle_.erase(found);
      return kept;
    }
    idle_.reserve(++made_);  // so that giving back does not throw
  }
  return {make, make()};
}

void Context::give_back(Kept kept) const noexcept {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(kept));
}

int num_threads() {
  const Context::Use* const use = Context::Use::current_;
  return use ? use->context_.threads() : Context::standard().threads();
}

Scratch& Context::Use::scratch(MakeScratch make) {
  if (kept_.made_by != make) {
    if (kept_.scratch) context_.give_back(std::exchange(kept_, {}));
    kept_ = context_.take(make);
  }
  return *kept_.scratch;
}

Scratch& scratch_in_use(MakeScratch make) {
  if (!Context::Use::current_) fail("a kernel that needs scratch memory was called without a Context::Use");
  return Context::Use::current_->scratch(make);
}

}  // namespace crisp
