// Devices without data: what they hold, and that a computation takes as much memory there as on the CPU.
#include <cstdlib>

#include "engine/backend.h"
#include "engine/cpu/memory/allocator.h"
#include "engine/meta/meter.h"
#include "engine/system.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

int64_t host_bytes() { return allocator_stats().bytes_in_use; }
int64_t bytes_of(Device device) {
  return device == Device::cpu ? host_bytes() : backend(device).used_bytes() + host_bytes();
}

// Bytes that are taken when a sample has run forward, and when it has run backward, gradients, plans and the kernels'
// scratch memory included.
std::vector<int64_t> bytes_of_run(const Sample& sample, DType dtype, Device device, int threads) {
  std::vector<Tensor> inputs;
  for (const Tensor& t : sample.inputs) {
    const Tensor copy = t.detach().to(t.dtype() == DType::i32 ? DType::i32 : dtype).clone().to(device);
    inputs.push_back(copy.set_requires_grad(t.requires_grad()));
  }
  const int64_t before = bytes_of(device);
  std::vector<int64_t> bytes;
  const Context context({.threads = threads});
  Tape tape(context);
  const Tensor y = sample.run(tape, inputs);
  bytes.push_back(bytes_of(device) - before);
  if (y.requires_grad()) tape.backward(sum(tape, y));
  bytes.push_back(bytes_of(device) - before);
  tape.clear();
  return bytes;
}

// But for what a kernel asks for when it asks a second time: sums of squares of a product without terms.
void check_same(const std::vector<int64_t>& meta, const std::vector<int64_t>& cpu) {
  REQUIRE(meta.size() == cpu.size());
  CAPTURE(meta, cpu);
  for (size_t i = 0; i < meta.size(); ++i) CHECK(std::abs(meta[i] - cpu[i]) <= 64);
}

}  // namespace

TEST_CASE("meta: a tensor of a terabyte has a shape and no memory") {
  const Tensor large = Tensor::zeros({1 << 19, 1 << 19}, DType::f32, Device::meta);
  CHECK(large.bytes() == size_t{1} << 40);
  CHECK(std::string(name_of(Device::meta)) == "meta");
  CHECK(std::string(name_of(Device::meta_cuda)) == "meta-cuda");
  CHECK(why_unavailable(Device::meta).empty());
  const Tensor two = large.view_rows(1 << 18, 1).view({1 << 19}).view_rows(7, 2);
  CHECK(two.to_vector() == std::vector<double>{0, 0});
  if (os::bytes_to_reserve() == 0) return;  // here a tensor without data takes memory when it is written
  two.copy_from(Tensor::from(std::vector<double>{1, 2}, {2}, DType::f32));
  CHECK(two.to_vector() == std::vector<double>{1, 2});
}

TEST_CASE("meta: what the host wrote is there, and all else is 0", "[system]") {
  for (const Device device : {Device::meta, Device::meta_cuda}) {
    const Tensor t = Tensor::empty({5000}, DType::f64, device);
    CHECK(t.clone().to_vector() == std::vector<double>(5000));  // copies of what nobody wrote
    t.view_rows(4998, 2).copy_from(vec({1, 2}));
    CHECK(t.view_rows(4997, 3).to_vector() == std::vector<double>{0, 1, 2});
    CHECK(t.clone().view_rows(4998, 2).to_vector() == std::vector<double>{1, 2});
    t.copy_from(Tensor::zeros({5000}, DType::f64, device));
    CHECK(t.to_vector() == std::vector<double>(5000));
    CHECK(all_finite(t));
    Tape tape;
    CHECK(gelu(tape, Tensor::full({3}, DType::f32, 1, device)).to_vector() == std::vector<double>{0, 0, 0});
  }
}

TEST_CASE("meta: a block counts as it does on the CPU, and as on a GPU", "[system]") {
  for (const size_t bytes : {1, 63, 64, 65, 100, 8000, 8192, 8193, 100'000, 1 << 20, (1 << 20) + 1, 5'000'001}) {
    CAPTURE(bytes);
    const int64_t before = host_bytes(), meta = backend(Device::meta).used_bytes(),
                  meta_cuda = backend(Device::meta_cuda).used_bytes();
    void* const block = cached_allocate(bytes);
    void* const as_cpu = backend(Device::meta).allocate(bytes);
    void* const as_cuda = backend(Device::meta_cuda).allocate(bytes);
    CHECK(backend(Device::meta).used_bytes() - meta == host_bytes() - before);
    CHECK(backend(Device::meta_cuda).used_bytes() - meta_cuda == static_cast<int64_t>((bytes + 255) / 256 * 256));
    cached_free(block);
    backend(Device::meta).free(as_cpu);
    backend(Device::meta_cuda).free(as_cuda);
    CHECK(backend(Device::meta).used_bytes() == meta);
    CHECK(backend(Device::meta_cuda).used_bytes() == meta_cuda);
  }
}

TEST_CASE("meta: every operation takes as much memory as on the CPU, forward and backward", "[isa][system]") {
  for (const Op* op : all_ops()) {
    for (const Sample& sample : op->samples()) {
      for (const DType dtype : {DType::f64, DType::f32}) {
        INFO(op->name << ": " << sample.what << ", " << name_of(dtype));
        check_same(bytes_of_run(sample, dtype, Device::meta, 3), bytes_of_run(sample, dtype, Device::cpu, 3));
        CHECK_NOTHROW(bytes_of_run(sample, dtype, Device::meta_cuda, 1));
      }
    }
  }
}

TEST_CASE("meta: scratch memory of kernels is that of the CPU, whatever shapes and threads", "[isa][system]") {
  const auto products = [](int64_t rows, int64_t in, int64_t out) {
    return Sample{
        "linear",
        {sample_input({rows, in}, 1), sample_input({out, in}, 2), sample_input({out}, 3)},
        [](Tape& tape, std::span<const Tensor> x) { return linear(tape, x[0], x[1], x[2], Activation::gelu); }};
  };
  const auto attending = [](const std::vector<int32_t>& offsets, Selection selection, double dropout) {
    return Sample{"attention", {sample_input({offsets.back(), 3 * 64}, 1)}, [=](Tape& tape, std::span<const Tensor> x) {
                    return attention(tape, x[0], on(x[0].device(), Segments(offsets)),
                                     {.heads = 4,
                                      .scale = 0.2,
                                      .selection = selection,
                                      .sparsity = 0.5,
                                      .dropout = {dropout, {.seed = 1, .stream = Stream::dropout}}});
                  }};
  };
  for (const Sample& sample :
       {products(300, 70, 200), products(1, 500, 30), products(2000, 40, 700),
        attending({0, 40, 41, 300}, Selection::all, 0), attending({0, 100, 150}, Selection::top_k_row, 0.1),
        attending({0, 7, 70}, Selection::percentile_head, 0)}) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      for (const int threads : {1, 2, 5}) {
        INFO(sample.what << " of " << sample.inputs[0].shape().str() << ", " << name_of(dtype) << ", " << threads
                         << " threads");
        check_same(bytes_of_run(sample, dtype, Device::meta, threads),
                   bytes_of_run(sample, dtype, Device::cpu, threads));
      }
    }
  }
}

TEST_CASE("meta: a meter tells who has the memory at the peak", "[system]") {
  std::string now = "weights";
  for (const Device device : {Device::meta, Device::meta_cuda}) {
    CAPTURE(name_of(device));
    now = "weights";
    const Tensor before = Tensor::empty({1000}, DType::f32, device);
    meta::Meter meter(device, [&] { return now; });
    CHECK(meter.peak().bytes == 0);
    CHECK_THROWS_AS(meta::Meter(device, [] { return ""; }), Error);
    const auto block = [&](const char* label, int64_t floats) {
      now = label;
      return Tensor::empty({floats}, DType::f32, device);
    };
    const Tensor a = block("weights", 4096);
    Tensor b = block("activations", 16384);
    Tensor c = block("temporaries", 8192);  // the peak, with a and b
    b = {};
    const Tensor d = block("weights", 4096);
    c = {};
    meter.relabel(a.view_rows(5, 1).raw(), "gradients");
    meter.relabel(before.raw(), "others");
    const meta::Meter::Peak peak = meter.peak();
    CHECK(peak.reached_by == "temporaries");
    std::vector<std::string> labels;
    int64_t sum = 0;
    for (const meta::Meter::Part& part : peak.parts) {
      labels.push_back(part.label);
      sum += part.bytes;
      if (part.label == "gradients") CHECK(part.bytes == 4 * 4096);
      if (part.label == "activations") CHECK(part.bytes == 4 * 16384);
      if (part.label == "temporaries") CHECK(part.bytes == 4 * 8192);
    }
    CHECK(sum == peak.bytes);
    std::vector<std::string> expected{"activations", "temporaries", "gradients"};
    if (device == Device::meta) expected.emplace_back(meta::Meter::host_lists);
    CHECK(labels == expected);
  }
}

TEST_CASE("meta: what is freed beside a product of a GPU counts until the product is joined", "[system]") {
  const Backend& gpu = backend(Device::meta_cuda);
  const Tensor x = Tensor::empty({64, 64}, DType::f32, Device::meta_cuda);
  Tensor freed = Tensor::empty({64, 64}, DType::f32, Device::meta_cuda);
  const int64_t before = gpu.used_bytes();
  gpu.f32.gemm({.trans_a = true,
                .m = 64,
                .n = 64,
                .k = 64,
                .a = x.data<float>(),
                .b = x.data<float>(),
                .c = x.data<float>(),
                .beside = true});
  freed = {};
  CHECK(gpu.used_bytes() == before);
  gpu.join();
  CHECK(gpu.used_bytes() == before - 64 * 64 * 4);
}
