// What everything stands on: random numbers, element types, shapes, tensors, the allocator.
#include <algorithm>
#include <limits>
#include <numeric>

#include "engine/cpu/memory/allocator.h"
#include "engine/cpu/memory/workspace.h"
#include "engine/cpu/threads/team.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("Philox gives the known answers of Random123") {
  using Words = std::array<uint32_t, 4>;
  CHECK(philox4x32({0, 0, 0, 0}, 0, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const uint32_t ones = 0xffffffff;
  CHECK(philox4x32({ones, ones, ones, ones}, ones, ones) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("every part of a random key matters") {
  const RandomKey key{.seed = 1, .stream = Stream::init, .step = 2, .site = 3};
  auto seed = key, high = key, stream = key, step = key, site = key;
  seed.seed = 2;
  high.seed |= uint64_t{1} << 40;
  stream.stream = Stream::order;
  step.step = 3;
  site.site = 4;
  for (const RandomKey& other : {seed, high, stream, step, site}) CHECK(random_block(key, 5) != random_block(other, 5));
  CHECK(random_word(key, 22) == random_block(key, 5)[2]);
  CHECK(random_block(key, 1) != random_block(key, (uint64_t{1} << 32) + 1));
}

TEST_CASE("uniform and normal numbers have their moments") {
  constexpr uint64_t n = 200000;
  const RandomKey key{.seed = 3, .stream = Stream::init};
  double mean = 0, square = 0, low = 1, high = 0;
  for (uint64_t i = 0; i < n; ++i) {
    const double u = uniform01(random_word(key, i));
    mean += u / n;
    square += u * u / n;
    low = std::min(low, u);
    high = std::max(high, u);
  }
  CHECK(low >= 0);
  CHECK(high < 1);
  CHECK(std::abs(mean - 0.5) < 4 * 0.2887 / std::sqrt(n));
  CHECK(std::abs(square - 1.0 / 3) < 4 * 0.2981 / std::sqrt(n));
  CHECK(uniform01(0xffffffff) < 1.0f);

  double m[5] = {};
  for (uint64_t i = 0; i < n; ++i)
    for (int k = 1; k <= 4; ++k) m[k] += std::pow(normal(key, i), k) / n;
  CHECK(std::abs(m[1]) < 4 / std::sqrt(n));
  CHECK(std::abs(m[2] - 1) < 4 * std::sqrt(2.0 / n));
  CHECK(std::abs(m[3]) < 4 * std::sqrt(15.0 / n));
  CHECK(std::abs(m[4] - 3) < 4 * std::sqrt(96.0 / n));
}

TEST_CASE("permutations hold every number once and have no favourite places") {
  for (const int32_t n : {0, 1, 2, 1000}) {
    auto order = permutation({.seed = 1, .stream = Stream::order}, n);
    std::sort(order.begin(), order.end());
    std::vector<int32_t> all(static_cast<size_t>(n));
    std::iota(all.begin(), all.end(), 0);
    CHECK(order == all);
  }
  // 12,000 permutations of 4: each of the 16 (value, place) pairs about 3,000 times, standard deviation 47.
  int count[4][4] = {};
  for (uint32_t s = 0; s < 12000; ++s) {
    const auto order = permutation({.seed = 1, .stream = Stream::order, .step = s}, 4);
    for (size_t i = 0; i < 4; ++i) ++count[order[i]][i];
  }
  for (const auto& row : count)
    for (const int c : row) CHECK(std::abs(c - 3000) < 5 * 47);
}

TEST_CASE("all 16-bit patterns survive the round trip through f32") {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto pattern = static_cast<uint16_t>(bits);
    const float b = to_float(BFloat16{pattern}), h = to_float(Float16{pattern});
    const bool ok = (std::isnan(b) ? std::isnan(to_float(to_bfloat16(b))) : to_bfloat16(b).bits == pattern) &&
                    (std::isnan(h) ? std::isnan(to_float(to_float16(h))) : to_float16(h).bits == pattern);
    if (!ok) FAIL("pattern " << bits);
  }
}

TEST_CASE("16-bit formats round to nearest even") {
  CHECK(to_float(Float16{0x3c00}) == 1.0f);
  CHECK(to_float(Float16{0x0001}) == 0x1p-24f);
  CHECK(to_float(Float16{0x7bff}) == 65504.0f);
  CHECK(to_float(BFloat16{0x3f80}) == 1.0f);
  // Between every two neighbours: below, at and above the midpoint. The midpoint goes to the even pattern.
  for (uint16_t u = 0; u < 0x7bff; ++u) {
    const float a = to_float(Float16{u}), b = to_float(Float16{static_cast<uint16_t>(u + 1)}), middle = (a + b) / 2;
    const bool ok = to_float16(std::nextafter(middle, 0.0f)).bits == u && to_float16(middle).bits == u + (u & 1) &&
                    to_float16(std::nextafter(middle, 1e9f)).bits == u + 1 &&
                    to_float16(-middle).bits == ((u + (u & 1)) | 0x8000);
    if (!ok) FAIL("f16 pattern " << u);
  }
  for (uint32_t u = 0; u < 0x7f7f; ++u) {
    const float middle = std::bit_cast<float>((u << 16) | 0x8000u);
    const bool ok = to_bfloat16(middle).bits == u + (u & 1) && to_bfloat16(std::nextafter(middle, 0.0f)).bits == u &&
                    to_bfloat16(std::nextafter(middle, INFINITY)).bits == u + 1;
    if (!ok) FAIL("bf16 pattern " << u);
  }
  CHECK(to_float16(65519.0f).bits == 0x7bff);
  CHECK(to_float16(65520.0f).bits == 0x7c00);
  CHECK(to_float16(-1e10f).bits == 0xfc00);
  CHECK(to_float16(0x1p-25f).bits == 0);  // half of the smallest, to even
  CHECK(to_float16(0x1.8p-25f).bits == 1);
  CHECK(to_bfloat16(std::numeric_limits<float>::max()).bits == 0x7f80);
}

TEST_CASE("shapes") {
  const Shape s{2, 3, 4};
  CHECK(s.numel() == 24);
  CHECK(s.rows() == 6);
  CHECK(s.last() == 4);
  CHECK(s[-1] == 4);
  CHECK(s[0] == 2);
  CHECK(s.str() == "[2, 3, 4]");
  CHECK(s.with(-1, 5) == Shape{2, 3, 5});
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{}.rows() == 1);
  CHECK(Shape{0, 4}.numel() == 0);
  CHECK(Shape{2, 3} != Shape{2, 3, 1});
  CHECK_THROWS_AS(s[3], Error);
  CHECK_THROWS_AS(s[-4], Error);
  CHECK_THROWS_AS((Shape{-1}), Error);
  CHECK_THROWS_AS((Shape{1, 1, 1, 1, 1, 1, 1}), Error);
  CHECK_THROWS_AS((Shape{int64_t{1} << 40, int64_t{1} << 40}), Error);
  CHECK_THROWS_AS((Shape{0, int64_t{1} << 40, int64_t{1} << 40}), Error);
  CHECK(broadcast({3, 1}, {4}, "add") == Shape{3, 4});
  CHECK(broadcast({}, {0, 2}, "add") == Shape{0, 2});
  CHECK(broadcast({1}, {0}, "add") == Shape{0});
  CHECK(contains(error_of([] { broadcast({3}, {4}, "add"); }), "add: shapes [3] and [4] do not broadcast"));
}

TEST_CASE("tensors") {
  const Tensor x = vec({1, 2, 3, 4, 5, 6}, DType::f32).view({3, 2});
  SECTION("views share storage, clones do not") {
    const Tensor row = x.view_rows(1, 1), copy = x.clone();
    CHECK(row.to_vector() == std::vector<double>{3, 4});
    row.data<float>()[0] = 30;
    CHECK(x.to_vector()[2] == 30);
    CHECK(copy.to_vector()[2] == 3);
    CHECK(x.view_rows(3, 0).numel() == 0);
    CHECK_THROWS_AS(x.view_rows(2, 2), Error);
    CHECK_THROWS_AS(x.view({5}), Error);
  }
  SECTION("conversions") {
    CHECK(x.to(DType::f64).to_vector() == x.to_vector());
    CHECK(x.to(DType::bf16).to(DType::f32).to_vector() == x.to_vector());
    CHECK(x.to(DType::f16).dtype() == DType::f16);
    CHECK(x.to(DType::i32).data<int32_t>()[5] == 6);
    CHECK(contains(error_of([&] { x.data<double>(); }), "f32, not f64"));
  }
  SECTION("misuse is an error") {
    CHECK_THROWS_AS(x.item(), Error);
    CHECK_THROWS_AS(Tensor().shape(), Error);
    CHECK_THROWS_AS(Tensor::from(std::span<const double>(), {1}, DType::f32), Error);
    CHECK_THROWS_AS(x.copy_from(Tensor::zeros({2, 3}, DType::f32)), Error);
    CHECK_THROWS_AS(x.to(DType::f16).set_requires_grad(), Error);
    CHECK_THROWS_AS(x.to(Device::cuda), Error);
  }
  SECTION("printing shows shape, type, name and values") {
    const std::string text = x.set_name("weights").str();
    CHECK(contains(text, "[3, 2] f32 cpu \"weights\""));
    CHECK(contains(text, "6"));
  }
  SECTION("ids are printed whole, and what is no whole number of 32 bits makes none") {
    CHECK(contains(sample_ids({2147483647, -2147483647}).str(), " 2147483647 -2147483647"));
    for (const double bad : {std::nan(""), 1e10, -2147483649.0, HUGE_VAL})
      CHECK(contains(error_of([&] { (void)vec({bad}, DType::i32); }), "does not fit into i32"));
    CHECK(contains(error_of([&] { (void)vec({std::nan("")}).to(DType::i32); }), "nan does not fit into i32"));
    CHECK(vec({-2147483648.0, 2147483647.0}, DType::i32).to_vector() == std::vector<double>{-2147483648.0, 2147483647});
  }
  SECTION("views that overlap are copied as if through another place") {
    const Tensor row = vec({0, 1, 2, 3, 4, 5, 6, 7});
    row.view_rows(1, 7).copy_from(row.view_rows(0, 7));
    CHECK(row.to_vector() == std::vector<double>{0, 0, 1, 2, 3, 4, 5, 6});
  }
  SECTION("normal numbers do not depend on the dtype, only their rounding does") {
    const auto a = numbers({100}, 1, DType::f64).to_vector(), b = numbers({100}, 1, DType::f32).to_vector();
    for (size_t i = 0; i < 100; ++i) CHECK(static_cast<double>(static_cast<float>(a[i])) == b[i]);
  }
}

TEST_CASE("a reservation gives every thread of a region its own workspace") {
  for (const int threads : {1, 3, 4}) {
    const Context context({.threads = threads});
    const Context::Use use(context);
    for (const size_t bytes : {size_t{1}, size_t{100}, size_t{70000}}) {
      const Workspaces scratch = reserve_workspaces(bytes);
      std::vector<char*> parts(static_cast<size_t>(threads));
      on_team(threads, [&](const Team& team) {
        auto* mine = static_cast<char*>(scratch.mine());
        parts[static_cast<size_t>(team.rank)] = mine;
        std::memset(mine, team.rank, bytes);
      });
      for (size_t i = 0; i < parts.size(); ++i) {
        CHECK(reinterpret_cast<uintptr_t>(parts[i]) % 64 == 0);
        CHECK(std::all_of(parts[i], parts[i] + bytes, [&](char c) { return c == static_cast<char>(i); }));
      }
    }
  }
  const Context::Use use(Context::standard());
  // Too much is an Error on the calling thread, before any region.
  CHECK_THROWS_AS(reserve_workspaces(size_t{1} << 46), Error);
  CHECK_NOTHROW(reserve_workspaces(1));
}
