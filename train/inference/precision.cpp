#include "train/inference/precision.h"

#include "engine/backend.h"
#include "engine/fail.h"

namespace crisp {
namespace {

MatmulPrecision wanted_products(Precision precision, Device device) {
  switch (precision) {
    case Precision::bf16:
      return MatmulPrecision::bf16;
    case Precision::tf32:
      return MatmulPrecision::tf32;
    case Precision::bf16x3:
      return MatmulPrecision::bf16x3;
    case Precision::bf16x6:
      return MatmulPrecision::bf16x6;
    case Precision::f32:
      return supports(device, MatmulPrecision::bf16x6) ? MatmulPrecision::bf16x6 : MatmulPrecision::f32;
    case Precision::strict_f32:
    case Precision::f64:
      break;
  }
  return MatmulPrecision::f32;
}

}  // namespace

const char* name_of(Precision precision) {
  constexpr const char* names[] = {"f32", "strict-f32", "tf32", "bf16", "bf16x3", "bf16x6", "f64"};
  return names[static_cast<size_t>(precision)];
}

DType dtype_for(Precision precision) { return precision == Precision::f64 ? DType::f64 : DType::f32; }

MatmulPrecision products_for(Precision precision, Device device) {
  const MatmulPrecision products = wanted_products(precision, device);
  if (!supports(device, products)) {
    if (products == MatmulPrecision::tf32) fail<UsageError>("--precision tf32 is for GPUs (--device cuda); use f32");
    if (device != Device::cpu) fail<UsageError>("--precision {} is for CPUs; use tf32", name_of(products));
    const bool plain = products == MatmulPrecision::bf16;
    fail<UsageError>("--precision {} needs a CPU with {}, which this one lacks{}; use f32", name_of(products),
                     plain ? "AMX or AVX-512 BF16" : "AMX",
                     plain ? "" : " (without AMX it would be slower than f32 itself)");
  }
  return products;
}

std::string describe_products(DType dtype, MatmulPrecision products, Device device) {
  if (dtype == DType::f64)
    return fmt::format("f64 products by {} kernels", kernels_in_use(MatmulPrecision::f32, device));
  return fmt::format("{} products by {} kernels{}", name_of(products), kernels_in_use(products, device),
                     products == MatmulPrecision::bf16x6 ? ", at least as accurate as f32" : "");
}

}  // namespace crisp
