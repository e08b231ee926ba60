// Steps as graphs: calls that are recorded have the results of calls that are not, whatever comes between them.
#include <cuda_runtime.h>

#include <functional>

#include "engine/cuda/recording.h"
#include "engine/ops.h"
#include "engine/profile.h"
#include "tests/engine/cuda/device.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;
using emulator::counters;

namespace {

const Steps& steps() { return *backend(Device::cuda).steps; }

// The emulated GPU, where blocks of memory are kept and the first step has been.
struct Recording {
  Recording() {
    CRISP_CUDA_NAMESPACE::Memory::the().keep_blocks(true);
    steps().set_mode(StepMode::graphs);
    StepCalls(Device::cuda).end();
    counters() = {};
  }
  ~Recording() { steps().set_mode(StepMode::graphs); }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  const EmulatedGpu gpu;
};

// So many kernels, one after the other.
Tensor chain(Tensor x, int kernels) {
  Tape tape(Tape::Mode::inference);
  for (int i = 0; i < kernels; ++i) x = i % 3 == 0 ? tanh(tape, x) : i % 3 == 1 ? exp(tape, x) : sigmoid(tape, x);
  return x;
}

Tensor there(const Shape& shape, uint64_t seed) { return numbers(shape, seed).detach().to(Device::cuda); }

}  // namespace

TEST_CASE("recorded calls run in their order, in graphs that grow") {
  const Recording recording;
  bool is_first = true;
  for (const int64_t rows : {5, 9, 2, 5}) {
    const Tensor x = there({rows, 8}, 1);
    std::vector<Tensor> results;
    for (const StepMode mode : {StepMode::calls, StepMode::graphs, StepMode::one_graph}) {
      steps().set_mode(mode);
      const Steps::Counts before = steps().counts();
      counters() = {};
      StepCalls calls(Device::cuda);
      const Tensor y = chain(x, 45);
      CHECK(counters().graph_launches == (mode == StepMode::graphs ? 3 : 0));  // of 8, 12 and 18 kernels
      calls.end();
      CHECK(counters().waits == 0);
      results.push_back(y.to(Device::cpu));
      const uint64_t graphs = mode == StepMode::calls ? 0 : mode == StepMode::graphs ? 4 : 1;
      CHECK(counters().graph_launches == graphs);
      CHECK(counters().launches == 45);
      CHECK(counters().graph_kernels == (graphs > 0 ? 45 : 0));
      CHECK(steps().counts().launched - before.launched == static_cast<int64_t>(graphs));
      // Steps of other sizes need no new executables.
      CHECK(counters().graph_instances == static_cast<uint64_t>(steps().counts().made - before.made));
      if (!is_first) CHECK(counters().graph_instances == 0);
      CHECK(counters().graph_instances + counters().graph_updates == graphs);
    }
    CHECK(same_bits(results[0], results[1]));
    CHECK(same_bits(results[0], results[2]));
    is_first = false;
  }
}

TEST_CASE("who waits in a step has what was recorded run first, and the step goes on in graphs") {
  const Recording recording;
  const Tensor x = there({6, 4}, 1), host = numbers({300000}, 2).detach().to(Device::cpu);
  const std::vector<double> want = chain(chain(x, 5), 5).to_vector(), first = chain(x, 5).to_vector();
  counters() = {};
  StepCalls calls(Device::cuda);
  const Tensor y = chain(x, 5);
  SECTION("for a number") {
    CHECK(y.to_vector() == first);
    CHECK(counters().waits == 1);
  }
  SECTION("for all") {
    backend(Device::cuda).wait();
    CHECK(counters().launches == 5);
  }
  SECTION("for a large copy") { CHECK(same_bits(host.to(Device::cuda).to(Device::cpu), host)); }
  SECTION("for pinned memory that earlier copies use") {
    std::vector<Tensor> copies;
    for (int i = 0; i < 12; ++i) copies.push_back(host.view_rows(1000 * i, 100000).to(Device::cuda));
    for (int i = 0; i < 12; ++i)
      CHECK(same_bits(copies[static_cast<size_t>(i)].to(Device::cpu), host.view_rows(1000 * i, 100000)));
  }
  SECTION("for a moment") {
    const Moments& moments = *backend(Device::cuda).moments;
    void *const begin = moments.record(), *const end = moments.record();
    CHECK(moments.seconds(begin, end) >= 0);
    moments.forget(begin);
    moments.forget(end);
  }
  CHECK(counters().graph_kernels == 5);
  const Tensor z = chain(y, 5);
  calls.end();
  CHECK(z.to_vector() == want);
  CHECK(counters().graph_kernels == 10);
  CHECK(counters().graph_launches >= 2);
}

TEST_CASE("copies, fills and memory that is used again are recorded, too") {
  const Recording recording;
  const Tensor host = numbers({40}, 3).detach().to(Device::cpu);
  std::vector<std::vector<double>> results;
  for (const StepMode mode : {StepMode::calls, StepMode::graphs, StepMode::one_graph}) {
    steps().set_mode(mode);
    counters() = {};
    StepCalls calls(Device::cuda);
    Tensor sum = Tensor::zeros({40}, DType::f64, Device::cuda);
    for (int i = 0; i < 6; ++i) {
      const Tensor some = host.to(Device::cuda);
      some.view_rows(1, 30).copy_from(some.view_rows(0, 30));  // which overlap
      Tape tape(Tape::Mode::inference);
      sum = add(tape, sum, exp(tape, some));
    }
    calls.end();
    CHECK(counters().waits == 0);
    results.push_back(sum.to_vector());
    if (mode != StepMode::calls) CHECK(counters().graph_kernels == counters().launches);
  }
  CHECK(results[0] == results[1]);
  CHECK(results[0] == results[2]);
}

TEST_CASE("products beside the rest have the same bits in graphs, in any order of the branches") {
  const Recording recording;
  const auto train = [](StepMode mode, emulator::Order order) {
    steps().set_mode(mode);
    emulator::settings().branches = order;
    std::vector<Tensor> weights;
    for (int layer = 0; layer < 8; ++layer)
      weights.push_back(there({12, 12}, 10 + static_cast<uint64_t>(layer)).set_requires_grad());
    std::vector<Tensor> gradients;
    for (int micro_step = 0; micro_step < 3; ++micro_step) {  // the later ones add to the gradients
      StepCalls calls(Device::cuda);
      Tape tape;
      Tensor x = there({5 + micro_step, 12}, 2);
      for (const Tensor& w : weights) x = tanh(tape, linear(tape, x, w, {}));
      tape.backward(sum(tape, x));
      calls.end();
    }
    for (const Tensor& w : weights) gradients.push_back(w.grad().to(Device::cpu));
    return gradients;
  };
  const std::vector<Tensor> want = train(StepMode::calls, emulator::Order::forward);
  for (const StepMode mode : {StepMode::calls, StepMode::graphs, StepMode::one_graph}) {
    for (const auto order : {emulator::Order::forward, emulator::Order::reverse, emulator::Order::random}) {
      const std::vector<Tensor> found = train(mode, order);
      for (size_t i = 0; i < want.size(); ++i) CHECK(same_bits(found[i], want[i]));
    }
  }
}

TEST_CASE("a product beside the rest stays beside it in a graph, and ends with the graph where it has to") {
  const Recording recording;
  const Context::Use use(Context::standard());
  const int64_t n = 6;
  const Tensor a = there({n, n}, 1), b = there({n, n}, 2), x = there({n, n}, 3);
  const auto multiply = [&] {
    const Tensor c = Tensor::empty({n, n}, DType::f64, Device::cuda);
    kernels<double>(Device::cuda)
        .gemm({.trans_a = true,
               .m = n,
               .n = n,
               .k = n,
               .a = a.data<double>(),
               .b = b.data<double>(),
               .c = c.data<double>(),
               .beside = true});
    return c;
  };
  const Tensor first = multiply();
  backend(Device::cuda).join();
  const std::vector<double> product = first.to_vector(), after = chain(x, 30).to_vector();
  for (const auto order : {emulator::Order::forward, emulator::Order::reverse}) {
    emulator::settings().branches = order;
    const Tensor before = multiply();  // not recorded, and joined in the step
    counters() = {};
    StepCalls calls(Device::cuda);
    const Tensor y = chain(x, 3);
    backend(Device::cuda).join();
    const Tensor c = multiply();
    const Tensor z = chain(x, 30);
    CHECK(counters().graph_launches == 0);  // such a piece is not cut
    CHECK(z.to_vector() == after);          // unless somebody waits
    CHECK(counters().graph_launches == 1);
    CHECK(counters().launches >= 34);
    calls.end();
    CHECK(c.to_vector() == product);
    CHECK(before.to_vector() == product);
  }
}

TEST_CASE("a step that ends by an exception has run as far as it came") {
  const Recording recording;
  const Tensor x = there({6, 4}, 1);
  const std::vector<double> want = chain(x, 3).to_vector();
  Tensor y;
  try {
    const StepCalls calls(Device::cuda);
    y = chain(x, 3);
    throw Error("bad data");
  } catch (const Error&) {
  }
  CHECK(y.to_vector() == want);
  StepCalls calls(Device::cuda);
  const Tensor z = chain(x, 3);
  calls.end();
  CHECK(z.to_vector() == want);
}

TEST_CASE("memory that runs out in a step is an error as outside of one") {
  const Recording recording;
  const auto mebibytes = [](int64_t n) { return Tensor::empty({n << 17}, DType::f64, Device::cuda); };
  const Tensor x = there({6, 4}, 1);
  CHECK_THROWS_AS(mebibytes(10000), Error);  // and the device has back what earlier tests have left
  size_t free = 0, total = 0;
  CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess);
  emulator::settings().memory_bytes = total - free + (size_t{130} << 20);
  const std::vector<double> want = chain(x, 3).to_vector();
  Tensor y;
  { const Tensor kept = mebibytes(70); }  // for later
  y = {};
  {
    StepCalls calls(Device::cuda);
    y = chain(x, 3);
    const Tensor larger = mebibytes(110);  // which the device has once the other has gone back to it
    calls.end();
    CHECK(y.to_vector() == want);
  }
  try {
    StepCalls calls(Device::cuda);
    y = chain(x, 3);
    const Tensor too_large = mebibytes(1000);
    FAIL("there is so much memory");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("out of GPU memory: 1000.0 MiB asked for") != std::string::npos);
  }
  CHECK(y.to_vector() == want);
}

TEST_CASE("kernels that are timed run one by one") {
  const Recording recording;
  const Tensor x = there({6, 4}, 1);
  start_profile();
  StepCalls calls(Device::cuda);
  const Tensor y = chain(x, 4);
  calls.end();
  stop_profile();
  CHECK(profile().size() == kernel_count<float>);
  CHECK(counters().launches == 4);
  CHECK(counters().graph_launches == 0);
}

TEST_CASE("a recording that fails is told, once, and the device goes on") {
  const Recording recording;
  const Tensor x = there({6, 4}, 1);
  const std::vector<double> want = chain(x, 3).to_vector();
  const auto spoil = [] {
    CHECK(cudaDeviceSynchronize() == cudaErrorStreamCaptureUnsupported);  // past the backend
    CHECK(emulator::take_findings().size() == 1);
  };
  const auto is_told = [](const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      CHECK(std::string(error.what()).find("With CRISP_CUDA_GRAPH=0 in the environment") != std::string::npos);
      return true;
    }
    return false;
  };
  SECTION("at the end of the step") {
    StepCalls calls(Device::cuda);
    const Tensor y = chain(x, 2);
    spoil();
    CHECK(is_told([&] { calls.end(); }));
  }
  SECTION("by who waits") {
    StepCalls calls(Device::cuda);
    const Tensor y = chain(x, 2);
    spoil();
    CHECK(is_told([&] { y.to_vector(); }));
    calls.end();
  }
  SECTION("at the begin of the next, where an exception ended it") {
    try {
      const StepCalls calls(Device::cuda);
      const Tensor y = chain(x, 2);
      spoil();
      throw UsageError("enough");
    } catch (const UsageError&) {
    }
    CHECK(is_told([] { const StepCalls calls(Device::cuda); }));
  }
  StepCalls calls(Device::cuda);
  const Tensor y = chain(x, 3);
  calls.end();
  CHECK(y.to_vector() == want);
  CHECK(counters().graph_kernels > 0);
}

TEST_CASE("of many different steps the last ones are remembered") {
  const Recording recording;
  steps().set_mode(StepMode::one_graph);
  const Tensor x = there({2, 3}, 1);
  const auto run = [&](int fills) {
    counters() = {};
    StepCalls calls(Device::cuda);
    for (int i = 0; i < fills; ++i) Tensor::zeros({1}, DType::f64, Device::cuda);
    const Tensor y = chain(x, 3);
    calls.end();
    return y;
  };
  uint64_t waits = 0;
  constexpr int most = 256;  // that are kept; they go together, when none of them runs
  for (int fills = 200; fills < 201 + most; ++fills) {
    run(fills);
    CHECK(counters().graph_instances == 1);
    waits += counters().waits;
  }
  CHECK(waits >= 1);
  CHECK(waits <= 2);  // earlier tests may have left some
  const std::vector<double> last = run(200 + most).to_vector();
  CHECK(counters().graph_instances == 0);
  steps().set_mode(StepMode::calls);
  CHECK(run(0).to_vector() == last);
}

TEST_CASE("how steps run is named in the environment") {
  using CRISP_CUDA_NAMESPACE::step_mode_named;
  CHECK(step_mode_named("") == StepMode::graphs);
  CHECK(step_mode_named("1") == StepMode::graphs);
  CHECK(step_mode_named("0") == StepMode::calls);
  CHECK(step_mode_named("whole") == StepMode::one_graph);
  CHECK_THROWS_AS(step_mode_named("off"), UsageError);
}
