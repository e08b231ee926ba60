// The small files that a run writes and reads again, and those beside a model: the first byte says which, the rest is
// the file. What is accepted can be written and read back.
#include <cstdlib>

#include "data/input/text.h"
#include "tests/fuzz/fuzz.h"
#include "train/durable/checkpoint_manifest.h"
#include "train/durable/lock_holders.h"
#include "train/durable/run_marker.h"
#include "train/run/checkpoint.h"
#include "weights/hub_cache.h"

namespace {

using namespace crisp;

void checkpoint_state(const std::string& text) {
  const CheckpointState state = parse_checkpoint_state(text, "state");
  fuzz::require(state.logs.event_file.empty() || is_bare_file_name(state.logs.event_file), "a log elsewhere");
  const std::string written = format_checkpoint_state(state);
  fuzz::require(format_checkpoint_state(parse_checkpoint_state(written, "written")) == written,
                "a state reads back otherwise");
  check_same_run(state.settings, R"({"seed": 0, "layer_sparsity": [0.5], "schedule": "linear"})", "run");
}

void manifest(const std::string& text) {
  const Manifest read = parse_manifest(text, "manifest");
  const std::string written = format_manifest(read);
  fuzz::require(format_manifest(parse_manifest(written, "written")) == written, "a manifest reads back otherwise");
  const fuzz::MemoryDirectory empty;
  const std::string damage = manifest_damage(empty.path(), read);
  fuzz::require(!damage.empty(), "files that are not there are taken for whole");
  fuzz::require_printable(damage);
}

void marker(const std::string& text) {
  const RunMarker read = parse_run_marker(text, "marker");
  for (const std::string& name : read.files) fuzz::require(is_bare_file_name(name), "a run's file elsewhere");
  const RunMarker again = parse_run_marker(format_run_marker(read), "written");
  fuzz::require(again.files == read.files && again.settings == read.settings, "a marker reads back otherwise");
}

void lock(const std::string& text) {
  const fuzz::MemoryDirectory directory;
  directory.write("lock", text);
  fuzz::require_printable(living_lock_holder(directory.path() + "/lock"));
}

void reference(const std::string& text) {
  const fuzz::MemoryDirectory cache;
  ::setenv("HF_HUB_CACHE", cache.path().c_str(), 1);
  cache.write("models--a--b/refs/main", text);
  cache.write("models--a--b/snapshots/5f/config.json", "{}");
  fuzz::require(find_in_hub_cache("a/b") == cache.path() + "/models--a--b/snapshots/5f", "a snapshot elsewhere");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::refused_or_right(data, size, [](std::string_view input) {
    constexpr void (*readers[])(const std::string&) = {checkpoint_state, manifest, marker, lock, reference};
    if (!input.empty())
      readers[static_cast<unsigned char>(input[0]) % std::size(readers)](std::string(input.substr(1)));
  });
}
