#include "engine/meta/meter.h"

#include <algorithm>

#include "engine/backend.h"
#include "engine/meta/memory.h"

namespace crisp::meta {
namespace {

// Of the host. A GPU's memory holds none of its lists.
int64_t list_bytes(Device device) { return device == Device::meta ? backend(Device::cpu).used_bytes() : 0; }

}  // namespace

Meter::Meter(Device device, std::function<std::string()> label)
    : device_(device), label_(std::move(label)), host_before_(list_bytes(device)) {
  Memory::of(device).set_meter(this);
}

Meter::~Meter() { Memory::of(device_).set_meter(nullptr); }

size_t Meter::number_of(const std::string& label) {
  const auto found = std::find(labels_.begin(), labels_.end(), label);
  const auto number = static_cast<size_t>(found - labels_.begin());
  if (number == labels_.size()) labels_.push_back(label);
  return number;
}

void Meter::allocated(const char* place, size_t addresses, int64_t bytes, const std::string& label) {
  const int64_t lists = list_bytes(device_) - host_before_;
  const std::lock_guard lock(mutex_);
  here_[place] = blocks_.size();
  events_.push_back({blocks_.size(), false, lists});
  blocks_.push_back({number_of(label), addresses, bytes});
}

void Meter::freed(const char* place) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = here_.find(place);
  if (found == here_.end()) return;  // it was there before
  events_.push_back({found->second, true, 0});
  here_.erase(found);
}

void Meter::relabel(const void* address, const std::string& label) {
  const auto* const place = static_cast<const char*>(address);
  const std::lock_guard lock(mutex_);
  auto found = here_.upper_bound(place);
  if (found == here_.begin()) return;
  --found;
  Block& block = blocks_[found->second];
  if (place < found->first + block.addresses) block.label = number_of(label);
}

Meter::Peak Meter::peak() const {
  const std::lock_guard lock(mutex_);
  // How many bytes there are after each event; lists are counted when a block comes.
  int64_t now = 0, most = -1;
  size_t when = 0;
  for (size_t i = 0; i < events_.size(); ++i) {
    const Event& e = events_[i];
    now += e.frees ? -blocks_[e.block].bytes : blocks_[e.block].bytes;
    if (e.frees || now + e.host_bytes <= most) continue;
    most = now + e.host_bytes;
    when = i;
  }
  Peak peak;
  if (most < 0) return peak;
  std::vector<int64_t> of_label(labels_.size());
  for (size_t i = 0; i <= when; ++i) {
    const Block& block = blocks_[events_[i].block];
    of_label[block.label] += events_[i].frees ? -block.bytes : block.bytes;
  }
  peak.bytes = most;
  for (size_t i = 0; i < labels_.size(); ++i) peak.parts.push_back({labels_[i], of_label[i]});
  if (device_ == Device::meta) peak.parts.push_back({host_lists, events_[when].host_bytes});
  std::erase_if(peak.parts, [](const Part& part) { return part.bytes == 0; });
  peak.reached_by = labels_[blocks_[events_[when].block].label];
  return peak;
}

}  // namespace crisp::meta
