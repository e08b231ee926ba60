// Which products a user's --precision means on this machine, and how they are called.
#include "train/inference/precision.h"

#include <string>
#include <utility>

#include "engine/cpu/backend.h"
#include "engine/error.h"
#include "tests/support/catch.h"
#include "tests/train/support.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("the kernels' name says which unit multiplies") {
  CHECK(kernels_in_use(products_for(Precision::f32, Device::cpu)) ==
        std::string(amx_usable() ? "avx512+amx" : cpu_instruction_set()));
  for (const Precision exact : {Precision::f64, Precision::strict_f32}) {
    CHECK(products_for(exact, Device::cpu) == MatmulPrecision::f32);
    CHECK(kernels_in_use(products_for(exact, Device::cpu)) == cpu_instruction_set());
  }
  CHECK(describe_products(DType::f32, MatmulPrecision::f32, Device::cpu) ==
        std::string("f32 products by ") + cpu_instruction_set() + " kernels");
  CHECK(describe_products(DType::f64, products_for(Precision::f32, Device::cpu), Device::cpu) ==
        std::string("f64 products by ") + cpu_instruction_set() + " kernels");
}

TEST_CASE("a precision that the machine lacks is refused with a sentence") {
  for (const Precision p : {Precision::f32, Precision::strict_f32, Precision::f64})
    CHECK_NOTHROW(products_for(p, Device::cpu));
  const auto wanted = {std::pair{Precision::bf16, MatmulPrecision::bf16},
                       {Precision::bf16x3, MatmulPrecision::bf16x3},
                       {Precision::bf16x6, MatmulPrecision::bf16x6}};
  for (const auto& [precision, products] : wanted) {
    if (supports(Device::cpu, products)) {
      CHECK(products_for(precision, Device::cpu) == products);
      const std::string kernels = kernels_in_use(products);
      CHECK(kernels == std::string(cpu_instruction_set()) + "+" + cpu_bf16_unit());
      CHECK(describe_products(DType::f32, products, Device::cpu)
                .starts_with(std::string(name_of(products)) + " products by " + kernels + " kernels"));
    } else {
      CHECK(contains(message_of<UsageError>([p = precision] { products_for(p, Device::cpu); }), "needs a CPU with"));
    }
  }
}
