// Kernels without a fault: right values, the same bits in any order of threads and blocks, no false alarm.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "tests/cuda_emulator/kernels/correct.h"
#include "tests/cuda_emulator/kernels/faults.h"
#include "tests/cuda_emulator/support.h"

using namespace crisp;
using namespace crisp::test;
using emulator::Order;

namespace {

template <class T>
std::vector<T> run_sums(unsigned blocks) {
  const DeviceArray<T> x(normals<T>(blocks * 256, 1)), out(blocks);
  REQUIRE(block_sums(nullptr, blocks, x.get(), out.get()) == cudaSuccess);
  return out.values();
}

// Scores with ties, in rows of `cols`.
std::vector<float> scores(int rows, int cols) {
  auto x = normals<float>(static_cast<size_t>(rows * cols), 2);
  for (float& v : x) v = std::round(4 * v) / 4;
  return x;
}

std::vector<uint8_t> run_top_k(int rows, int cols, int k) {
  const DeviceArray<float> x(scores(rows, cols));
  const DeviceArray<uint8_t> kept(static_cast<size_t>(rows * cols));
  REQUIRE(top_k(nullptr, rows, cols, k, x.get(), kept.get()) == cudaSuccess);
  return kept.values();
}

template <class T>
std::vector<T> run_norm(int rows, int cols) {
  const auto n = static_cast<size_t>(rows * cols), c = static_cast<size_t>(cols);
  const DeviceArray<T> x(normals<T>(n, 3)), weight(normals<T>(c, 4)), bias(normals<T>(c, 5)), y(n);
  REQUIRE(layer_norm(nullptr, rows, cols, x.get(), weight.get(), bias.get(), T(1e-12), y.get()) == cudaSuccess);
  return y.values();
}

template <class T>
double largest_error(const std::vector<T>& got, const std::vector<double>& want) {
  double largest = 0;
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - want[i]);
    if (!(error <= largest)) largest = error;
  }
  return largest;
}

template <class T>
std::vector<double> wide(const std::vector<T>& x) {
  return {x.begin(), x.end()};
}

template <class T>
void check_sums(double tolerance) {
  const auto x = wide(normals<T>(5 * 256, 1));
  std::vector<double> want;
  for (size_t b = 0; b < 5; ++b)
    want.push_back(
        std::accumulate(x.begin() + 256 * static_cast<long>(b), x.begin() + 256 * static_cast<long>(b + 1), 0.0));
  CHECK(largest_error(run_sums<T>(5), want) < tolerance);
}

template <class T>
void check_norm(int rows, int cols, double tolerance) {
  const auto n = static_cast<size_t>(rows * cols), width = static_cast<size_t>(cols);
  const auto x = wide(normals<T>(n, 3)), weight = wide(normals<T>(width, 4)), bias = wide(normals<T>(width, 5));
  std::vector<double> want(n);
  for (size_t r = 0; r < n; r += width) {
    double mean = 0, variance = 0;
    for (size_t c = 0; c < width; ++c) mean += x[r + c] / cols;
    for (size_t c = 0; c < width; ++c) variance += (x[r + c] - mean) * (x[r + c] - mean) / cols;
    for (size_t c = 0; c < width; ++c)
      want[r + c] = (x[r + c] - mean) / std::sqrt(variance + 1e-12) * weight[c] + bias[c];
  }
  CHECK(largest_error(run_norm<T>(rows, cols), want) < tolerance);
}

// Everything that the kernels above give, as bytes.
std::string all_bits() {
  std::string bits;
  const auto append = [&](const auto& values) {
    bits.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof values[0]);
  };
  append(run_sums<float>(5));
  append(run_sums<double>(5));
  append(run_top_k(9, 50, 10));
  append(run_norm<float>(7, 200));
  append(run_norm<double>(7, 200));
  return bits;
}

std::vector<int> trace(unsigned blocks, unsigned threads) {
  const DeviceArray<int> count(std::vector<int>(1)), order(blocks * threads);
  REQUIRE(trace_order(nullptr, blocks, threads, count.get(), order.get()) == cudaSuccess);
  return order.values();
}

std::vector<int> range(int begin, int end, int step) {
  std::vector<int> numbers;
  for (int i = begin; i != end; i += step) numbers.push_back(i);
  return numbers;
}

}  // namespace

TEST_CASE("block sums by shuffles") {
  const Fresh fresh;
  check_sums<double>(1e-13);
  check_sums<float>(2e-5);
  CHECK(emulator::take_findings().empty());
}

TEST_CASE("LayerNorm") {
  const Fresh fresh;
  for (const auto& [rows, cols] : {std::pair{1, 1}, {7, 200}, {3, 128}, {4, 33}}) {
    check_norm<double>(rows, cols, 1e-13);
    if (cols > 1) check_norm<float>(rows, cols, 1e-5);
  }
  CHECK(emulator::take_findings().empty());
}

TEST_CASE("exact top-k by ballots, the earlier of equal scores") {
  const Fresh fresh;
  for (const auto& [rows, cols, k] : {std::tuple{9, 50, 10}, {1, 1, 1}, {4, 32, 31}, {3, 128, 26}, {2, 33, 33}}) {
    const auto x = scores(rows, cols);
    std::vector<uint8_t> want;
    for (int i = 0; i < rows * cols; ++i) {
      const int row = i / cols;
      int before = 0;  // keys that come first
      for (int j = row * cols; j < (row + 1) * cols; ++j)
        before += x[static_cast<size_t>(j)] > x[static_cast<size_t>(i)] ||
                  (x[static_cast<size_t>(j)] == x[static_cast<size_t>(i)] && j < i);
      want.push_back(before < k);
    }
    CHECK(run_top_k(rows, cols, k) == want);
  }
  CHECK(emulator::take_findings().empty());
}

TEST_CASE("patterns that only look like races") {
  const Fresh fresh;
  emulator::settings().threads = GENERATE(Order::forward, Order::reverse, Order::random);
  const DeviceArray<uint8_t> bytes(64);
  const DeviceArray<uint16_t> halves(64);
  const DeviceArray<int> count(std::vector<int>(3));
  const DeviceArray<float> x(64);
  REQUIRE(innocent(nullptr, bytes.get(), halves.get(), count.get(), x.get()) == cudaSuccess);
  CHECK(bytes.values() == std::vector<uint8_t>(64, 1));
  CHECK(halves.values() == std::vector<uint16_t>(64, 1));
  CHECK(count.values() == std::vector<int>{64, 63, 255});
  const auto got = x.values();
  for (size_t t = 0; t < 64; ++t) CHECK(got[t] == 2 * static_cast<float>(t) + 3);
  const auto found = emulator::take_findings();
  CHECK((found.empty() ? "" : found[0]) == std::string());
}

TEST_CASE("the same bits in any order of threads and blocks, and again") {
  const Fresh fresh;
  const std::string bits = all_bits();
  CHECK(all_bits() == bits);
  auto& settings = emulator::settings();
  for (const Order threads : {Order::forward, Order::reverse, Order::random})
    for (const Order blocks : {Order::forward, Order::reverse, Order::random})
      for (settings.seed = 1; settings.seed <= 3; ++settings.seed) {
        settings.threads = threads;
        settings.blocks = blocks;
        CHECK(all_bits() == bits);
      }
  CHECK(emulator::take_findings().empty());
}

TEST_CASE("orders are what they are called") {
  const Fresh fresh;
  auto& settings = emulator::settings();
  CHECK(trace(1, 100) == range(0, 100, 1));
  CHECK(trace(100, 1) == range(0, 100, 1));
  settings.threads = settings.blocks = Order::reverse;
  CHECK(trace(1, 100) == range(99, -1, -1));
  CHECK(trace(100, 1) == range(99, -1, -1));
  settings.threads = settings.blocks = Order::random;
  for (const auto& [blocks, threads] : {std::pair{1u, 100u}, {100u, 1u}}) {
    settings.seed = 10 * blocks;
    const auto first = trace(blocks, threads);
    settings.seed = 10 * blocks + 1;
    CHECK(trace(blocks, threads) != first);
    settings.seed = 10 * blocks;
    CHECK(trace(blocks, threads) == first);
    auto sorted = first;
    std::sort(sorted.begin(), sorted.end());
    CHECK(sorted == range(0, 100, 1));
    CHECK(first != sorted);
  }
}

TEST_CASE("a result that depends on the order of blocks shows it") {
  const Fresh fresh;
  const auto last_block = [](Order order) {
    emulator::settings().blocks = order;
    const DeviceArray<float> x(std::vector<float>(1));
    REQUIRE(launch_fault("between_blocks", 4, 1, 0, x.get()) == cudaSuccess);
    return x.values()[0];
  };
  CHECK(last_block(Order::forward) == 3.0f);
  CHECK(last_block(Order::reverse) == 0.0f);
}

TEST_CASE("kernels are counted") {
  const Fresh fresh;
  run_sums<float>(5);
  CHECK(emulator::counters().launches == 1);
  CHECK(emulator::counters().blocks == 5);
  CHECK(emulator::counters().threads == 5 * 256);
  CHECK(emulator::counters().switches > 5 * 256);
  CHECK((emulator::counters().checked > 0) == emulator::checks_accesses());
}

TEST_CASE("sectors of requests and bank conflicts are counted by place", "[checked]") {
  const Fresh fresh;
  const DeviceArray<float> x(32 * 32);
  REQUIRE(access_patterns(x.get()) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(emulator::take_fits().empty());  // not asked for
  emulator::settings().count_fits = true;
  REQUIRE(access_patterns(x.get()) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  const auto fits = emulator::take_fits();
  CHECK(fits.size() == 8);
  const auto kernels = emulator::functions_named({"access_in_patterns", "no_such_kernel"});
  REQUIRE(kernels.size() == 1);
  CHECK(kernels[0].name.rfind("access_in_patterns(", 0) == 0);
  const auto check = [&](const char* mark, uint64_t sectors, uint64_t least, uint64_t ways, uint64_t least_ways = 1,
                         uint64_t requests = 1) {
    const std::string place = line_of("kernels/correct.cu", mark);
    INFO(place << " " << mark);
    const auto found = std::find_if(fits.begin(), fits.end(), [&](const auto& f) { return f.place == place; });
    REQUIRE(found != fits.end());
    CHECK(found->kernel == kernels[0].address);
    CHECK(found->requests == requests);
    CHECK(found->is_shared == (ways > 0));
    CHECK(found->sectors == sectors);
    CHECK(found->least_sectors == least);
    CHECK(found->ways == ways);
    CHECK(found->least_ways == (ways > 0 ? least_ways : 0));
  };
  check("neighbours", 4, 4, 0);
  check("neighbours across sectors", 5, 4, 0);
  check("a sector each", 32, 4, 0);
  check("a bank each", 0, 0, 1);
  check("one bank for all", 0, 0, 32);
  check("skewed rows", 0, 0, 1);
  check("two words each", 0, 0, 2, 2);
  check("more by some lanes", 10, 10, 0, 0, 4);
  CHECK(emulator::take_findings().empty());
}
