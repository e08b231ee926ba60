// engine_consumer: the gradient of a square, by the engine's own headers.
#include "engine/ops.h"

int main() {
  crisp::Tape tape;
  const crisp::Tensor x = crisp::Tensor::scalar(3, crisp::DType::f64).set_requires_grad();
  tape.backward(mul(tape, x, x));
  return x.grad().item() == 6 ? 0 : 91;
}
