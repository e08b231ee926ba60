// What a caller computes with belongs to the caller: two contexts in one process do not see each other.
#include "engine/context.h"

#include <thread>

#include "engine/backend.h"
#include "engine/cpu/memory/allocator.h"
#include "engine/cpu/memory/workspace.h"
#include "engine/cpu/threads/default_threads.h"
#include "engine/cpu/threads/team.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// The model that each test computes with: products, attention with its workspaces, a norm.
struct Model {
  Tensor x = input({150, 96}, 1), w = input({96, 96}, 2), b = input({96}, 3);
  Tensor offsets = sample_ids({0, 3, 90, 150});

  Tensor forward(Tape& tape) const {
    const Tensor h = linear(tape, x, w, b, Activation::gelu);
    const Tensor a =
        attention(tape, h, h, h, {offsets, offsets},
                  {.heads = 4, .scale = 0.2, .selection = Selection::top_k_row, .sparsity = 0.5, .dropout = {}});
    return mean(tape, layer_norm(tape, matmul(tape, a, w), b, b, 1e-5));
  }
  /// Copies of the gradients, which are then cleared.
  std::vector<Tensor> take_gradients() const {
    std::vector<Tensor> copies;
    for (const Tensor& t : {x, w, b}) {
      copies.push_back(t.grad().clone());
      t.clear_grad();
    }
    return copies;
  }

 private:
  static Tensor input(const Shape& shape, uint64_t seed) {
    return numbers(shape, seed, DType::f32).set_requires_grad();
  }
};

// The loss and all gradients.
std::vector<Tensor> results(const Context& context) {
  const Model model;
  Tape tape(context);
  const Tensor loss = model.forward(tape);
  tape.backward(loss);
  std::vector<Tensor> all = model.take_gradients();
  all.push_back(loss.detach().clone());
  return all;
}

void check_same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    INFO("tensor " << i);
    CHECK(same_bits(a[i], b[i]));
  }
}

// Those that this machine has.
std::vector<MatmulPrecision> all_products() {
  using enum MatmulPrecision;
  std::vector<MatmulPrecision> all{f32, bf16, bf16x3, bf16x6};
  std::erase_if(all, [](MatmulPrecision p) { return !backend(Device::cpu).supports(p); });
  return all;
}

}  // namespace

TEST_CASE("a context has the settings that it was made with") {
  const Context some({.threads = 3, .products = MatmulPrecision::bf16x3}), none({});
  CHECK(some.threads() == 3);
  CHECK(some.products() == MatmulPrecision::bf16x3);
  for (const Context* context : {&none, &Context::standard()}) {
    CHECK(context->threads() == default_num_threads());
    CHECK(context->products() == MatmulPrecision::f32);
  }
  CHECK_THROWS_AS(Context({.threads = -1}), UsageError);
  CHECK(contains(error_of([] { Context({.threads = -1}); }), "cannot be negative: -1"));
}

TEST_CASE("the number of threads is that of the context that this thread uses") {
  const int standard = Context::standard().threads();
  const Context three({.threads = 3}), two({.threads = 2});
  CHECK(num_threads() == standard);
  {
    const Context::Use outer(three);
    CHECK(num_threads() == 3);
    {
      const Context::Use inner(two);
      CHECK(num_threads() == 2);
      const Context::Use again(three);
      CHECK(num_threads() == 3);
    }
    CHECK(num_threads() == 3);
    int elsewhere = 0;
    std::thread([&] { elsewhere = num_threads(); }).join();
    CHECK(elsewhere == standard);
  }
  CHECK(num_threads() == standard);
  CHECK_THROWS_WITH(thread_workspace(1), Catch::Contains("without a Context::Use"));
}

TEST_CASE("a result has the same bits with any number of threads in its context") {
  for (const MatmulPrecision products : all_products()) {
    const std::vector<Tensor> alone = results(Context({.threads = 1, .products = products}));
    for (const int threads : {2, 3, 4}) check_same(results(Context({.threads = threads, .products = products})), alone);
  }
}

// Backward functions run in the context of their forward pass, whatever other contexts computed in between.
TEST_CASE("contexts in turn give each the bits that it has alone, forward and backward") {
  struct Pass {
    explicit Pass(MatmulPrecision products, int threads)
        : context({.threads = threads, .products = products}), alone(results(context)), tape(context) {}
    Model model = {};
    const Context context;
    const std::vector<Tensor> alone;
    Tape tape;
    Tensor loss = {};
  };
  std::vector<std::unique_ptr<Pass>> passes;
  for (const MatmulPrecision products : all_products())
    for (const int threads : {1, 3}) passes.push_back(std::make_unique<Pass>(products, threads));
  if (passes.size() > 2) CHECK(!same_bits(passes.front()->alone[0], passes.back()->alone[0]));
  for (int round = 0; round < 2; ++round) {
    for (const auto& p : passes) p->loss = p->model.forward(p->tape);
    for (const auto& p : passes) p->tape.backward(p->loss);
    for (const auto& p : passes) {
      std::vector<Tensor> now = p->model.take_gradients();
      now.push_back(p->loss.detach().clone());
      check_same(now, p->alone);
      p->loss = {};
      p->tape.clear();
    }
  }
}

TEST_CASE("several threads may use one context") {
  const Context context({.threads = 2});
  const std::vector<Tensor> alone = results(context);
  std::vector<std::vector<Tensor>> found(4);
  std::vector<std::thread> callers;
  for (auto& mine : found)
    callers.emplace_back([&] {
      for (int round = 0; round < 5; ++round) mine = results(context);
    });
  for (std::thread& caller : callers) caller.join();
  for (const auto& mine : found) check_same(mine, alone);
}

TEST_CASE("scratch memory is kept with its context and goes with it") {
  results(Context::standard());  // what the process keeps for ever
  const int64_t before = allocator_stats().bytes_in_use;
  {
    const Context context({.threads = 2});
    results(context);
    const int64_t kept = allocator_stats().bytes_in_use;
    CHECK(kept > before);
    results(context);
    CHECK(allocator_stats().bytes_in_use == kept);
    // A second one where the first is in use.
    const Context::Use use(context);
    thread_workspace(1000);
    std::thread([&] { results(context); }).join();
    CHECK(allocator_stats().bytes_in_use > kept);
  }
  CHECK(allocator_stats().bytes_in_use == before);
}

namespace {

struct CountedScratch : Scratch {
  CountedScratch() { ++alive; }
  ~CountedScratch() override { --alive; }
  static inline int alive = 0;
};
std::unique_ptr<Scratch> make_counted() { return std::make_unique<CountedScratch>(); }

}  // namespace

TEST_CASE("each backend finds in a context what it has made itself") {
  {
    const Context context({.threads = 1});
    const Context::Use use(context);
    void* const workspace = thread_workspace(1000);
    Scratch& mine = scratch_in_use(make_counted);
    CHECK(&scratch_in_use(make_counted) == &mine);
    CHECK(thread_workspace(1000) == workspace);  // the first one, kept meanwhile
    CHECK(&scratch_in_use(make_counted) == &mine);
    CHECK(CountedScratch::alive == 1);
    std::thread([&] {
      const Context::Use other(context);
      CHECK(&scratch_in_use(make_counted) != &mine);
    }).join();
    CHECK(CountedScratch::alive == 2);
  }
  CHECK(CountedScratch::alive == 0);
}
