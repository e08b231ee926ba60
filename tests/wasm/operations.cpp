// operations [--write FILE | --against FILE]: every operation with all its samples, where there is no test framework.
// With FILE their results and gradients are written for another build of this program, or compared with its.
#include <fmt/format.h>

#include "engine/gradcheck.h"
#include "tests/wasm/answers.h"

using namespace crisp;
using namespace crisp::test;

int main(int argc, char** argv) {
  return run_checks(argc, argv, [](const std::vector<std::string>&, crisp::test::Answers& answers, const auto& report) {
    for (const Op* op : all_ops()) {
      const std::vector<Sample> samples = op->samples();
      int64_t derivatives = 0;
      report(op->name, samples.size() < 2 ? "there are no samples" : "");
      for (size_t i = 0; i < samples.size(); ++i) {
        const Sample& sample = samples[i];
        const std::string name = fmt::format("{} {}: {}", op->name, i, sample.what);
        report(name, gradient_problem(sample));
        report(name, accumulation_problem(sample));
        report(name, f32_problem(sample));
        for (const DType type : {DType::f64, DType::f32}) {
          const std::vector<Tensor> all = results(sample, test_device(), type);
          for (size_t part = 0; part < all.size(); ++part) {
            // What f64 gives is the truth for f32, too.
            const std::string title = fmt::format("{}, {}", name, part == 0 ? "result" : fmt::format("d{}", part - 1));
            if (type == DType::f64 || answers.compares())
              report(name, answers.take(title, all[part].to_vector(), tolerance_of(type)));
            if (type == DType::f64 && part > 0) derivatives += all[part].numel();
          }
        }
      }
      fmt::print("{}: {} samples, {} derivatives: central differences, accumulation, f32 against f64{}\n", op->name,
                 samples.size(), derivatives, answers.compares() ? ", the other build's values" : "");
    }
  });
}
