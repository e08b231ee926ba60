// Launches: what a device refuses, and the order of blocks.
#include <algorithm>
#include <numeric>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/cuda_emulator/block.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/findings.h"
#include "tests/cuda_emulator/fit.h"
#include "tests/cuda_emulator/race.h"
#include "tests/cuda_emulator/stream.h"

namespace crisp::emulator {
namespace {

constexpr size_t default_shared = 48 << 10, most_shared = 227 << 10;
std::unordered_map<const void*, size_t> shared_limits;

std::vector<uint64_t> block_order(uint64_t blocks) {
  std::vector<uint64_t> order(blocks);
  std::iota(order.begin(), order.end(), uint64_t{0});
  if (settings().blocks == Order::reverse) std::reverse(order.begin(), order.end());
  if (settings().blocks == Order::random)
    for (uint64_t i = blocks; i-- > 1;) std::swap(order[i], order[random_below(i + 1)]);
  return order;
}

void run_grid(const void* kernel, const dim3& grid, const dim3& threads, size_t shared_bytes,
              const ThreadCall& thread) {
  ++counters().launches;
  blockDim = threads;
  gridDim = grid;
  race::begin_launch();
  fit::begin_launch(kernel);
  for (const uint64_t b : block_order(uint64_t{grid.x} * grid.y * grid.z)) {
    blockIdx = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                static_cast<unsigned>(b / grid.x / grid.y)};
    const bool is_done = run_block(thread, shared_bytes);
    fit::end_block();
    if (!is_done) {
      break_device(cudaErrorLaunchFailure);
      break;
    }
  }
  race::end_launch();
}

std::string size_of(const dim3& d) {
  return std::to_string(d.x) + " x " + std::to_string(d.y) + " x " + std::to_string(d.z);
}

}  // namespace

cudaError_t allow_shared(const void* kernel, int bytes, Where where) {
  if (bytes < 0 || static_cast<size_t>(bytes) > most_shared)
    return refuse(cudaErrorInvalidValue, where, "no block has " + std::to_string(bytes) + " bytes of shared memory");
  shared_limits[kernel] = static_cast<size_t>(bytes);
  return cudaSuccess;
}

cudaError_t enqueue_kernel(const Placed& placed, const void* kernel, std::unique_ptr<const ThreadCall> thread) {
  const auto& [config, where] = placed;
  const dim3 &grid = config.gridDim, &threads = config.blockDim;
  const auto invalid = [&, at = where](const std::string& text) {
    return refuse(cudaErrorInvalidConfiguration, at, text);
  };
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return invalid("launch of an empty grid, " + size_of(grid));
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    return invalid("launch of too large a grid, " + size_of(grid));
  const uint64_t block_size = uint64_t{threads.x} * threads.y * threads.z;
  if (block_size == 0 || block_size > most_threads || threads.z > 64)
    return invalid("launch of blocks of " + size_of(threads) + " threads");
  const auto limit = shared_limits.find(kernel);
  const size_t most = limit == shared_limits.end() ? default_shared : limit->second;
  if (config.dynamicSmemBytes > most)
    return invalid("launch with " + std::to_string(config.dynamicSmemBytes) +
                   " bytes of shared memory, more than the " + std::to_string(most) + " that the kernel is allowed");
  return enqueue(config.stream,
                 Command::always(NodeKind::kernel, [kernel, grid, threads, bytes = config.dynamicSmemBytes,
                                                    thread = std::shared_ptr<const ThreadCall>(std::move(thread))] {
                   run_grid(kernel, grid, threads, bytes, *thread);
                 }));
}

}  // namespace crisp::emulator
