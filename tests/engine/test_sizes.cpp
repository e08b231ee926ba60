// Sizes that do not fit: refused with their shape, before anything is allocated or read by them.
#include <array>
#include <limits>
#include <new>

#include "engine/backend.h"
#include "engine/checked.h"
#include "engine/cpu/memory/allocator.h"
#include "engine/cpu/memory/workspace.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

constexpr int64_t two_to(int n) { return int64_t{1} << n; }

template <class T>
constexpr bool has_dtype = requires {
  dtype_of<T>;
};
template <class T>
constexpr bool has_data = requires(const Tensor& t) {
  t.data<T>();
};
template <class T>
constexpr bool has_kernels = requires {
  kernels<T>(Device::cpu);
};

}  // namespace

TEST_CASE("only the element types have a dtype") {
  STATIC_REQUIRE(dtype_of<float> == DType::f32);
  STATIC_REQUIRE(dtype_of<double> == DType::f64);
  STATIC_REQUIRE(dtype_of<int32_t> == DType::i32);
  STATIC_REQUIRE(dtype_of<BFloat16> == DType::bf16);
  STATIC_REQUIRE(dtype_of<Float16> == DType::f16);
  STATIC_REQUIRE_FALSE(has_dtype<int64_t>);
  STATIC_REQUIRE_FALSE(has_dtype<uint32_t>);
  STATIC_REQUIRE_FALSE(has_dtype<const float>);
  STATIC_REQUIRE(has_data<int32_t>);
  STATIC_REQUIRE_FALSE(has_data<uint16_t>);
  STATIC_REQUIRE_FALSE(has_data<long double>);
  STATIC_REQUIRE(has_kernels<double>);
  STATIC_REQUIRE_FALSE(has_kernels<int32_t>);
  STATIC_REQUIRE_FALSE(has_kernels<int64_t>);
}

TEST_CASE("products of sizes are right or refused") {
  STATIC_REQUIRE(checked_product(3, size_t{5}, int64_t{7}) == 105);
  STATIC_REQUIRE(checked_product(two_to(31), two_to(31)) == two_to(62));
  STATIC_REQUIRE(checked_product(std::numeric_limits<int64_t>::max(), 1) == std::numeric_limits<int64_t>::max());
  STATIC_REQUIRE(checked_product(two_to(40), two_to(40), 0) == std::nullopt);  // on the way
  STATIC_REQUIRE(checked_product(two_to(31), two_to(32)) == std::nullopt);
  STATIC_REQUIRE(checked_product(std::numeric_limits<size_t>::max(), 1) == std::nullopt);
  STATIC_REQUIRE(checked_product(3, -1) == std::nullopt);
  CHECK(checked_int32(2147483647, "tokens") == 2147483647);
  CHECK(error_of([] { checked_int32(size_t{3'000'000'000}, "tokens in one batch"); }) ==
        "3000000000 tokens in one batch: at most 2147483647 can be numbered");
}

TEST_CASE("a shape has so few elements that their bytes can be counted, however it is made") {
  CHECK(Shape{two_to(30), two_to(29)}.numel() == Shape::max_numel);
  CHECK(error_of([] {
          Shape{two_to(31), two_to(31)};
        }) == "shape [2147483648, 2147483648] has more than 2^59 elements: their bytes could not be counted");
  CHECK_THROWS_AS((Shape{two_to(59), 2}), Error);
  CHECK_THROWS_AS((Shape{two_to(62), 4}), Error);                       // 2^64
  CHECK_THROWS_AS((Shape{two_to(32), two_to(32), 0}), Error);           // rows() would be 2^64
  CHECK_THROWS_AS((Shape{two_to(40), two_to(40), two_to(49)}), Error);  // 2^129
  const Shape rows{two_to(31), 3};
  CHECK(rows.with(1, 5) == Shape{two_to(31), 5});
  CHECK(contains(error_of([&] { rows.with(-1, two_to(31)); }), "shape [2147483648, 2147483648] has more"));
  CHECK_THROWS_AS(rows.with(0, -1), Error);
  CHECK_THROWS_AS(rows.with(2, 1), Error);
  CHECK_THROWS_AS(broadcast({two_to(31), 1}, {1, two_to(31)}, "add"), Error);
}

TEST_CASE("a tensor that no memory holds is an Error that names shape and bytes") {
  CHECK_THROWS_AS(Tensor::zeros({two_to(31), two_to(31)}, DType::f32), Error);
  for (const auto make : {Tensor::zeros, Tensor::empty}) {
    const std::string message = error_of([&] { make({two_to(25), two_to(25)}, DType::f64, Device::cpu); });
    CHECK(contains(message, "out of memory"));
    CHECK(contains(message, "a tensor of shape [33554432, 33554432] (f64): 9007199254740992 bytes"));
  }
  // The operations that make something larger than their operands.
  Tape tape(Tape::Mode::inference);
  const Tensor column = Tensor::zeros({two_to(25), 1}, DType::f32), row = column.view({1, two_to(25)});
  CHECK(contains(error_of([&] { matmul(tape, column, row); }), "[33554432, 33554432] (f32)"));
  CHECK(contains(error_of([&] { add(tape, column, row); }), "[33554432, 33554432] (f32)"));
}

TEST_CASE("sizes of empty tensors do not overflow either") {
  Tape tape(Tape::Mode::inference);
  const Tensor wide = Tensor::zeros({two_to(58), 0}, DType::f32);
  CHECK(wide.bytes() == 0);
  CHECK(concat(tape, std::array{wide, wide}, 0).shape() == Shape{two_to(59), 0});
  CHECK(contains(error_of([&] { concat(tape, std::array{wide, wide, wide}, 0); }), "more than 2^59"));
  CHECK_THROWS_AS(concat(tape, std::vector<Tensor>(64, wide), 0), Error);  // 2^64 rows

  // 4 (2^31 - 1)^2 pairs, which are 4 more than a multiple of 2^32 in 64 bits.
  const Tensor q = Tensor::zeros({two_to(31) - 1, 0}, DType::f32);
  const Tensor offsets = Tensor::from(std::array<int32_t, 2>{0, 2147483647}, {2});
  for (const int64_t heads : {int64_t{4}, two_to(40)})
    CHECK(contains(error_of([&] {
                     attention(tape, q, q, q, {offsets, offsets}, {.heads = heads});
                   }),
                   "more than 2147483647 (query, key) pairs"));
}

TEST_CASE("the allocator refuses what would overflow when it is rounded up") {
  const Context::Use use(Context::standard());
  constexpr size_t all = std::numeric_limits<size_t>::max();
  for (const size_t bytes : {all, all - 62, all - 4096, all / 2, most_bytes + 1}) {
    INFO(bytes);
    CHECK_THROWS_AS(cached_allocate(bytes), Error);
    CHECK_THROWS_AS(cached_allocate_zeroed(bytes), Error);
    CHECK_THROWS_AS(thread_workspace(bytes), Error);
    CHECK(contains(error_of([&] { reserve_workspaces(bytes); }), "scratch memory"));
  }
  CHECK(thread_workspace(100) != nullptr);
  CHECK_THROWS_AS(CachedAlloc<double>().allocate(two_to(61)), std::bad_array_new_length);
  CHECK_THROWS_AS(CachedAlloc<double>().allocate(two_to(58)), Error);
}
