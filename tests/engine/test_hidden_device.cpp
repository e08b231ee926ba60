// The engine on memory that the host cannot touch: the same bits, and no access past the backend.
#include "tests/support/hidden_device.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "engine/backend.h"
#include "engine/kernel_list.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

struct Ended {
  std::string text;  // on standard error
  int signal = 0;    // 0: of its own accord
};

// How a child process that runs f ends.
template <class F>
Ended child(F&& f) {
  std::fflush(nullptr);
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t id = fork();
  REQUIRE(id >= 0);
  if (id == 0) {
    dup2(ends[1], STDERR_FILENO);
    for (const int s : {SIGSEGV, SIGABRT}) std::signal(s, SIG_DFL);
    f();
    _exit(0);
  }
  close(ends[1]);
  Ended ended;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) ended.text.append(buffer, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(id, &status, 0) == id);
  if (WIFSIGNALED(status)) ended.signal = WTERMSIG(status);
  return ended;
}

}  // namespace

TEST_CASE("hidden device: every operation has the CPU's bits, forward and backward", "[isa]") {
  const HiddenDevice device;
  for (const Op* op : all_ops()) {
    for (const Sample& sample : op->samples()) {
      INFO(op->name << ": " << sample.what);
      device.during(std::string(op->name) + ": " + sample.what);
      for (const DType type : {DType::f32, DType::f64}) {
        const std::vector<Tensor> there = results(sample, hidden, type), here = results(sample, Device::cpu, type);
        REQUIRE(there.size() == here.size());
        for (size_t i = 0; i < there.size(); ++i) CHECK(same_bits(there[i], here[i]));
      }
    }
  }
}

TEST_CASE("hidden device: every operation's gradient equals central differences") {
  const HiddenDevice device;
  for (const Op* op : all_ops()) {
    for (const Sample& sample : op->samples()) {
      device.during(std::string(op->name) + ": " + sample.what);
      std::vector<Tensor> inputs;
      for (const Tensor& t : sample.inputs)
        inputs.push_back(t.detach().to(hidden).set_requires_grad(t.requires_grad()));
      const GradCheckReport report = check_gradients(sample.run, inputs);
      INFO(op->name << ": " << sample.what << "\n" << report.str());
      CHECK(report.passes(sample.tolerance));
    }
  }
}

TEST_CASE("hidden device: every operation refuses operands on two devices") {
  const HiddenDevice device;
  for (const Op* op : all_ops()) {
    for (const Sample& sample : op->samples()) {
      device.during(std::string(op->name) + ": " + sample.what);
      const size_t operands = std::min<size_t>(sample.inputs.size(), sample.what.starts_with("listed") ? 5 : 7);
      for (size_t i = 0; i < operands && operands > 1; ++i) {  // lists of keys are made from the host's integers
        for (const bool there : {false, true}) {
          INFO(op->name << ": " << sample.what << ", input " << i << (there ? " there" : " here"));
          std::vector<Tensor> inputs;
          for (size_t j = 0; j < sample.inputs.size(); ++j)
            inputs.push_back(sample.inputs[j].detach().to((i == j) == there ? hidden : Device::cpu));
          const std::string message = error_of([&] {
            Tape tape;
            sample.run(tape, inputs);
          });
          CHECK((contains(message, "device") || contains(message, "must be on the")));
        }
      }
    }
  }
}

TEST_CASE("hidden device: an optimizer's step refuses tensors on two devices") {
  const HiddenDevice device;
  const Context& context = Context::standard();
  const auto tensor = [](Device where) { return numbers({4, 2}, 1).to(where); };
  AdamWStep rule{};
  rule.step = 1;
  const auto part = [&](Device where) {
    return AdamWPart{tensor(where), tensor(where), tensor(where), tensor(where), rule};
  };
  const auto refuses = [](const auto& f, const std::string& what) {
    const std::string message = error_of(f);
    INFO(message);
    CHECK(contains(message, what));
  };
  const Tensor here = tensor(Device::cpu).set_requires_grad(), there = tensor(hidden).set_requires_grad();
  const Tensor clip = clip_gradients(context, std::span(&here, 1), {}, {}, 1);
  const std::array parts{part(hidden), part(Device::cpu)};
  refuses([&] { adamw(context, parts, {}); },
          "the parameter (unnamed tensor) (f64 on the cpu) must be f64 on the hidden");
  refuses([&] { adamw(context, std::span(parts).first(1), clip); }, "clip (unnamed tensor) (f64 on the cpu)");
  refuses([&] { adamw_rows(context, part(hidden), *integers({0, 1, 2, 3}), {}); }, "must be on its device");
  const std::array both{here, there};
  refuses([&] { clip_gradients(context, both, {}, {}, 1); }, "(f64 on the hidden) must be f64 on the cpu");
  const Tensor loss = Tensor::scalar(1, DType::f64);
  const std::array shares{1.0};
  refuses([&] { clip_gradients(context, {&there, 1}, {}, {.losses = {&loss, 1}, .shares = shares}, 1); }, "the loss");
  refuses([&] { clip_gradients(context, {&there, 1}, {}, {.penalty = loss}, 1); }, "the penalty");
  refuses([&] { clip_gradients(context, {&here, 1}, {}, {.losses = {&loss, 1}}, 1); }, "1 losses, but 0 shares");
  refuses([&] { clip_gradients(context, {}, {}, {}, 1); }, "there are no parameters");
  for (const double norm : {-1.0, std::nan("")})
    refuses([&] { clip_gradients(context, {&here, 1}, {}, {}, norm); }, "the largest norm must be a number from 0");
  const Tensor two = Tensor::zeros({2}, DType::f64);
  const std::array both_losses{two};
  refuses(
      [&] {
        clip_gradients(context, {&here, 1}, {}, {.losses = both_losses, .shares = shares}, 1);
      },
      "a loss must have one element");
  const std::array alone{part(Device::cpu)};
  refuses([&] { adamw(context, alone, two); }, "not what clip_gradients() gives");
  refuses([&] { read_clip(two); }, "not what clip_gradients() gives");
  const Tensor table = tensor(hidden).set_requires_grad().take_grad_by_rows();
  refuses([&] { table.set_grad_rows(integers({1}), numbers({1, 2}, 2).to(hidden)); }, "must be on the hidden");
  refuses([&] { table.set_grad_rows(integers({1}), numbers({1, 2}, 2)); }, "must be on the hidden");
}

TEST_CASE("hidden device: what moves between devices arrives, and is counted") {
  const HiddenDevice device;
  const Tensor x = numbers({3, 4}, 1), there = x.to(hidden);
  CHECK(there.device() == hidden);
  CHECK(contains(there.str(), "f64 hidden"));
  CHECK(same_bits(there.to(Device::cpu), x));
  CHECK(same_bits(there.clone().to(Device::cpu), x));
  x.copy_from(Tensor::full({3, 4}, DType::f64, 2, hidden));
  CHECK(x.to_vector() == std::vector<double>(12, 2.0));
  const Tensor column = there.view_rows(1, 2);
  column.copy_from(there.view_rows(0, 2));  // which overlap
  CHECK(there.view_rows(1, 1).to_vector() == there.view_rows(0, 1).to_vector());
  DeviceRecord record = device.take();
  CHECK(record.to_device() == 2);
  CHECK(record.to_host() == 6);
  CHECK(record.within() == 2);
  CHECK(record.waits == 6);
  CHECK(record.kernels() == 0);

  {
    const int64_t before = backend(hidden).peak_bytes();
    const Tensor large = Tensor::empty({before + 1}, DType::f64, hidden);
    CHECK(backend(hidden).peak_bytes() >= 8 * (before + 1));
  }

  Tape tape;
  const Tensor w = there.detach().clone().set_requires_grad();
  tape.backward(sum(tape, gelu(tape, w)));
  record = device.take();
  CHECK(record.kernels() == 5);  // two forward, two backward, and the seed
  CHECK(record.waits == 0);
  CHECK(record.to_device() == 0);
  CHECK(record.to_host() == 0);
  w.grad().to(Device::cpu);
  CHECK(contains(device.take().str(), "1 x hidden to cpu, 96 bytes: no operation, after unary_backward"));
}

// What runs beside the rest (GemmCall::beside) goes on while gradients of earlier passes are added to.
TEST_CASE("hidden device: only a gradient that the same pass has written is waited for") {
  const HiddenDevice device;
  const Tensor x = numbers({3, 4}, 1).to(hidden);
  const Tensor w = numbers({4, 4}, 2).to(hidden).set_requires_grad(),
               v = numbers({4, 4}, 3).to(hidden).set_requires_grad();
  const auto joins = [&](const Tensor& second) {
    Tape tape;
    tape.backward(sum(tape, linear(tape, linear(tape, x, w, {}), second, {})));
    return device.take().joins;
  };
  for (int pass = 0; pass < 3; ++pass) CHECK(joins(v) == 1);  // at its end
  CHECK(joins(w) == 2);                                       // the second part of w's gradient waits for the first
}

TEST_CASE("hidden device: a host access ends the program with the operation's name") {
  const auto offend = [](auto&& f) {
    return child([&] {
      const HiddenDevice device;
      const Tensor x = numbers({3, 4}, 1).to(hidden);
      Tape tape;
      const Tensor y = gelu(tape, x);
      device.during("the test");
      f(y.data<double>());
    });
  };
  for (const Ended& ended :
       {offend([](volatile double* p) { *p = 1; }), offend([](volatile double* p) { (void)*p; })}) {
    CHECK(ended.signal == SIGSEGV);
    CHECK(contains(ended.text,
                   "the host touched memory of the hidden device in the test (element access), last kernel unary\n"));
  }
  CHECK(offend([](volatile double*) {}).signal == 0);
}

TEST_CASE("hidden device: an operation of a tape is named, with its place in the model") {
  const Ended ended = child([] {
    const HiddenDevice device;
    const Tensor x = numbers({3, 4}, 1).to(hidden).set_requires_grad();
    Tape tape;
    device.follow(tape);
    const Tape::Scope scope(tape, "layer");
    const Tensor y = softmax(tape, gelu(tape, x));
    tape.on_grad(y, [](const Tensor& d) { d.data<double>()[0] = 1; });
    tape.backward(sum(tape, y));
  });
  CHECK(ended.signal == SIGSEGV);
  CHECK(contains(ended.text, "in layer, backward of softmax (element access), last kernel reduce_backward"));
  const Ended forward = child([] {
    const HiddenDevice device;
    Tape tape;
    device.follow(tape);
    const Tape::Scope scope(tape, "layer");
    softmax(tape, gelu(tape, numbers({3, 4}, 1).to(hidden))).data<double>()[0] = 1;
  });
  CHECK(contains(forward.text, "in layer, softmax (element access), last kernel softmax"));
}

TEST_CASE("hidden device: faults elsewhere are nobody's but their own") {
  const Ended ended = child([] {
    const HiddenDevice device;
    for (int i = 0; i < 2; ++i) ::kill(::getpid(), SIGSEGV);  // the first one ends what names faults
  });
  CHECK(ended.signal == SIGSEGV);
  CHECK(!contains(ended.text, "hidden device"));
}

TEST_CASE("hidden device: new memory is no number, and writes outside of a block are found") {
  const HiddenDevice device;
  for (const double x : Tensor::empty({5}, DType::f32, hidden).to_vector()) CHECK(std::isnan(x));
  CHECK(Tensor::empty({1}, DType::i32, hidden).item() == -1);
  for (const double x : Tensor::zeros({5}, DType::f64, hidden).to_vector()) CHECK(x == 0);

  const auto write_at = [](int64_t at) {
    return child([at] {
      const HiddenDevice faults;
      const Tensor x = numbers({1}, 1).to(hidden), y = Tensor::empty({5}, DType::f64, hidden);
      kernels<double>(hidden).scale(1, 1, x.data<double>(), y.data<double>() + at, 0);
    });
  };
  for (const int64_t at : {-1, 5, 500}) {
    const Ended ended = write_at(at);
    CHECK(ended.signal == SIGABRT);
    CHECK(contains(ended.text, "a kernel wrote outside of a block"));
    CHECK(contains(ended.text, "last kernel scale"));
  }
  const Ended far = write_at(10000);
  CHECK(far.signal == SIGSEGV);
  CHECK(contains(far.text, "a kernel left the memory in use of the hidden device in no operation, last kernel scale"));
}

TEST_CASE("hidden device: a kernel that is given an address of the host is an error") {
  const HiddenDevice device;
  const Tensor here = numbers({4}, 1), there = here.to(hidden);
  const Kernels<double>& k = kernels<double>(hidden);
  CHECK(error_of([&] { k.scale(4, 1, here.data<double>(), there.data<double>(), 0); }) ==
        "scale was given an address of the host");
  CHECK(error_of([&] { k.gemm({.m = 1, .n = 1, .k = 4, .a = there.data<double>(), .b = here.data<double>()}); }) ==
        "gemm was given an address of the host");
}

TEST_CASE("a device without a backend, and a backend without a kernel, are named") {
  constexpr auto none = static_cast<Device>(200);
  CHECK(error_of([] { backend(none); }) == "this build has no unknown backend");
  CHECK(why_unavailable(none) == "this build has no unknown backend");
  CHECK(why_unavailable(Device::cpu).empty());
  // A build with the CUDA backend says what this machine lacks for it, before anything is allocated.
  const std::string problem = why_unavailable(Device::cuda);
  if (!problem.empty()) {
    CHECK(problem.find('\n') == std::string::npos);
    CHECK(error_of([] { Tensor::zeros({2}, DType::f32, Device::cuda); }).find(problem) != std::string::npos);
  }
  CHECK(std::string(name_of(Device::cuda)) == "cuda");
  CHECK(std::string(name_of(Device::cpu)) == "cpu");
  const HiddenDevice device;
  CHECK(std::string(name_of(hidden)) == "hidden");
  CHECK(error_of([] { register_backend(hidden, backend(Device::cpu)); }) == "the device hidden has a backend already");
  CHECK(error_of([] { register_backend(Device::cpu, backend(hidden)); }) == "the device cpu has a backend already");

  const Kernels<float>& cpu = backend(Device::cpu).f32;
  Kernels<float> few{};
  few.softmax = cpu.softmax;
  const Kernels<float> table = complete<Device::cuda>(few);
  CHECK(table.softmax == cpu.softmax);
  CHECK(error_of([&] { table.gemm({}); }) == "gemm has no cuda kernel");
  CHECK(error_of([&] { table.scale(0, 1, nullptr, nullptr, 0); }) == "scale has no cuda kernel");
  for_each_kernel<float>([&]<size_t I, auto Member>(KernelEntry<Member>) { CHECK(table.*Member != nullptr); });
}
