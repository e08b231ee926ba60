// crisp-bench gemm: the matrix products of DistilBERT's linear layers.
#include <fmt/format.h>

#include "engine/backend.h"
#include "tools/bench/commands.h"
#include "tools/bench/products.h"
#include "tools/bench/report.h"

namespace crisp::bench {
namespace {

struct GemmOptions {
  CommonOptions common;
  Precision precision = Precision::f32;
  std::vector<double> rows{128, 426, 1024, 4096};
};

template <class T>
GemmCall<T> call_of(const LinearShape& s, int64_t rows, Pass pass, const Tensor& x, const Tensor& w, const Tensor& y) {
  switch (pass) {
    case Pass::forward:
      return {.trans_b = true, .m = rows, .n = s.out, .k = s.in, .a = x.data<T>(), .b = w.data<T>(), .c = y.data<T>()};
    case Pass::dx:
      return {.m = rows, .n = s.in, .k = s.out, .a = y.data<T>(), .b = w.data<T>(), .c = x.data<T>()};
    case Pass::dw:
      break;
  }
  return {.trans_a = true, .m = s.out, .n = s.in, .k = rows, .a = y.data<T>(), .b = x.data<T>(), .c = w.data<T>()};
}

int gemm(GemmOptions o) {
  const Device device = device_for(o.common.device);
  const Context context = o.common.context(o.precision);
  const Effort effort = o.common.effort();
  const Ceiling ceiling = product_ceiling(dtype_for(o.precision), context, device, effort);
  std::vector<Result> results;
  for (const double m : o.rows) {
    const auto rows = static_cast<int64_t>(m);
    for (const Pass pass : passes) {
      const auto result = [&](const std::string& shape, const Spread& time, double work) {
        results.push_back({{{"m", fmt::format("{}", rows)}, {"pass", name_of(pass)}, {"shape", shape}},
                           time,
                           work,
                           "GF/s",
                           ceiling.rate.median});
      };
      Spread block;
      double work = 0;
      for (const LinearShape& shape : distilbert_shapes) {
        const Spread time = time_product(shape, rows, pass, dtype_for(o.precision), context, device, effort);
        result(fmt::format("{}x{}", shape.in, shape.out), time, flops_of(shape, rows));
        block.median += shape.count * time.median;
        block.q1 += shape.count * time.q1;
        block.q3 += shape.count * time.q3;
        block.samples = time.samples;
        work += shape.count * flops_of(shape, rows);
      }
      result("block", block, work);
    }
  }
  print_report("gemm", {{name_of(o.precision), ceiling}}, results, context, device, o.common.json);
  return 0;
}

}  // namespace

const char* name_of(Pass pass) {
  switch (pass) {
    case Pass::forward:
      return "forward";
    case Pass::dx:
      return "dX";
    case Pass::dw:
      break;
  }
  return "dW";
}

Spread time_product(const LinearShape& s, int64_t rows, Pass pass, DType dtype, const Context& context, Device device,
                    const Effort& effort) {
  const auto random = [&](const Shape& shape, uint64_t seed) {
    return Tensor::normal(shape, dtype, {.seed = seed}, 0, 1, device);
  };
  const Tensor x = random({rows, s.in}, 1), w = random({s.out, s.in}, 2), y = random({rows, s.out}, 3);
  return with_type(x, [&]<class T>() {
    GemmCall<T> call = call_of<T>(s, rows, pass, x, w, y);
    call.precision = context.products();
    const Context::Use use(context);
    return measure([&] { kernels<T>(device).gemm(call); }, effort, backend(device).wait);
  });
}

Command add_gemm(CLI::App& program) {
  CLI::App* app = add_command(
      program, "gemm", "The matrix products of DistilBERT's linear layers; \"block\": all six of a transformer block");
  const auto options = std::make_shared<GemmOptions>();
  add_numbers(*app, "m", options->rows, {.low = 1, .high = 1e6}, true, "Rows (tokens of a batch)");
  add_precision(*app, *options);
  add_device(*app, options->common);
  add_common_options(*app, options->common);
  return {app, [options] { return gemm(*options); }};
}

}  // namespace crisp::bench
