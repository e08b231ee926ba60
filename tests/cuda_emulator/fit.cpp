#include "tests/cuda_emulator/fit.h"

#include <algorithm>
#include <map>
#include <set>

#include "tests/cuda_emulator/block.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/findings.h"
#include "tests/cuda_emulator/memory.h"

namespace crisp::emulator {
namespace fit {
namespace {

constexpr size_t sector_bytes = 32, banks = 32, bank_bytes = 4;

// The n-th access of each lane of a warp at one place in the code: what the hardware would ask for at once.
struct Request {
  std::set<size_t> units;  // sectors of device memory, or words of shared memory
  std::set<size_t> bytes;  // distinct ones
};
std::map<std::pair<const void*, size_t>, Request> requests[most_threads / 32];
std::map<const void*, size_t> times[most_threads];  // each thread was at a place
std::map<const void*, Fit> fits;

size_t most_words_of_a_bank(const std::set<size_t>& words) {
  size_t of_bank[banks] = {}, most = 0;
  for (const size_t word : words) most = std::max(most, ++of_bank[word % banks]);
  return most;
}

}  // namespace

void note(const void* p, size_t bytes, const void* code) {
  if (!settings().count_fits) return;
  const unsigned thread = current_thread();
  Request& request = requests[thread / 32][{code, times[thread][code]++}];
  fits[code].is_shared = is_shared(p);
  const size_t unit = is_shared(p) ? bank_bytes : sector_bytes;
  for (size_t i = offset_in_device(p); i < offset_in_device(p) + bytes; ++i) {
    request.units.insert(i / unit);
    request.bytes.insert(i);
  }
}

void end_block() {
  if (!settings().count_fits) return;
  for (auto& warp : requests) {
    for (const auto& [key, request] : warp) {
      Fit& f = fits[key.first];
      ++f.requests;
      f.sectors += f.is_shared ? 0 : request.units.size();
      f.least_sectors += f.is_shared ? 0 : (request.bytes.size() + sector_bytes - 1) / sector_bytes;
      f.ways = std::max(f.ways, f.is_shared ? most_words_of_a_bank(request.units) : 0);
    }
    warp.clear();
  }
  for (auto& t : times) t.clear();
}

}  // namespace fit

std::vector<Fit> take_fits() {
  std::vector<Fit> all;
  for (auto& [code, f] : std::exchange(fit::fits, {})) {
    all.push_back(f);
    all.back().place = place_of_code(code);
  }
  return all;
}

}  // namespace crisp::emulator
