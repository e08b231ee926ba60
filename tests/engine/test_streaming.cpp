// What engine/cpu/gemm/streaming.h sends past the caches. That products do, is seen nowhere in their results: the tests
// of products hold where c streams and where it cannot.
#define CRISP_ISA cpu_test_streaming
#include "engine/cpu/gemm/streaming.h"

#include <array>
#include <cstring>

#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::CRISP_ISA;

TEST_CASE("weights' gradients go past the caches where their rows are aligned, nothing else does") {
  alignas(64) std::array<float, 64> c{};
  double squares = 0;
  GemmCall<float> gradient{.m = 2, .n = 16, .k = 1};
  gradient.c = c.data();
  gradient.ldc = 16;
  gradient.sum_squares = &squares;
  CHECK(streams(gradient, 64));

  GemmCall<float> call = gradient;
  call.sum_squares = nullptr;  // somebody reads it soon
  CHECK_FALSE(streams(call, 64));
  call = gradient;
  call.c = c.data() + 8;
  CHECK_FALSE(streams(call, 64));
  CHECK(streams(call, 32));
  call = gradient;
  call.ldc = 24;
  CHECK_FALSE(streams(call, 64));
  CHECK(streams(call, 32));
  call.ldc = 17;
  CHECK_FALSE(streams(call, 32));
}

TEST_CASE("a store past the caches writes its vector and nothing beside it") {
  alignas(64) std::array<float, 64> memory{}, expected{};
  struct alignas(64) Wide {
    std::array<float, 16> x;
  };
  Wide wide{};
  for (size_t i = 0; i < wide.x.size(); ++i) wide.x[i] = expected[16 + i] = static_cast<float>(i + 1);
  store_streaming(memory.data() + 16, wide);
  end_streaming();
  CHECK(memory == expected);
}
