// The handles of the C interface (crisp/crisp.h), and how its arguments become those of crisp.hpp.
#pragma once

#include <string>
#include <vector>

#include "train/door/c_errors.h"
#include "train/door/c_memory.h"
#include "train/door/crisp/crisp.hpp"

struct crisp_context {
  explicit crisp_context(const crisp::door::Allocator&) {}

  crisp::FineTuner::Options options;
  crisp::door::Allocator allocator;  // of what is made with the context; itself it is malloc's
  mutable crisp::door::Failures failures;
};

struct crisp_model {
  crisp_model(const crisp::door::Allocator& from, crisp::Classifier made);

  const crisp::door::Allocator allocator;
  crisp::Classifier classifier;
  const std::vector<std::string> label_names, parameter_names;
  mutable crisp::door::Failures failures;
};

struct crisp_tuner {
  crisp_tuner(const crisp::door::Allocator& from, crisp::FineTuner made) : allocator(from), tuner(std::move(made)) {}

  const crisp::door::Allocator allocator;
  crisp::FineTuner tuner;
  mutable crisp::door::Failures failures;
};

namespace crisp::door {

/// Throws UsageError for null pointers. The memory of the files stays the caller's.
ModelSource source_of(const crisp_file* files, size_t count);
/// Its calls throw Stopped where the caller's function fails.
ModelSource source_of(crisp_read read, void* user);

/// Gives one setting to the options. Throws UsageError for a name or value that is none.
void apply_setting(FineTuner::Options& options, const std::string& name, const std::string& value);

/// What a call with a handle does: its errors are the handle's, too.
template <class Handle, class F>
int with(Handle* handle, F&& f) noexcept {
  if (!handle) return guarded(nullptr, [] { throw UsageError("a null pointer was given for the handle"); });
  return guarded(&handle->failures, std::forward<F>(f));
}

}  // namespace crisp::door
