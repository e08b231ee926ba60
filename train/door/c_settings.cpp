#include <array>
#include <charconv>
#include <limits>

#include "data/input/parse_text.h"
#include "data/input/text.h"
#include "data/labels.h"
#include "engine/fail.h"
#include "train/door/c_handles.h"
#include "train/inference/precision.h"

namespace crisp::door {
namespace {

using Options = FineTuner::Options;

template <class T>
T whole_number(const std::string& value) {
  const std::optional<T> n = parse_number<T>(value);
  if (!n) fail<UsageError>("must be a whole number, not {}", quote(value));
  return *n;
}

double real_number(const std::string& value) {
  const std::optional<double> x = parse_number<double>(value);
  if (!x) fail<UsageError>("must be a number, not {}", quote(value));
  return *x;
}

Precision precision_of(const std::string& value) {
  std::string all;
  for (const Precision p : all_precisions) {
    if (value == name_of(p)) return p;
    all += (all.empty() ? "" : ", ") + std::string(name_of(p));
  }
  fail<UsageError>("must be one of {}, not {}", all, quote(value));
}

DeviceChoice device_of(const std::string& value) {
  if (value == "cpu") return DeviceChoice::cpu;
  if (value == "cuda") return DeviceChoice::cuda;
  if (value == "auto") return DeviceChoice::automatic;
  fail<UsageError>("must be cpu, cuda or auto, not {}", quote(value));
}

bool switch_of(const std::string& value) {
  if (value == "on") return true;
  if (value == "off") return false;
  fail<UsageError>("must be on or off, not {}", quote(value));
}

std::vector<std::string> names_of(const std::string& value) {
  std::vector<std::string> names;
  if (value.empty()) return names;
  if (const std::string complaint = parse_label_names(value, names); !complaint.empty())
    fail<UsageError>("{}", complaint);
  return names;
}

// The ranges are looked at where a model or a tuner is made.
struct Setting {
  const char* name;
  void (*apply)(Options&, const std::string&);
};
constexpr std::array settings{
    Setting{"threads", [](Options& o, const std::string& v) { o.threads = whole_number<int>(v); }},
    Setting{"precision", [](Options& o, const std::string& v) { o.precision = precision_of(v); }},
    Setting{"device", [](Options& o, const std::string& v) { o.device = device_of(v); }},
    Setting{"max-length", [](Options& o, const std::string& v) { o.max_length = whole_number<int>(v); }},
    Setting{"eval-batch-size", [](Options& o, const std::string& v) { o.eval_batch_size = whole_number<int>(v); }},
    Setting{"epochs", [](Options& o, const std::string& v) { o.epochs = real_number(v); }},
    Setting{"max-steps", [](Options& o, const std::string& v) { o.max_steps = whole_number<int64_t>(v); }},
    Setting{"learning-rate", [](Options& o, const std::string& v) { o.learning_rate = real_number(v); }},
    Setting{"batch-size", [](Options& o, const std::string& v) { o.batch_size = whole_number<int64_t>(v); }},
    Setting{"gradient-accumulation-steps",
            [](Options& o, const std::string& v) { o.gradient_accumulation_steps = whole_number<int64_t>(v); }},
    Setting{"warmup-ratio", [](Options& o, const std::string& v) { o.warmup_ratio = real_number(v); }},
    Setting{"weight-decay", [](Options& o, const std::string& v) { o.weight_decay = real_number(v); }},
    Setting{"max-grad-norm", [](Options& o, const std::string& v) { o.max_grad_norm = real_number(v); }},
    Setting{"seed", [](Options& o, const std::string& v) { o.seed = whole_number<uint64_t>(v); }},
    Setting{"dropout", [](Options& o, const std::string& v) { o.dropout = real_number(v); }},
    Setting{"sparsity", [](Options& o, const std::string& v) { o.sparsity = v; }},
    Setting{"sparse-method", [](Options& o, const std::string& v) { o.sparse_method = v; }},
    Setting{"label-names", [](Options& o, const std::string& v) { o.label_names = names_of(v); }},
    Setting{"new-head", [](Options& o, const std::string& v) { o.new_head = switch_of(v); }},
    Setting{"eval-steps", [](Options& o, const std::string& v) { o.eval_steps = whole_number<int64_t>(v); }},
};

}  // namespace

void apply_setting(Options& options, const std::string& name, const std::string& value) {
  for (const Setting& setting : settings) {
    if (name != setting.name) continue;
    try {
      return setting.apply(options, value);
    } catch (const UsageError& error) {
      fail<UsageError>("{}: {}", name, error.what());
    }
  }
  fail<UsageError>("there is no setting {}", quote(name));
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
