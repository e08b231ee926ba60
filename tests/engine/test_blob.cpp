// Tensors over memory of somebody else's: Tensor::from_blob().
#include "engine/backend.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// A host's memory with the tensor's elements in it, one element behind a multiple of 64 bytes: as badly aligned as they
// may be. With as many bytes that nobody may touch on either side.
struct Blob {
  explicit Blob(const Tensor& from) : guard(64), bytes(from.bytes() + 4 * guard, '\x5a') {
    const size_t to_line = 64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64;
    first = to_line + guard + size_of(from.dtype());
    if (from.bytes() > 0) std::memcpy(bytes.data() + first, from.raw(), from.bytes());
    size = from.bytes();
  }
  bool untouched_around() const {
    for (size_t i = 0; i < bytes.size(); ++i)
      if ((i < first || i >= first + size) && bytes[i] != '\x5a') return false;
    return true;
  }
  size_t guard, first = 0, size = 0;
  std::vector<char> bytes;
};

Tensor over(const std::shared_ptr<Blob>& blob, const Shape& shape, DType dtype) {
  return Tensor::from_blob({blob, blob->bytes.data() + blob->first}, shape, dtype);
}

struct Result {
  Tensor value;
  std::vector<Tensor> inputs;
};
Result run(const Sample& sample, std::vector<Tensor> inputs) {
  Tape tape;
  const Tensor y = sample.run(tape, inputs);
  if (y.requires_grad()) tape.backward(sum(tape, mul(tape, y, numbers(y.shape(), 7, y.dtype()))));
  return {y.detach(), std::move(inputs)};
}

}  // namespace

TEST_CASE("every operation has the same bits on memory of somebody else's, and the same gradients", "[isa]") {
  for (const DType type : {DType::f64, DType::f32}) {
    for_all_samples([&](const Sample& sample) {
      const auto with = [&](auto&& place) {
        return copies_of_inputs(sample,
                                [&](const Tensor& t) { return place(t.dtype() == DType::f64 ? t.to(type) : t); });
      };
      std::vector<std::shared_ptr<Blob>> blobs;
      const Result own = run(sample, with([](const Tensor& t) { return t.clone(); }));
      const Result foreign = run(sample, with([&](const Tensor& t) {
                                   blobs.push_back(std::make_shared<Blob>(t));
                                   return over(blobs.back(), t.shape(), t.dtype());
                                 }));
      CHECK(same_bits(own.value, foreign.value));
      for (size_t i = 0; i < own.inputs.size(); ++i) {
        const Tensor expected = own.inputs[i].grad(), actual = foreign.inputs[i].grad();
        REQUIRE(static_cast<bool>(expected) == static_cast<bool>(actual));
        if (expected) CHECK(same_bits(expected, actual));
        CHECK(same_bits(own.inputs[i], foreign.inputs[i]));
      }
      for (const auto& blob : blobs) CHECK(blob->untouched_around());
    });
  }
}

TEST_CASE("a tensor over memory of somebody else's is that memory") {
  const AdamWStep step{.learning_rate = 0.1,
                       .beta1 = 0.9,
                       .beta2 = 0.999,
                       .epsilon = 1e-8,
                       .weight_decay = 0.01,
                       .gradient_scale = 1,
                       .step = 1};
  for (const DType type : {DType::f64, DType::f32}) {
    const Tensor original = numbers({3, 5}, 1, type), gradient = numbers({3, 5}, 2, type);
    const auto blob = std::make_shared<Blob>(original);
    const Tensor t = over(blob, {3, 5}, type).set_requires_grad();
    CHECK(t.raw() == blob->bytes.data() + blob->first);
    CHECK(t.device() == Device::cpu);
    CHECK(t.detach().view_rows(1, 2).raw() == static_cast<char*>(t.raw()) + 5 * size_of(type));

    // An update in place.
    const Tensor expected = original.clone(), m = zeros({3, 5}, type), v = zeros({3, 5}, type), m2 = m.clone(),
                 v2 = v.clone();
    adamw(t.detach(), gradient, m, v, step);
    adamw(expected, gradient, m2, v2, step);
    CHECK(same_bits(t, expected));
    CHECK_FALSE(same_bits(t, original));
    CHECK(std::memcmp(blob->bytes.data() + blob->first, expected.raw(), expected.bytes()) == 0);
    t.copy_from(original);
    CHECK(std::memcmp(blob->bytes.data() + blob->first, original.raw(), original.bytes()) == 0);
    CHECK(blob->untouched_around());
  }
}

TEST_CASE("memory of somebody else's is held by the last handle with elements, and is not the backend's") {
  const int64_t before = backend(Device::cpu).used_bytes();
  auto blob = std::make_shared<Blob>(numbers({1000, 100}, 1, DType::f32));
  const std::weak_ptr<Blob> watch = blob;
  Tensor t = over(blob, {1000, 100}, DType::f32);
  blob.reset();
  CHECK(backend(Device::cpu).used_bytes() - before < 10'000);
  Tensor rows = t.detach().view_rows(10, 1), shape_alone = t.without_values();
  t = {};
  CHECK_FALSE(watch.expired());
  CHECK(rows.to_vector().size() == 100);
  rows = {};
  CHECK(watch.expired());
  CHECK(shape_alone.shape() == Shape{1000, 100});
  shape_alone = {};
  CHECK(backend(Device::cpu).used_bytes() == before);

  // Of a tape that has saved it.
  auto of_tape = std::make_shared<Blob>(numbers({4, 4}, 1));
  const std::weak_ptr<Blob> saved = of_tape;
  {
    Tape tape;
    Tensor w = over(of_tape, {4, 4}, DType::f64), x = input({4, 4}, 2, DType::f64);
    of_tape.reset();
    const Tensor y = sum(tape, matmul(tape, x, w));
    w = {};
    CHECK_FALSE(saved.expired());
    tape.backward(y);
    CHECK(saved.expired());
  }
}

TEST_CASE("memory that cannot be a tensor's is refused") {
  const auto bytes = std::make_shared<std::array<double, 4>>();
  const auto at = [&](size_t offset) {
    return std::shared_ptr<void>(bytes, reinterpret_cast<char*>(bytes->data()) + offset);
  };
  CHECK(contains(error_of([&] { Tensor::from_blob(at(4), {2}, DType::f64); }),
                 "a tensor's of shape [2] (f64): null, or not aligned"));
  CHECK(
      contains(error_of([&] { Tensor::from_blob(at(2), {2}, DType::f32); }), "shape [2] (f32): null, or not aligned"));
  CHECK(Tensor::from_blob(at(4), {2}, DType::f32).to_vector() == std::vector<double>{0, 0});
  CHECK(contains(error_of([&] { Tensor::from_blob(nullptr, {2}, DType::f32); }), "elements at 0x0 cannot be"));
  CHECK(Tensor::from_blob(nullptr, {0, 3}, DType::f32).to_vector().empty());
}
