// Absorbed projections under --precision bf16. In f32 and f64 test_fused.cpp compares them with plain attention.
#include <algorithm>
#include <array>

#include "engine/backend.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

constexpr int64_t heads = 4, dim = 96, width = 112, batch = 3, tokens = 25;

Tensor f32_input(const Shape& shape, uint64_t seed, double deviation = 1) {
  return input(shape, seed, DType::f32, 0, deviation);
}

// Queries [batch, dim], the layer's inputs [tokens, dim], the projections of keys and values.
struct Inputs {
  Tensor q = f32_input({batch, dim}, 1), x = f32_input({tokens, dim}, 2), key_weight = f32_input({dim, dim}, 3, 0.1),
         key_bias = f32_input({dim}, 4), value_weight = f32_input({dim, dim}, 5, 0.1), value_bias = f32_input({dim}, 6);
};

Tensor offsets_of_keys() { return i32({0, 1, 8, tokens}); }

Tensor plain(Tape& t, const Inputs& in) {
  return attention(t, in.q, linear(t, in.x, in.key_weight, in.key_bias),
                   linear(t, in.x, in.value_weight, in.value_bias), {i32({0, 1, 2, 3}), offsets_of_keys()},
                   {.heads = heads, .scale = 0.2, .dropout = {}});
}

Tensor absorbed(Tape& t, const Inputs& in) {
  const Tensor one = full({tokens, 1}, DType::f32, 1), rest = zeros({tokens, width - dim - 1}, DType::f32);
  const Tensor x1 = concat(t, std::array{in.x, one, rest}, 1);  // the one is for the bias
  const Tensor wide = absorb_keys(t, in.q, in.key_weight, in.key_bias, heads, width);
  const Tensor sums = attention(t, wide, x1, x1, {i32({0, heads, 2 * heads, 3 * heads}), offsets_of_keys()},
                                {.heads = 1, .scale = 0.2, .dropout = {}});
  return absorb_values(t, sums, in.value_weight, in.value_bias, heads);
}

struct Results {
  std::vector<double> y;
  std::vector<std::vector<double>> gradients;  // of q, x, key_weight, value_weight
  std::vector<double> value_bias;
};

Results run(Tensor (*f)(Tape&, const Inputs&), const Context& context) {
  const Inputs in;
  Tape tape(context);
  const Tensor y = f(tape, in);
  tape.backward(sum(tape, mul(tape, y, numbers(y.shape(), 77, DType::f32))));
  Results results{y.to_vector(), {}, in.value_bias.grad().to_vector()};
  for (const Tensor& t : {in.q, in.x, in.key_weight, in.value_weight})
    results.gradients.push_back(t.grad().to_vector());
  return results;
}

}  // namespace

TEST_CASE("absorbed projections in bf16 agree with plain attention in bf16, and their bias gradient is f32") {
  if (!supports(test_device(), MatmulPrecision::bf16)) CRISP_SKIP("the device multiplies no bf16 numbers");
  const Context f32({}), bf16({.products = MatmulPrecision::bf16});
  const Results exact = run(absorbed, f32), a = run(absorbed, bf16), b = run(plain, bf16);
  if (test_device() == Device::cpu) CHECK(relative_error(a.y, exact.y) > 1e-4);  // bf16 it is; cublasLt may, not must
  CHECK(relative_error(a.y, b.y) < 3e-3);
  for (size_t i = 0; i < a.gradients.size(); ++i) {
    INFO("gradient " << i);
    CHECK(relative_error(a.gradients[i], b.gradients[i]) < 1e-2);
  }
  // Sums of the gradients at the result, which are the same numbers in every precision.
  CHECK(relative_error(a.value_bias, b.value_bias) < 1e-6);
  CHECK(relative_error(a.value_bias, exact.value_bias) < 1e-6);
}

TEST_CASE("what a bias adds to absorbed rows is not rounded to bf16") {
  if (!supports(test_device(), MatmulPrecision::bf16)) CRISP_SKIP("the device multiplies no bf16 numbers");
  const Context bf16({.products = MatmulPrecision::bf16});
  const int64_t d = dim / heads;
  const Inputs in;
  Tape t(bf16);
  const std::vector<double> wide = absorb_keys(t, in.q, in.key_weight, in.key_bias, heads, width).to_vector(),
                            q = in.q.to_vector(), bias = in.key_bias.to_vector();
  std::vector<double> products, expected;
  for (int64_t row = 0; row < batch * heads; ++row) {
    const int64_t i = row / heads, h = row % heads;
    products.push_back(wide[static_cast<size_t>(row * width + dim)]);
    double sum = 0;
    for (int64_t c = h * d; c < (h + 1) * d; ++c)
      sum += q[static_cast<size_t>(i * dim + c)] * bias[static_cast<size_t>(c)];
    expected.push_back(sum);
  }
  CHECK(relative_error(products, expected) < 1e-6);

  // Without weights only the bias is left, times the sum of the attention weights.
  const Tensor sums = full({batch * heads, width}, DType::f32, 1);
  const Tensor y = absorb_values(t, sums, zeros({dim, dim}, DType::f32), in.value_bias, heads);
  for (int64_t i = 0; i < batch; ++i) CHECK(y.detach().view_rows(i, 1).to_vector() == in.value_bias.to_vector());
}

TEST_CASE("a wide row ends in zeros, that of a result and that of a gradient", "[isa]") {
  const Inputs in;
  for (int i = 0; i < 2; ++i) full({batch * heads, width}, DType::f32, std::nan(""));  // what memory is reused
  Tape tape;
  const Tensor wide = absorb_keys(tape, in.q, in.key_weight, in.key_bias, heads, width);
  const Tensor sums = f32_input({batch * heads, width}, 7);
  const Tensor y = absorb_values(tape, sums, in.value_weight, in.value_bias, heads);
  tape.backward(sum(tape, mul(tape, y, numbers(y.shape(), 77, DType::f32))));
  for (const Tensor& t : {wide, sums.grad()}) {
    const std::vector<double> values = t.to_vector();
    for (int64_t row = 0; row < batch * heads; ++row) {
      const double* x = values.data() + row * width;
      CHECK(std::all_of(x, x + dim + 1, [](double v) { return v != 0; }));
      CHECK(std::all_of(x + dim + 1, x + width, [](double v) { return v == 0; }));
    }
  }
}
