// A small pass for the tests of crisp-inspect: three equal layers and one that differs.
#pragma once

#include <string>
#include <vector>

#include "engine/ops.h"
#include "engine/tape.h"
#include "tests/support/catch.h"

namespace crisp::test {

/// Numbers that require a gradient, with a name.
inline Tensor parameter(const std::string& name, const Shape& shape, uint64_t seed, DType dtype = DType::f64) {
  return Tensor::normal(shape, dtype, {.seed = seed, .stream = Stream::init}).set_name(name).set_requires_grad();
}

/// embed, layer.0 to layer.2 (linear and tanh, added to what they were given), layer.3 (half as wide), and the mean.
struct SmallPass {
  explicit SmallPass(DType dtype = DType::f64) {
    for (int l = 0; l < 4; ++l) {
      const std::string name = "net.layer." + std::to_string(l) + ".lin.";
      weights.push_back(parameter(name + "weight", {l == 3 ? 4 : 8, 8}, static_cast<uint64_t>(l) + 1, dtype));
      biases.push_back(parameter(name + "bias", {l == 3 ? 4 : 8}, static_cast<uint64_t>(l) + 11, dtype));
    }
    table = parameter("net.embed.table", {6, 8}, 21, dtype);
    rows = on(Device::cpu, Rows(std::vector<int32_t>{2, 5, 2}));
  }

  Tensor operator()(Tape& tape) const {
    Tensor x;
    {
      const Tape::Scope net(tape, "net");
      {
        const Tape::Scope scope(tape, "embed");
        x = embedding(tape, table, rows);
      }
      for (size_t l = 0; l < 4; ++l) {
        const Tape::Scope layer(tape, "layer." + std::to_string(l));
        Tensor y;
        {
          const Tape::Scope lin(tape, "lin");
          y = linear(tape, x, weights[l], biases[l]);
        }
        x = l < 3 ? add(tape, x, tanh(tape, y)) : tanh(tape, y);
      }
    }
    return mean(tape, x);
  }

  std::vector<Tensor> weights, biases;
  Tensor table;
  Rows rows;
};

}  // namespace crisp::test
