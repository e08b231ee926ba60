// What a tape holds on to, and when it lets go.
#include <memory>

#include "engine/cpu/memory/allocator.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("backward functions may fill several blocks of memory, and each is destroyed once") {
  static const Op op{"identity", nullptr};
  const Tensor x = vec({1}).set_requires_grad();
  const auto calls = std::make_shared<int>(0);
  const auto chain = [&](Tape& tape, int length) {
    Tensor y = x;
    for (int i = 0; i < length; ++i) {
      std::array<char, 1000> large{};
      large[static_cast<size_t>(i)] = 1;
      const Tensor out = tape.output(op, y.shape(), y.dtype(), {y});
      tape.record(op, out, 0, [y, calls, large, i](const Context&, const Tensor& dy) {
        *calls += large[static_cast<size_t>(i)];
        y.grad_target().tensor.copy_from(dy);
      });
      y = out;
    }
    return y;
  };
  {
    Tape tape;
    for (int step = 1; step <= 2; ++step) {  // the second one reuses the memory
      const Tensor loss = chain(tape, 200);
      CHECK(calls.use_count() == 201);
      tape.backward(loss);
      CHECK(*calls == step * 200);
      CHECK(calls.use_count() == 1);
      CHECK_THROWS_AS(chain(tape, 1), Error);  // consumed
      CHECK(calls.use_count() == 1);
      tape.clear();
    }
    chain(tape, 200);
    tape.clear();
    CHECK(calls.use_count() == 1);
    chain(tape, 200);
  }
  CHECK(calls.use_count() == 1);
}

TEST_CASE("backward releases what was saved, node by node") {
  const Tensor x = sample_input({256, 64}, 1);  // 128 KiB
  const auto in_use = [] { return allocator_stats().bytes_in_use; };
  const int64_t one = static_cast<int64_t>(x.bytes());
  Tape tape;
  const int64_t at_start = in_use();
  Tensor y = x;
  int64_t first_use = 0;
  for (int i = 0; i < 10; ++i) {
    y = tanh(tape, y);
    if (i == 0) {
      // The hook on the first output runs when the nine later nodes are gone: they hold nothing any more.
      tape.on_grad(y, [&](const Tensor&) { first_use = in_use(); });
    }
  }
  const Tensor loss = mean(tape, y);
  y = {};
  const int64_t recorded = in_use();
  CHECK(recorded - at_start >= 10 * one);
  tape.backward(loss);
  CHECK(first_use - at_start <= 5 * one);
  CHECK(in_use() - at_start <= 2 * one + 4096);  // x's gradient and the first output, which the hook holds
  tape.clear();
}

TEST_CASE("what no backward function needs lives only as long as its handles") {
  const Tensor x = sample_input({256, 64}, 1), bias = numbers({64}, 2), w = numbers({64}, 3);  // x: 128 KiB
  const int64_t one = static_cast<int64_t>(x.bytes());
  const auto in_use = [] { return allocator_stats().bytes_in_use; };
  const auto step = [&](Tape& tape, Tensor* handle) {
    const Tensor hidden = scale(tape, x, 2);
    if (handle) *handle = hidden;
    // Saves its sum of x and hidden, and neither of the two.
    return residual_layer_norm(tape, x, hidden, {}, w, bias, 1e-5);
  };
  Tape tape;
  int64_t before = in_use();
  Tensor y = step(tape, nullptr);
  CHECK(in_use() - before < 2 * one + 16384);  // the sum and y
  for (const NodeInfo& node : tape.nodes()) CHECK(!node.output.has_values());
  tape.backward(mean(tape, y));
  const std::vector<double> gradient = x.grad().to_vector();

  SECTION("a handle outside keeps it") {
    tape.clear();
    Tensor hidden;
    y = step(tape, &hidden);
    x.clear_grad();
    tape.backward(mean(tape, y));
    CHECK(hidden.to_vector()[100] == 2 * x.to_vector()[100]);
    CHECK(x.grad().to_vector() == gradient);
  }
  SECTION("the tape keeps it on demand") {
    tape.clear();
    tape.keep_values();
    x.clear_grad();
    y = {};
    before = in_use();
    y = step(tape, nullptr);
    CHECK(in_use() - before > 3 * one);
    const std::vector<NodeInfo> nodes = tape.nodes();
    REQUIRE(nodes.size() == 2);
    CHECK(nodes[0].output.to_vector()[100] == 2 * x.to_vector()[100]);
    tape.backward(mean(tape, y));
    CHECK(x.grad().to_vector() == gradient);
  }
  SECTION("a handle without values says so, and is the same tensor otherwise") {
    const Tensor empty = y.without_values();
    CHECK(empty.same_as(y));
    CHECK(empty.shape() == y.shape());
    CHECK(empty.requires_grad());
    CHECK(contains(error_of([&] { empty.to_vector(); }), "are not kept"));
    CHECK(contains(error_of([&] { empty.data<double>(); }), "\"residual_layer_norm\""));
    CHECK(!Tensor().without_values());
  }
}

TEST_CASE("a tape tells what each node saved when it gives that up") {
  const Tensor x = sample_input({256, 64}, 1), bias = numbers({64}, 2), w = numbers({64}, 3);  // x: 128 KiB
  const int64_t one = static_cast<int64_t>(x.bytes());
  const auto in_use = [] { return allocator_stats().bytes_in_use; };
  Tape tape;
  const auto record = [&] {
    const Tensor half = scale(tape, x, 0.5);                                         // saves nothing
    const Tensor bent = tanh(tape, half);                                            // saves its result
    const Tensor squared = mul(tape, bent, bent);                                    // saves the same once more
    return mean(tape, residual_layer_norm(tape, squared, half, {}, w, bias, 1e-5));  // saves the sum, no operand
  };
  record();
  tape.clear();  // the memory of nodes is there
  const int64_t before = in_use();
  record();
  const int64_t recorded = in_use();
  const std::vector<int64_t> bytes = tape.release(Device::cpu);
  REQUIRE(bytes.size() == 5);
  int64_t sum = 0;
  for (const int64_t b : bytes) sum += b;
  CHECK(sum == recorded - in_use());
  CHECK(in_use() == before);
  const auto saves = [&](size_t node, int64_t tensors) {
    CAPTURE(node);
    CHECK(bytes[node] >= tensors * one);
    CHECK(bytes[node] < tensors * one + 16384);  // and what handles take
  };
  saves(0, 0);
  saves(1, 1);  // that of several counts for the first of them
  saves(2, 0);
  saves(3, 1);
  saves(4, 0);

  CHECK(contains(error_of([&] { tape.release(Device::cpu); }), "has run backward and released"));
  CHECK_THROWS_AS(scale(tape, x, 2), Error);
  tape.clear();
  tape.backward(record());
  CHECK(contains(error_of([&] { tape.release(Device::cpu); }), "has run backward and released"));
  CHECK(x.grad());
}

TEST_CASE("inputs that a tape keeps go with clear(), also those of an operation that it did not record") {
  const Tensor constant = numbers({256, 64}, 1);
  Tape tape;
  tape.keep_values();
  const int64_t before = allocator_stats().bytes_in_use;
  tanh(tape, tanh(tape, constant));
  tape.clear();
  CHECK(allocator_stats().bytes_in_use == before);
}

TEST_CASE("clearing a gradient gives its memory back, but not that of a handle to it") {
  const Tensor x = sample_input({256, 64}, 1);
  Tape tape;
  sum(tape, x);  // the kernel takes its workspace, and keeps it
  tape.clear();
  const int64_t before = allocator_stats().bytes_in_use;
  tape.backward(sum(tape, x));
  tape.clear();
  Tensor gradient = x.grad();
  x.clear_grad();
  tape.backward(sum(tape, scale(tape, x, 3)));
  CHECK(gradient.to_vector()[5] == 1);
  CHECK(x.grad().to_vector()[5] == 3);
  gradient = {};
  x.clear_grad();
  tape.clear();
  CHECK(allocator_stats().bytes_in_use == before);
}

TEST_CASE("a warmed-up step takes no memory from the system, at any thread count") {
  const Context context({.threads = GENERATE(1, 2, 4)});
  // Products of several tiles, sequences of very different lengths: a thread may meet its largest work late.
  const Tensor x = sample_input({600, 32}, 1), w = sample_input({32, 32}, 2);
  const Tensor offsets = sample_ids({0, 1, 300, 310, 320, 330, 600});
  Tape tape(context);
  const auto step = [&] {
    const Tensor h = linear(tape, x, w, {}, Activation::gelu);
    const Tensor y = attention(tape, h, h, h, {offsets, offsets},
                               {.heads = 4,
                                .scale = 0.3,
                                .selection = Selection::top_k_row,
                                .sparsity = 0.5,
                                .dropout = {0.1, {.seed = 1, .stream = Stream::dropout}}});
    tape.backward(mean(tape, softmax(tape, y)));
    tape.clear();
    x.clear_grad();
    w.clear_grad();
  };
  step();
  step();
  const int64_t before = allocator_stats().system_allocations;
  for (int i = 0; i < 5; ++i) step();
  CHECK(allocator_stats().system_allocations == before);
}
