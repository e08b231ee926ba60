#include "data/input/text.h"
#include "engine/fail.h"
#include "train/core/trainer_settings.h"
#include "train/door/c_handles.h"
#include "train/door/state.h"

namespace crisp::door {

void apply_setting(FineTuner::Options& options, const std::string& name, const std::string& value) {
  const auto* setting = find_tuner_setting(name);
  if (!setting) fail<UsageError>("there is no setting {}", quote(name));
  if (const std::string complaint = setting->set(options, value); !complaint.empty())
    fail<UsageError>("{} {}", name, with_quoted(complaint, value));
}

}  // namespace crisp::door

using namespace crisp::door;

const char* crisp_version(void) { return crisp::version(); }

int crisp_context_new(crisp_context** context) {
  return guarded(nullptr, [&] { *not_null(context, "context") = new crisp_context(Allocator()); });
}

void crisp_context_free(crisp_context* context) { delete context; }

const char* crisp_context_error(const crisp_context* context) { return context ? context->failures.last() : ""; }

int crisp_context_set(crisp_context* context, const char* name, const char* value) {
  return with(context, [&] { apply_setting(context->options, not_null(name, "name"), not_null(value, "value")); });
}

int crisp_context_set_log(crisp_context* context, crisp_log log, void* user) {
  return with(context, [&] {
    context->options.log = {};
    if (log) context->options.log = [log, user](const std::string& line) { log(user, line.c_str()); };
  });
}

int crisp_context_set_allocator(crisp_context* context, crisp_allocate allocate, crisp_release release, void* user) {
  return with(context, [&] {
    if (!allocate != !release) throw crisp::UsageError("an allocator is two functions, or none");
    context->allocator = {allocate, release, user};
  });
}
