#include "tests/cuda_emulator/fit.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "tests/cuda_emulator/block.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/findings.h"
#include "tests/cuda_emulator/memory.h"

namespace crisp::emulator {
namespace fit {
namespace {

constexpr size_t sector_bytes = 32, banks = 32, bank_bytes = 4;

// The n-th access of each lane of a warp at one place in the code: what the hardware would ask for at once.
struct Access {
  size_t begin, end;  // bytes of the device
};
using Request = std::vector<Access>;
struct Place {
  // Of this block's warps, since their lanes last met: in loops without a meeting lanes may do different numbers of
  // turns.
  std::vector<Request> requests[most_threads / 32];
  uint64_t meeting[most_threads / 32] = {};
  uint32_t times[most_threads] = {};  // each thread was here
  Fit fit;
};
uint64_t meetings[most_threads / 32];
// Of this launch's kernel. Code may be used for both kinds of memory.
std::unordered_map<const void*, Place> of_device, of_shared;
std::map<std::tuple<const void*, bool, const void*>, Fit> fits;  // by code, kind and kernel: of those before
const void* kernel_now = nullptr;

// Sectors, or words of shared memory, of a sorted request; f(number) for each once.
template <class F>
void for_units(const Request& request, size_t unit, F f) {
  size_t next = 0;
  for (const auto& [begin, end] : request)
    for (size_t i = std::max(next, begin / unit); i * unit < end; next = ++i) f(i);
}

void take_ways(Fit& f, uint64_t ways, uint64_t least) {
  // Of equally many ways those that could be fewer.
  if (ways > f.ways || (ways == f.ways && least < f.least_ways)) f.ways = ways, f.least_ways = least;
}

void count(Request& request, Fit& f) {
  std::sort(request.begin(), request.end(), [](const Access& a, const Access& b) { return a.begin < b.begin; });
  ++f.requests;
  if (f.is_shared) {
    uint64_t of_bank[banks] = {}, ways = 0, words = 0;
    for_units(request, bank_bytes, [&](size_t word) {
      ++words;
      ways = std::max(ways, ++of_bank[word % banks]);
    });
    return take_ways(f, ways, (words + banks - 1) / banks);
  }
  for_units(request, sector_bytes, [&](size_t) { ++f.sectors; });
  size_t bytes = 0, next = 0;
  for (const auto& [begin, end] : request) {
    if (end > next) bytes += end - std::max(next, begin);
    next = std::max(next, end);
  }
  f.least_sectors += (bytes + sector_bytes - 1) / sector_bytes;
}

// What a warp asked for before it met.
void count_requests(Place& place, unsigned warp) {
  for (Request& request : place.requests[warp]) count(request, place.fit);
  place.requests[warp].clear();
  std::fill_n(place.times + warp * 32, 32, 0u);
  place.meeting[warp] = meetings[warp];
}

void keep_fits() {
  for (auto* places : {&of_device, &of_shared}) {
    for (const auto& [code, place] : *places) {
      const Fit& f = place.fit;
      Fit& all = fits[{code, f.is_shared, f.kernel}];
      all.kernel = f.kernel;
      all.is_shared = f.is_shared;
      all.requests += f.requests;
      all.sectors += f.sectors;
      all.least_sectors += f.least_sectors;
      take_ways(all, f.ways, f.least_ways);
    }
    places->clear();
  }
}

}  // namespace

void begin_launch(const void* kernel) {
  if (kernel != kernel_now) keep_fits();
  kernel_now = kernel;
}

void note(const void* p, size_t bytes, const void* code) {
  if (!settings().count_fits) return;
  const unsigned thread = current_thread();
  Place& place = (is_shared(p) ? of_shared : of_device)[code];
  place.fit.kernel = kernel_now;
  place.fit.is_shared = is_shared(p);
  const unsigned warp = thread / 32;
  if (place.meeting[warp] != meetings[warp]) count_requests(place, warp);
  auto& requests = place.requests[warp];
  const uint32_t time = place.times[thread]++;
  if (requests.size() <= time) requests.resize(time + 1);
  requests[time].push_back({offset_in_device(p), offset_in_device(p) + bytes});
}

void warp_met(unsigned warp) { ++meetings[warp]; }

void block_met() {
  for (uint64_t& m : meetings) ++m;
}

void end_block() {
  for (auto* places : {&of_device, &of_shared})
    for (auto& [code, place] : *places)
      for (unsigned warp = 0; warp < most_threads / 32; ++warp)
        if (!place.requests[warp].empty()) count_requests(place, warp);
}

}  // namespace fit

std::vector<Fit> take_fits() {
  fit::keep_fits();
  std::vector<const void*> codes;
  for (const auto& [key, f] : fit::fits) codes.push_back(std::get<0>(key));
  find_places(codes);
  std::vector<Fit> all;
  for (const auto& [key, f] : std::exchange(fit::fits, {})) {
    all.push_back(f);
    all.back().place = place_of_code(std::get<0>(key));
  }
  return all;
}

}  // namespace crisp::emulator
